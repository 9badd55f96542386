"""What all drivers whose endpoints are interfaces have in common: how those are named, announced and put in place.

Knows nothing of: bridges, parents, any one driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct, field

from ..errors import Invalid
from ..events import EndpointCreated, EndpointJoined, OptionValue
from ..objects import HOST_NAMESPACE, Address, KernelObject
from ..values import INTERFACE_NAME_LIMIT, SandboxId, SandboxKind, check_interface_name

ANNOUNCEMENTS = "com.docker.network.advertise_addr_nmsgs"
ANNOUNCEMENT_INTERVAL = "com.docker.network.advertise_addr_ms"
ANNOUNCEMENTS_DEFAULT, ANNOUNCEMENTS_MOST = 3, 3
INTERVAL_DEFAULT, INTERVAL_LEAST, INTERVAL_MOST = 1000, 100, 2000
NUMBER_DIGITS = 4
"""Of the interfaces in one sandbox: 0 to 1023."""


class AttachmentOptions(Struct, frozen=True, kw_only=True):
    """The options that every network with interfaces has, by libnetwork's labels."""

    interface_prefix: str = field(name="com.docker.network.container_iface_prefix", default="eth")
    announcements: int = field(name=ANNOUNCEMENTS, default=ANNOUNCEMENTS_DEFAULT)
    announcement_interval: int = field(name=ANNOUNCEMENT_INTERVAL, default=INTERVAL_DEFAULT)


def check_attachment(options: AttachmentOptions, asked: str) -> None:
    """Refuse what is out of range."""
    prefix = options.interface_prefix
    check_interface_name(prefix)
    if len(prefix) + NUMBER_DIGITS > INTERFACE_NAME_LIMIT:
        most = INTERFACE_NAME_LIMIT - NUMBER_DIGITS
        raise Invalid(asked, f"interface prefix {prefix!r} leaves no room for a number", f"write {most} characters")
    check_announcements(options.announcements, options.announcement_interval, asked)


def check_announcements(count: int, interval: int, asked: str) -> None:
    """Refuse another number or interval of announcements than libnetwork takes."""
    if count > ANNOUNCEMENTS_MOST:
        raise Invalid(asked, f"{ANNOUNCEMENTS} is {count}", f"give a number from 0 to {ANNOUNCEMENTS_MOST}")
    if not INTERVAL_LEAST <= interval <= INTERVAL_MOST:
        raise Invalid(
            asked,
            f"{ANNOUNCEMENT_INTERVAL} is {interval}",
            f"give milliseconds from {INTERVAL_LEAST} to {INTERVAL_MOST}",
        )


def announcements_of(network: Mapping[str, OptionValue], endpoint: Mapping[str, OptionValue]) -> tuple[int, int]:
    """Tell how often an endpoint's addresses are announced, and how many milliseconds apart; its own options first."""
    both = {**network, **endpoint}
    return int(both.get(ANNOUNCEMENTS, 0)), int(both.get(ANNOUNCEMENT_INTERVAL, INTERVAL_DEFAULT))


class End(NamedTuple):
    """Where an endpoint's interface is: in a sandbox and up; or as it is in the host's namespace, to be moved."""

    sandbox: SandboxId
    name: str
    up: bool


def end_of(joined: EndpointJoined, kind: SandboxKind) -> End:
    """Say where a joined endpoint's interface is."""
    if kind is SandboxKind.DELEGATED:
        return End(HOST_NAMESPACE, container_end(joined.device), up=False)
    return End(joined.sandbox, joined.interface, up=True)


def addresses_of(endpoint: EndpointCreated, end: End) -> list[KernelObject]:
    """List an endpoint's addresses; none while a runtime is to move the interface and configure it."""
    return [Address(end.sandbox, end.name, held.address, held.prefix) for held in endpoint.addresses if end.up]


def container_end(device: str) -> str:
    """Name an interface that is to be moved while it is in the host's namespace: `nl...` becomes `np...`."""
    return "np" + device[2:]
