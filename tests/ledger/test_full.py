"""A full disk: the append is refused, the log stays as it was, and goes on when there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from netledger.domain.errors import LedgerFull
from netledger.domain.events import AliasAdded
from netledger.ledger.ledger import Ledger

Alias = Callable[..., AliasAdded]

IN_A_NAMESPACE = (
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs -o size=1m none "$0" && exec "$@"',
)

ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from netledger.domain.errors import LedgerFull
from netledger.domain.events import AliasAdded
from netledger.ledger.ledger import Ledger

disk = Path(sys.argv[1])
ballast = disk / "ballast"
ballast.write_bytes(bytes(200_000))

def some(number):
    return [AliasAdded(number, "tester", "r/0#00", "x" * 500, "h1", "e1", "n1", f"alias{number}")] * 20

with Ledger.open(disk / "ledger.db") as ledger:
    refused = 0
    for number in range(1000):
        before = ledger.head
        ledger.set_cursor("subscriber", before)
        try:
            assert ledger.append(some(number), (), before) == before + 20
        except LedgerFull as full:
            assert "nothing was appended" in str(full) and "make room" in str(full)
            assert ledger.head == before
            assert ledger.verify().problem is None
            refused += 1
            if refused == 3:
                break
    assert before > 100 and refused == 3, (before, refused)
    found = ledger.verify()
    assert found.events == before and found.problem is None
    assert len(list(ledger.read())) == before
    ballast.unlink()
    assert ledger.append(some(0), (), before) == before + 20
with Ledger.open(disk / "ledger.db") as ledger:
    assert ledger.verify().events == ledger.head == before + 20
    assert ledger.cursor("subscriber") == before

ballast.write_bytes(b"")
with ballast.open("r+b", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            file.seek(0, 2)
    except OSError:
        pass
try:
    Ledger.open(disk / "another.db")
except LedgerFull:
    pass
else:
    raise AssertionError("a ledger was made on a full disk")
assert not list(disk.glob("another.db*"))
print("done")
"""


ON_A_TINY_DISK = """
import subprocess
import sys
from pathlib import Path
from netledger.domain.errors import LedgerFull
from netledger.domain.events import AliasAdded
from netledger.ledger.ledger import Ledger

def use(path):
    with Ledger.open(path) as ledger:
        ledger.append([AliasAdded(1, "tester", "r/0#00", "", "h1", "e1", "n1", "a")], (), ledger.head)

refused = 0
for size in range(28, 132, 4):
    disk = Path(sys.argv[1]) / str(size)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k,mode=700", "none", disk], check=True)
    try:
        use(disk / "ledger.db")
    except LedgerFull:
        refused += 1
    subprocess.run(["mount", "-o", "remount,size=4m", "none", disk], check=True)
    use(disk / "ledger.db")
    with Ledger.open(disk / "ledger.db", read_only=True) as ledger:
        assert ledger.damage is None and ledger.verify().problem is None, size
assert 0 < refused < 26, refused
print("done")
"""

READING = """
import os, sys
from pathlib import Path
from netledger.domain.errors import LedgerError
from netledger.ledger.ledger import Ledger

with Ledger.open(Path(sys.argv[1]), read_only=True) as ledger:
    list(ledger.read()), ledger.verify()  # what they import may be closed to another user
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    with Ledger.open(Path(sys.argv[1]), read_only=True) as ledger:
        print(ledger.damage, len(list(ledger.read())), ledger.verify().problem)
except LedgerError as error:
    print(type(error.__cause__).__name__, error)
"""


def test_a_full_file_refuses_the_append_whole(path: Path, alias: Alias) -> None:
    """When SQLite says full, neither event nor type nor cursor of the append is there; with room it goes through."""
    with Ledger.open(path) as ledger:
        ledger.append([alias(1)], (), 0)
        writer = ledger._recorder._writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        ledger.set_cursor("subscriber", 1)
        many = [alias(number) for number in range(2, 500)]
        for _ in range(2):
            with pytest.raises(LedgerFull, match="nothing was appended; make room"):
                ledger.append(many, (), 1)
        assert ledger.head == 1
        assert ledger.verify().problem is None
        with Ledger.open(path, read_only=True) as other:
            assert other.cursor("subscriber") == 0
        writer.execute("PRAGMA max_page_count = 1000000")
        assert ledger.append(many, (), 1) == 499
        assert ledger.verify().problem is None


def test_a_full_disk_refuses_the_append_whole(tmp_path: Path, python: Callable[..., subprocess.Popen[str]]) -> None:
    """On a real file system without room: refused, unchanged, readable; appends again when something was deleted."""
    unshare = shutil.which("unshare")
    probe = unshare and subprocess.run([*IN_A_NAMESPACE, tmp_path, "true"], check=False, capture_output=True)
    if not probe or probe.returncode:
        pytest.skip("no user and mount namespaces here")
    output, errors = python(ON_A_SMALL_DISK, tmp_path, prefix=(*IN_A_NAMESPACE, str(tmp_path))).communicate(timeout=60)
    assert (output, errors) == ("done\n", "")


def test_a_disk_of_any_size_takes_a_whole_ledger_or_none(
    tmp_path: Path, python: Callable[..., subprocess.Popen[str]]
) -> None:
    """First use on a disk with hardly any room is refused or works; with more room it works, and nothing is broken."""
    unshare = shutil.which("unshare")
    probe = unshare and subprocess.run([*IN_A_NAMESPACE, tmp_path, "true"], check=False, capture_output=True)
    if not probe or probe.returncode:
        pytest.skip("no user and mount namespaces here")
    output, errors = python(ON_A_TINY_DISK, tmp_path, prefix=(*IN_A_NAMESPACE, str(tmp_path))).communicate(timeout=60)
    assert (output, errors) == ("done\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_only_read_reads(alias: Alias, python: Callable[..., subprocess.Popen[str]]) -> None:
    """A ledger that we cannot write is read where it lies; one that we cannot read says which permission it takes."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.db"
        with Ledger.open(path) as ledger:
            ledger.append([alias(1), alias(2)], (), 0)
        path.parent.chmod(0o755)
        path.chmod(0o644)
        assert python(READING, path).communicate(timeout=30) == ("None 2 None\n", "")
        path.chmod(0o600)
        output, _ = python(READING, path).communicate(timeout=30)
        assert output.startswith("PermissionError open ")
        assert f"you may not read {path}" in output


def test_a_read_only_disk_can_be_read(
    tmp_path: Path, alias: Alias, python: Callable[..., subprocess.Popen[str]]
) -> None:
    """Evidence on a disk that nobody can write is verified and read where it is."""
    unshare = shutil.which("unshare")
    on_read_only = (*IN_A_NAMESPACE[:-1], 'mount --bind -o ro "$0" "$0" && exec "$@"', str(tmp_path))
    probe = unshare and subprocess.run([*on_read_only, "true"], check=False, capture_output=True)
    if not probe or probe.returncode:
        pytest.skip("no user and mount namespaces here")
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        ledger.append([alias(1), alias(2)], (), 0)
    script = """
        import sys
        from pathlib import Path
        from netledger.ledger.ledger import Ledger
        with Ledger.open(Path(sys.argv[1]), read_only=True) as ledger:
            print(ledger.damage, len(list(ledger.read())), ledger.verify().problem)
    """
    process = python(script, tmp_path / "ledger.db", prefix=on_read_only)
    assert process.communicate(timeout=30) == ("None 2 None\n", "")
