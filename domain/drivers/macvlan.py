"""The macvlan driver: each endpoint an interface with a MAC address of its own on a parent interface of the host.

Keeps: several networks share a parent, but none with one of mode `passthru`.
Knows nothing of: which interfaces a host has. Labels, defaults and refusals: moby, daemon/libnetwork/drivers/macvlan.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

from msgspec import field

from ..errors import Invalid
from ..events import EndpointCreated, EndpointJoined, NetworkCreated, OptionValue, PortBound, PortOpened
from ..objects import KernelObject, Macvlan
from ..options import options_as_labels, parse_options
from ..values import IPV4_BYTES, NetworkId, SandboxKind
from .attachment import AttachmentOptions, addresses_of, check_attachment, end_of
from .driver import NetworkTraits
from .parent import ENDPOINTS_ON_A_PARENT, PARENT, check_parent, lower_stand_in, lower_vlans, parent_of

MODES = ("bridge", "private", "vepa", "passthru")


class MacvlanOptions(AttachmentOptions, frozen=True, kw_only=True):
    """The options of a macvlan network, by libnetwork's names."""

    parent: str = field(name=PARENT, default="")
    mode: str = field(name="macvlan_mode", default="bridge")


class MacvlanDriver:
    """What the domain asks of a network driver, answered for macvlan interfaces."""

    name = "macvlan"
    needs = ("macvlan",)
    endpoint_limit = ENDPOINTS_ON_A_PARENT
    pools_per_family = 64

    def options(self, given: Mapping[str, OptionValue], asked: str) -> dict[str, OptionValue]:
        """Check the options and fill in the defaults."""
        options = parse_options(MacvlanOptions, given, asked)
        if options.mode not in MODES:
            raise Invalid(asked, f"requested macvlan mode {options.mode!r} is not valid", f"known: {', '.join(MODES)}")
        check_parent(options.parent, self.name, asked)
        check_attachment(options, asked)
        return options_as_labels(options)

    def settle(
        self,
        options: dict[str, OptionValue],
        asked: str,  # noqa: ARG002  # nothing contradicts
        *,
        internal: bool,
    ) -> tuple[dict[str, OptionValue], bool]:
        """Let an internal network have no parent, and one without parent be internal."""
        is_internal = internal or not options[PARENT]
        return ({**options, PARENT: ""} if is_internal else options), is_internal

    def features(self, options: Mapping[str, OptionValue]) -> tuple[str, ...]:
        """Name what a dataplane must be able to do for a network with these options."""
        return self.needs if _read(options).parent else (*self.needs, "stand-in")

    def traits(self, options: Mapping[str, OptionValue]) -> NetworkTraits:
        """Tell what it stands on; it publishes no ports, since its endpoints are on the parent's own link."""
        read = _read(options)
        return NetworkTraits(
            gateway_families=frozenset(),
            publishes=False,
            interface_prefix=read.interface_prefix,
            parent=read.parent,
            has_parent_alone=read.mode == "passthru",
            takes_one=read.mode == "passthru",
            abilities=("announcements",),
        )

    def device(self, network: NetworkId, options: Mapping[str, OptionValue]) -> str:
        """Name the interface that leads nowhere, of a network without parent: `dm-` and twelve digits."""
        return "" if _read(options).parent else f"dm-{network[:12]}"

    def host_binding(self, options: Mapping[str, OptionValue]) -> bytes:  # noqa: ARG002  # it publishes nothing
        """Name every address."""
        return bytes(IPV4_BYTES)

    def lower_host(self, networks: Sequence[NetworkCreated]) -> Iterable[KernelObject]:
        """List the VLAN interfaces that these networks stand on."""
        return lower_vlans(networks)

    def lower_network(self, network: NetworkCreated) -> list[KernelObject]:
        """List what the network itself needs in the host's namespace."""
        return lower_stand_in(network)

    def lower_endpoint(
        self,
        network: NetworkCreated,
        endpoint: EndpointCreated,
        joined: EndpointJoined,
        kind: SandboxKind,
        ports: Sequence[PortBound | PortOpened],  # noqa: ARG002  # it publishes none
    ) -> list[KernelObject]:
        """List what a joined endpoint needs."""
        end = end_of(joined, kind)
        made = Macvlan(
            endpoint=joined.endpoint,
            parent=parent_of(network),
            sandbox=end.sandbox,
            name=end.name,
            mac=endpoint.mac,
            mode=_read(network.options).mode,
            up=end.up,
        )
        return [made, *addresses_of(endpoint, end)]


def _read(options: Mapping[str, OptionValue]) -> MacvlanOptions:
    return _read_items(tuple(options.items()))


@functools.lru_cache(maxsize=1024)  # asked for several times with each endpoint
def _read_items(items: tuple[tuple[str, OptionValue], ...]) -> MacvlanOptions:
    return parse_options(MacvlanOptions, dict(items), "macvlan options")
