"""A dataplane in memory: for tests, and for machines without a kernel to configure."""

from .dataplane import FaultPlan, SimulatedDataplane
from .kernel import SimulatedKernel
from .limits import KernelError

__all__ = ["FaultPlan", "KernelError", "SimulatedDataplane", "SimulatedKernel"]
