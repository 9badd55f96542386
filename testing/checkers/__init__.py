"""Checkers: one for each invariant of a log, and those of a live engine. Each can be called alone, on any log.

`check_log` needs nothing but recorded events; `check_everything` an open controller.
"""

from .checker import Checker, Violation
from .firewalls import Firewalls
from .holdings import Addresses, Interfaces, Macs, Names, Pools, Ports
from .leases import Choices, Claims, Reservations, Settings
from .live import LIVE, check_everything
from .logs import CHECKERS, check_log, violations
from .owners import ConfigurationNetworks, Gateways, Hosts, Leftovers, Owners, Positions

__all__ = [
    "CHECKERS",
    "LIVE",
    "Addresses",
    "Checker",
    "Choices",
    "Claims",
    "ConfigurationNetworks",
    "Firewalls",
    "Gateways",
    "Hosts",
    "Interfaces",
    "Leftovers",
    "Macs",
    "Names",
    "Owners",
    "Pools",
    "Ports",
    "Positions",
    "Reservations",
    "Settings",
    "Violation",
    "check_everything",
    "check_log",
    "violations",
]
