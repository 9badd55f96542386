"""Network drivers: one module each. `DRIVERS` has them by the name that users give."""

from ..errors import LedgerNewer
from .bridge import BridgeDriver, lower_host
from .driver import NetworkDriver

DRIVERS: dict[str, NetworkDriver] = {BridgeDriver.name: BridgeDriver()}

__all__ = ["DRIVERS", "BridgeDriver", "NetworkDriver", "driver_of", "lower_host"]


def driver_of(name: str) -> NetworkDriver:
    """Find the driver of a network that the log has; another version may have known more of them."""
    driver = DRIVERS.get(name)
    if driver is None:
        raise LedgerNewer(
            f"use network driver {name!r}: the log has it, this netledger knows {', '.join(sorted(DRIVERS))}; "
            "use the netledger that wrote it, or a newer one"
        )
    return driver
