"""Restoring: a backup becomes the ledger of a state directory.

Keeps: only a log whose whole chain verifies is restored, and never over a ledger that is there; it appears when it is
complete. Knows nothing of: what is in the events, kernels.
"""

from __future__ import annotations

from pathlib import Path

from ..domain.errors import Conflict, LedgerDamaged, NotFound
from .chain import Verification
from .ledger import Ledger
from .state import StateDirectory


def restore(backup: Path, directory: Path) -> Verification:
    """Copy a backup into a state directory, which is made if need be, and say what was verified.

    Raises `NotFound` (no such file), `Conflict` (there is a ledger already), `LedgerDamaged` (the backup does not
    verify), `LedgerForeign` (it is no ledger, or the directory is somebody else's).
    """
    asked = f"restore {backup} to {directory}"
    if not backup.is_file():
        raise NotFound(asked, "there is no such file", "name what `netledger log backup` made")
    with Ledger.open(backup, read_only=True, create=False) as ledger:
        found = ledger.verify()
        if found.problem is not None:
            where = f"position {found.bad_position} is the first that does not fit: " if found.bad_position else ""
            raise LedgerDamaged(f"{asked}: {where}{found.problem}; take another backup", found.bad_position or 0)
        state = StateDirectory.open(directory)
        if state.ledger.exists():
            raise Conflict(
                asked, "there is a ledger in it", "name another directory, or move the whole of that one away first"
            )
        ledger.backup(state.ledger)
    with Ledger.open(state.ledger, read_only=True, create=False) as restored:
        return restored.verify()
