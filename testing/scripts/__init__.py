"""Scripts: text files of commands, questions and events of the world, each with the outcome that is expected.

The model is etcd's and CockroachDB's datadriven files. `python -m netledger.testing.scripts FILE...` runs them.
"""

from .grammar import INLINE, Block, Line, Program, ScriptError, parse, usage
from .interpreter import Difference, run
from .reading import commands_of
from .stage import Stage
from .writing import Writer, render, write

__all__ = [
    "INLINE",
    "Block",
    "Difference",
    "Line",
    "Program",
    "ScriptError",
    "Stage",
    "Writer",
    "commands_of",
    "parse",
    "render",
    "run",
    "usage",
    "write",
]
