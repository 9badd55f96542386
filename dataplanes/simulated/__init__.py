"""A dataplane in memory: for tests, and for machines without a kernel to configure."""

from .clock import SimulatedClock
from .dataplane import SimulatedDataplane
from .faults import FaultPlan, Faults, StepFaults
from .kernel import SimulatedKernel
from .limits import KernelError

__all__ = [
    "FaultPlan",
    "Faults",
    "KernelError",
    "SimulatedClock",
    "SimulatedDataplane",
    "SimulatedKernel",
    "StepFaults",
]
