"""`netledger simulate`: a seeded run of whole simulated hosts, while things go wrong.

Must not know: what a run does, what any fault is.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from ...domain.errors import Invalid
from .exits import DONE, VIOLATED
from .options import COMMON
from .printing import clean, console, document, note

if TYPE_CHECKING:
    from ...testing.simulation import Outcome, Settings

MOST_STEPS = 1_000_000
MOST_HOSTS = 250

Seed: TypeAlias = Annotated[
    int | None, Parameter(name="--seed", help="The same seed, the same run, byte for byte. Else a new one.")
]
Steps: TypeAlias = Annotated[int, Parameter(name="--steps", help=f"How many operations, at most {MOST_STEPS}.")]
Hosts: TypeAlias = Annotated[int, Parameter(name="--hosts", help=f"How many hosts, at most {MOST_HOSTS}.")]
Plan: TypeAlias = Annotated[
    str,
    Parameter(
        name="--faults",
        help="What goes wrong: none, some, many, a file, or a plan as fail=5%,half=2%,slow=1%,reboot=0.5%,alter=2%,"
        "die=1%,late=5%,twice=2%; fail=@17:ENOSPC is the 17th step.",
    ),
]
Keep: TypeAlias = Annotated[
    Path | None, Parameter(name="--keep", help="Leave the ledgers in this directory, which is empty or new.")
]
Json: TypeAlias = Annotated[bool, Parameter(name="--json", group=COMMON, help="Print JSON, errors too.")]


def simulate(
    *,
    seed: Seed = None,
    steps: Steps = 500,
    hosts: Hosts = 2,
    faults: Plan = "some",
    keep: Keep = None,
    json: Json = False,
) -> int:
    """Run simulated hosts through random commands and faults, and check that everything holds.

    Each host has a ledger and a kernel of its own, on one network. Now and then nothing goes wrong for a while; then
    every invariant of the logs holds, each kernel is what its log calls for, and packets go where the networks say.
    Status 41 when anything does not hold: then the shortest run that shows it is looked for, and what reproduces it
    is printed. No kernel of this machine is touched.
    """
    from ...dataplanes.simulated import FaultPlan
    from ...testing.simulation import Settings

    _check("--steps", steps, MOST_STEPS)
    _check("--hosts", hosts, MOST_HOSTS)
    plan = FaultPlan.named(faults)
    settings = Settings(secrets.randbelow(1_000_000) if seed is None else seed, steps, hosts, plan)
    directory = _directory(keep)
    is_kept = keep is not None
    try:
        ledgers = directory / "run"
        outcome = _run(settings, ledgers)
        if outcome.failure is not None:
            is_kept = True
            settings, outcome, ledgers = _shorten(settings, outcome, directory)
    finally:
        if not is_kept:
            shutil.rmtree(directory, ignore_errors=True)
    if json:
        document(_built(settings, outcome, ledgers if is_kept else None))
    else:
        _tell(settings, outcome, ledgers if is_kept else None)
    return (DONE if outcome.failure is None else VIOLATED).status


def _check(option: str, number: int, most: int) -> None:
    if not 1 <= number <= most:
        raise Invalid(f"{option} {number}", "out of range", f"give one from 1 to {most}")


def _directory(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="netledger-simulate-"))
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise Invalid(f"--keep {keep}", "it is no empty directory", "name an empty or a new one")
    return keep.absolute()


def _run(settings: Settings, directory: Path) -> Outcome:
    from ...testing.simulation import run

    with _progress(settings.steps) as after_step:
        return run(settings, directory, after_step=after_step)


def _shorten(settings: Settings, outcome: Outcome, directory: Path) -> tuple[Settings, Outcome, Path]:
    """Look for the fewest steps that fail; keep the longer run's ledgers beside those of the shorter."""
    from ...testing.simulation import fewest_steps

    assert outcome.failure is not None, "it failed"
    if sys.stderr.isatty():
        note(f"failed at step {outcome.failure.step}; looking for a shorter run that does ...")
    return fewest_steps(settings, outcome.failure.step, directory / "shorter")


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[int], None]]:
    """Show a bar, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
        task = progress.add_task("steps", total=steps)
        yield lambda step: progress.update(task, completed=step)


def _tell(settings: Settings, outcome: Outcome, kept: Path | None) -> None:
    print(f"seed {settings.seed}, {settings.hosts} host(s), faults {settings.plan}")
    for line in outcome.summary.lines():
        print(clean(line))
    print(f"digest            {outcome.digest}")
    failure = outcome.failure
    if failure is None:
        print("everything holds")
        if kept is not None:
            print(f"ledgers           {shlex.quote(str(kept))}")
        return
    assert kept is not None, "the ledgers of a run that failed are kept"
    print(f"\nVIOLATED  {failure.checker}: at step {failure.step}, on {failure.host}, position {failure.position}")
    for line in failure.words.splitlines():
        print(clean(f"    {line}"))
    print(f"reproduced by:    {_command(settings)}")
    print(f"what happened:    netledger log show --state {_state(kept, failure.host)}")


def _built(settings: Settings, outcome: Outcome, kept: Path | None) -> dict[str, object]:
    import msgspec

    failure = outcome.failure
    return {
        "holds": failure is None,
        "seed": settings.seed,
        "steps": settings.steps,
        "hosts": settings.hosts,
        "faults": str(settings.plan),
        "digest": outcome.digest,
        "summary": msgspec.to_builtins(outcome.summary),
        "failure": msgspec.to_builtins(failure),
        "reproduced_by": None if failure is None else _command(settings),
        "ledgers": None if kept is None else str(kept),
    }


def _command(settings: Settings) -> str:
    words = ("--seed", settings.seed, "--steps", settings.steps, "--hosts", settings.hosts, "--faults", settings.plan)
    return shlex.join(["netledger", "simulate", *map(str, words)])


def _state(kept: Path, host: str) -> str:
    return shlex.quote(str(kept / host))
