"""Crash enumeration: every death of a program of operations, and what the next start makes of it.

`Exploration().explore([...])` tries one program written in the `ALPHABET`; `tally` says how much that was.
"""

from .alphabet import ALPHABET, GROUND, Operation
from .camera import Camera, Picture
from .exploration import Exploration
from .tally import CrashFound, Tally
from .worlds import World, describe_state

__all__ = [
    "ALPHABET",
    "GROUND",
    "Camera",
    "CrashFound",
    "Exploration",
    "Operation",
    "Picture",
    "Tally",
    "World",
    "describe_state",
]
