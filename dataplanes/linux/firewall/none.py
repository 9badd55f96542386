"""No firewall: the host's own is somebody else's business, and nothing of ours is in it.

Keeps: nothing is programmed, read or removed. Must not know: anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NoReturn

from ....domain.objects import LoopbackAccess
from .backend import Edit, Ending, FirewallObject, Found


class NoFirewall:
    """A firewall that is always as it should be, because nothing is asked of it; see `backend.FirewallBackend`."""

    name: ClassVar[str] = "none"
    needs: ClassVar[str] = "it takes nothing"
    described: ClassVar[str] = "nothing"

    def check(self, thing: FirewallObject) -> None:
        """Raise, but for loopback access, which may be left to be taken away: nobody else is to name any here."""
        if not isinstance(thing, LoopbackAccess):
            _refuse(thing)

    def try_out(self) -> None:
        """Do nothing, which works everywhere."""

    def observe(self) -> Found:
        """Find nothing, as it should be."""
        return Found(is_whole=False, objects=[])

    def load(self, objects: Sequence[FirewallObject], *, reaches_loopback6: bool = False) -> None:  # noqa: ARG002  # there is nothing to translate
        """Do nothing for no objects."""
        for thing in objects:
            _refuse(thing)

    def change(self, edits: Sequence[Edit]) -> list[Ending]:
        """Refuse what is to come; what is to go is gone."""
        for edit in edits:
            if edit.after is not None:
                _refuse(edit.after)
        return [Ending(already=True) for _ in edits]

    def reach_loopback6(self, *, is_wanted: bool) -> bool:  # noqa: ARG002  # nothing is translated, wanted or not
        """Do nothing."""
        return False

    def remove(self) -> bool:
        """Find nothing to remove."""
        return False

    def close(self) -> None:
        """Have nothing to let go of."""


def _refuse(thing: FirewallObject) -> NoReturn:
    """Raise: whoever asks for an object of the firewall has not looked at the capabilities."""
    raise ValueError(f"{thing.key} is asked of the firewall `none`, which programs nothing")
