"""Script files: running them, each on a stage of its own, and rewriting what they expect.

Keeps: rewriting changes nothing but outcomes that are written down. Knows nothing of: how a script is played.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from .grammar import Program, parse
from .interpreter import Difference, run
from .stage import Stage


def run_file(path: Path) -> tuple[Program, list[Difference]]:
    """Play a file on a new stage."""
    program = parse(path.read_text(encoding="utf-8"), str(path))
    with tempfile.TemporaryDirectory(prefix="netledger-script-") as directory, Stage(Path(directory) / "state") as on:
        return program, run(program, on)


def accepted(program: Program, differences: Sequence[Difference]) -> str:
    """Give the text of a script in which what came stands in the place of what was expected."""
    lines = list(program.text)
    for difference in sorted(differences, key=lambda one: one.block.first, reverse=True):
        if difference.expected is not None:
            lines[difference.block.first : difference.block.end] = difference.outcome
    return "\n".join(lines)
