"""Which rules were asked and which refusals were reached.

A refusal's site is a `raise` statement in `domain/`, read from its source; it is reached when it raised.
Keeps: knows every site there is, so that one that nothing reaches is seen. Knows nothing of: what was asked.
"""

from __future__ import annotations

import ast
import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from msgspec import Struct

from .. import domain
from ..domain import errors
from ..domain.commands import Command
from ..domain.errors import Refusal

DOMAIN = Path(next(iter(domain.__path__))).resolve()
REFUSALS = frozenset(
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Refusal)
)


class Site(NamedTuple):
    """Where a refusal is raised: the file below `domain/`, the function, and the lines of the statement."""

    file: str
    function: str
    line: int
    last_line: int

    def __str__(self) -> str:
        return f"domain/{self.file}:{self.line} in {self.function}"


class Coverage:
    """Counts what was reached. Tell it of every command and of every refusal."""

    def __init__(self, sites: Iterable[Site] | None = None) -> None:
        self.sites = _all_sites() if sites is None else tuple(sites)
        self.commands: Counter[str] = Counter()
        """How often each kind of command was asked for."""
        self.refusals: Counter[str] = Counter()
        """How often each kind of refusal came back."""
        self.reached: Counter[Site] = Counter()
        self._by_file: dict[str, list[Site]] = {}
        for site in self.sites:
            self._by_file.setdefault(site.file, []).append(site)

    def asked(self, command: Command) -> None:
        """Count a command."""
        self.commands[type(command).__name__] += 1

    def refused(self, refusal: BaseException) -> None:
        """Count a refusal, and the statement that raised it."""
        self.refusals[type(refusal).__name__] += 1
        for file, line in _raised_at(refusal.__traceback__):
            for site in self._by_file.get(file, ()):
                if site.line <= line <= site.last_line:
                    self.reached[site] += 1

    def missing(self, excused: Mapping[tuple[str, str], str] | None = None) -> list[Site]:
        """List the sites that were never reached, but for those in excused functions: (file, function), and why."""
        excuses = excused or {}
        return [site for site in self.sites if site not in self.reached and (site.file, site.function) not in excuses]


class CoverageReport(Struct, frozen=True):
    """What a run has exercised, for printing."""

    commands: Mapping[str, int]
    refusals: Mapping[str, int]
    sites_reached: int
    sites: int

    @classmethod
    def of(cls, coverage: Coverage) -> CoverageReport:
        """Sum up."""
        return cls(dict(coverage.commands), dict(coverage.refusals), len(coverage.reached), len(coverage.sites))

    def __str__(self) -> str:
        lines = [f"{name:20} {count:6}" for name, count in sorted(self.commands.items())]
        lines += [f"refused: {name:11} {count:6}" for name, count in sorted(self.refusals.items())]
        return "\n".join([*lines, f"refusals reached: {self.sites_reached} of {self.sites}"])


def find_sites(folder: Path = DOMAIN) -> list[Site]:
    """Read every `raise` of a refusal out of a folder's sources."""
    sites: list[Site] = []
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Raise) and _is_refusal(node):
                        name = str(path.relative_to(folder))
                        sites.append(Site(name, function.name, node.lineno, node.end_lineno or node.lineno))
    return sites


@functools.cache  # parses the sources
def _all_sites() -> tuple[Site, ...]:
    return tuple(find_sites())


def _is_refusal(node: ast.Raise) -> bool:
    return isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name) and node.exc.func.id in REFUSALS


def _raised_at(traceback: TracebackType | None) -> Iterable[tuple[str, int]]:
    """Name the frames of `domain/` that a refusal came through."""
    while traceback is not None:
        path = Path(traceback.tb_frame.f_code.co_filename).resolve()
        if path.is_relative_to(DOMAIN):
            yield str(path.relative_to(DOMAIN)), traceback.tb_lineno
        traceback = traceback.tb_next
