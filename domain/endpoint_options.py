"""The options of one endpoint, by libnetwork's labels: its interface's name, its kernel settings, its announcements.

Knows nothing of: networks, kernels. Labels, defaults and refusals: moby, daemon/libnetwork/netlabel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field

from .drivers.attachment import (
    ANNOUNCEMENT_INTERVAL,
    ANNOUNCEMENTS,
    ANNOUNCEMENTS_DEFAULT,
    INTERVAL_DEFAULT,
    check_announcements,
)
from .errors import Invalid
from .events import OptionValue
from .options import parse_options
from .values import check_interface_name

INTERFACE = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
PLACEHOLDER = "IFNAME"
SYSCTLS_OF_AN_ENDPOINT = 64
_SYSCTL = re.compile(r"net\.\w+\.\w+\.IFNAME\.\w+=[^,\s]+", re.ASCII)


class EndpointOptions(Struct, frozen=True, kw_only=True):
    """The options of an endpoint, by libnetwork's labels."""

    interface: str = field(name=INTERFACE, default="")
    sysctls: str = field(name=SYSCTLS, default="")
    announcements: int = field(name=ANNOUNCEMENTS, default=ANNOUNCEMENTS_DEFAULT)
    announcement_interval: int = field(name=ANNOUNCEMENT_INTERVAL, default=INTERVAL_DEFAULT)

    @property
    def disables_ipv6(self) -> bool:
        """Whether its settings leave it no IPv6."""
        return f"net.ipv6.conf.{PLACEHOLDER}.disable_ipv6=1" in self.sysctls.split(",")


def check_endpoint_options(
    given: Mapping[str, OptionValue], asked: str
) -> tuple[EndpointOptions, dict[str, OptionValue]]:
    """Check the options; return them, and those that were given as an event keeps them."""
    options = parse_options(EndpointOptions, given, asked)
    if options.interface:
        check_interface_name(options.interface)
    settings = options.sysctls.split(",") if options.sysctls else []
    if len(settings) > SYSCTLS_OF_AN_ENDPOINT:
        raise Invalid(asked, f"{len(settings)} sysctls; an endpoint has {SYSCTLS_OF_AN_ENDPOINT} at most")
    for setting in settings:
        if not _SYSCTL.fullmatch(setting):
            raise Invalid(
                asked,
                f"sysctl {setting!r} is not of the form net.X.Y.{PLACEHOLDER}.Z=V",
                f"write it like net.ipv4.conf.{PLACEHOLDER}.log_martians=1, several separated by commas",
            )
    check_announcements(options.announcements, options.announcement_interval, asked)
    values: dict[str, OptionValue] = {
        INTERFACE: options.interface,
        SYSCTLS: options.sysctls,
        ANNOUNCEMENTS: options.announcements,
        ANNOUNCEMENT_INTERVAL: options.announcement_interval,
    }
    return options, {label: values[label] for label in given}


def sysctls_of(options: Mapping[str, OptionValue], interface: str) -> list[tuple[str, str]]:
    """List an endpoint's kernel settings, name and value, for its interface; the last of a name counts."""
    text = str(options.get(SYSCTLS, ""))
    named = (setting.split("=", 1) for setting in text.split(",") if setting)
    settings = {name.replace(PLACEHOLDER, interface.replace(".", "/")): value for name, value in named}
    return list(settings.items())
