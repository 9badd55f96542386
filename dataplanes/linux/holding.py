"""Published ports of a plan, held in the host's namespace before they are translated, and let go of after.

Keeps: what another process has is a fault that names it, and no translation is made for it.
Must not know: how a port is held (`portholder`), how it is translated.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from ...domain.objects import PortForward
from ...domain.values import PORT_LIMIT
from ..contract import Claim
from .probe import describe_holder
from .run import Run


def hold_ports(run: Run, numbers: Sequence[int]) -> None:
    """Hold the ports that these steps publish; fail those that cannot be had."""
    for number in numbers:
        claim = _claim(run, number)
        if run.has_ended(number) or not 0 < claim.host_port <= PORT_LIMIT:
            continue  # what is no port is refused by who translates it
        error = run.kernel.ports.hold(claim)
        if error is not None:
            said = describe_holder(claim) if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            run.fail(number, f"the host's port cannot be had: {said}", error.errno or 0)


def release_ports(run: Run, numbers: Sequence[int]) -> None:
    """Let go of the ports that these steps publish no more."""
    for number in numbers:
        run.kernel.ports.release(_claim(run, number))


def _claim(run: Run, number: int) -> Claim:
    thing = run.steps[number].object
    assert isinstance(thing, PortForward)
    return Claim(protocol=thing.protocol, host_address=thing.host_address, host_port=thing.host_port)
