"""The run that docs/testing.md shows, which found something: made anew with `python tests/testing/transcript.py`.

The run is one on simulated kernels that forget published ports. Which seed finds that first is the author's doing, so
it is made anew when the author writes other commands.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from netledger.dataplanes.simulated import SimulatedKernel
from netledger.domain.objects import PortForward
from netledger.interfaces.cli import run

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"
SHOWN = re.compile(r"(?<=```\n)\$ netledger (simulate .*?)\n(.*?)(?=```)", re.DOTALL)
KEPT = "/tmp/kept"
VIOLATED = 41
COMMAND = "simulate --seed {seed} --steps 60 --hosts 2 --faults none --keep /tmp/kept"
SEEDS = range(1, 30)


@contextlib.contextmanager
def forgetful() -> Iterator[None]:
    """Let simulated kernels forget published ports."""
    whole = SimulatedKernel.make

    def make(kernel, wanted):
        if not isinstance(wanted, PortForward):
            whole(kernel, wanted)

    with mock.patch.object(SimulatedKernel, "make", make):
        yield


def transcript(command: str) -> tuple[int, str]:
    """Run a command line; give its status, and what it prints, as the document shows it."""
    printed = io.StringIO()
    with forgetful(), tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(printed):
        kept = f"{directory}/kept"
        status = run(shlex.split(command.replace(KEPT, kept)))
    text = printed.getvalue().replace(kept, KEPT)
    return status, f"...\n{text[text.find('VIOLATED') :]}"


def main() -> None:
    """Write the first run that finds something into the document."""
    runs = ((command, *transcript(command)) for command in (COMMAND.format(seed=seed) for seed in SEEDS))
    command, text = next((command, text) for command, status, text in runs if status == VIOLATED)
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(SHOWN.sub(lambda _: f"$ netledger {command}\n{text}", document, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
