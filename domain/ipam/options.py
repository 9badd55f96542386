"""The options of our own address management, by libnetwork's label where it has one.

Knows nothing of: pools.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from ..errors import Invalid
from ..events import OptionValue
from ..options import options_as_labels, parse_options
from ..values import AllocationPolicy, MacPolicy

SERIAL = "com.docker.network.ipam.serial"
MAC = "netledger.ipam.mac"


class IpamOptions(Struct, frozen=True, kw_only=True):
    """What a network's creator may say to our address management; an event keeps what was said, and no defaults."""

    serial: bool = field(name=SERIAL, default=False)
    mac: str = field(name=MAC, default=MacPolicy.RANDOM)


def parse_ipam_options(given: Mapping[str, OptionValue], asked: str) -> dict[str, OptionValue]:
    """Check the options that were given, and return them typed."""
    read = parse_options(IpamOptions, given, asked)
    if read.mac not in set(MacPolicy):
        raise Invalid(asked, f"option {MAC}={read.mac!r} is no way to choose one", f"known: {', '.join(MacPolicy)}")
    return {label: value for label, value in options_as_labels(read).items() if label in given}


def policy_of(options: Mapping[str, OptionValue], asked_for: AllocationPolicy) -> AllocationPolicy:
    """Choose a pool's policy: `serial` says, as in libnetwork, whether it goes on or starts with the lowest again."""
    if asked_for is not AllocationPolicy.NEXT or SERIAL not in options:
        return asked_for
    return AllocationPolicy.SERIAL if options[SERIAL] else AllocationPolicy.LOWEST
