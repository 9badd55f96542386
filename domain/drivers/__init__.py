"""Network drivers: one module each. `DRIVERS` has them by the name that users give."""

from .bridge import BridgeDriver, lower_host

DRIVERS: dict[str, BridgeDriver] = {BridgeDriver.name: BridgeDriver()}

__all__ = ["DRIVERS", "BridgeDriver", "lower_host"]
