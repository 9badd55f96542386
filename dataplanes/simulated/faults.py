"""Fault plans: what goes wrong on a simulated host, how often, or at which step.

As text:

    fail=5%,half=2%,slow=1%,reboot=0.5%,alter=2%,die=1%,late=5%,twice=2%
    fail=@17:ENOSPC,die=1%+@3

`5%` strikes so often, `@17` the 17th time (both: `1%+@3`); errnos after a colon are those that a step fails with.
Keeps: a plan is a value, `parse(str(plan)) == plan`; the same plan, seed and steps give the same faults.
Knows nothing of: the log, the engine. `fail`, `half` and `slow` happen to a step of an apply, here; the others to an
operation, and whoever drives the host carries them out (`netledger.testing.simulation`).
"""

from __future__ import annotations

import enum
import errno
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct, structs

from ...domain.errors import Invalid
from ...domain.objects import KernelObject
from ..contract import Step

WHOLE = 100_000
"""The parts that a share is counted in: a thousandth of a percent."""

ERRNOS = ("EBUSY", "ENOBUFS", "ENOMEM", "EEXIST", "ENOSPC", "EXFULL", "EPERM")
"""What the kernel answers where it could do what it is asked: somebody is quicker, or something is full or locked."""

DELAYS_SECONDS = (0.05, 0.5, 2.0, 10.0)
TEXT_LIMIT = 4096


class Kind(enum.StrEnum):
    """What can go wrong."""

    FAIL = "fail"
    """A step fails."""
    HALF = "half"
    """A step is done by half: see `Half`."""
    SLOW = "slow"
    """A step takes time."""
    REBOOT = "reboot"
    """The host reboots: its kernel's state is gone."""
    ALTER = "alter"
    """Somebody alters the kernel's state from outside."""
    DIE = "die"
    """The process ends in the middle of an operation."""
    LATE = "late"
    """Another writer's events come when the operation has looked for them already."""
    TWICE = "twice"
    """Events come to the dataplane, or a request to the engine, once more."""


class Half(enum.StrEnum):
    """How a step is done by half."""

    UNHEARD = "done, and reported as failed"
    ASKEW = "done otherwise than asked, and reported as done"
    ASKEW_UNHEARD = "done otherwise than asked, and reported as failed"
    CUT = "failed, and the rest of the batch with it"


class Rule(Struct, frozen=True):
    """How often something goes wrong: a share in parts of `WHOLE`, and at which occasions, the first being 1."""

    share: int = 0
    at: tuple[int, ...] = ()
    errnos: tuple[str, ...] = ()

    def __str__(self) -> str:
        share = f"{self.share / 1000:.3f}".rstrip("0").rstrip(".")
        when = [f"{share}%"] if self.share or not self.at else []
        which = f":{'/'.join(self.errnos)}" if self.errnos else ""
        return "+".join([*when, *(f"@{occasion}" for occasion in self.at)]) + which


class FaultPlan(Struct, frozen=True):
    """A rule for each kind of fault; a kind without one never happens."""

    rules: Mapping[Kind, Rule]

    @classmethod
    def parse(cls, text: str) -> FaultPlan:
        """Read a plan: rules with commas or line ends between them, `#` before a comment. Raises `Invalid`."""
        rules: dict[Kind, Rule] = {}
        if len(text) > TEXT_LIMIT:
            raise Invalid("fault plan", f"it is longer than {TEXT_LIMIT} characters")
        for part in _parts(text):
            name, equals, value = (word.strip() for word in part.partition("="))
            if name not in list(Kind) or not equals:
                raise Invalid(f"fault {part!r}", "not KIND=VALUE", f"kinds: {', '.join(Kind)}; as in fail=5%")
            if rules.setdefault(Kind(name), rule := _rule(part, value)) is not rule:
                raise Invalid(f"fault {part!r}", f"{name} was given before", f"join them with +, as in {name}=1%+@3")
        return cls(rules)

    @classmethod
    def named(cls, text: str) -> FaultPlan:
        """Give the plan of a name in `PRESETS`, of a file, or that the text itself is. Raises `Invalid`."""
        if text in PRESETS:
            return cls.parse(PRESETS[text])
        if "=" in text:
            return cls.parse(text)
        try:
            return cls.parse(Path(text).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            remedy = f"name one of {', '.join(PRESETS)} or a file, or write one, as fail=5%,reboot=1%"
            raise Invalid(f"fault plan {text!r}", f"neither a name nor a file: {error}", remedy) from None

    def __str__(self) -> str:
        return ",".join(f"{kind}={rule}" for kind, rule in sorted(self.rules.items())) or "none"

    def rule(self, kind: Kind) -> Rule:
        """Give the rule for a kind."""
        return self.rules.get(kind, NEVER)


NEVER = Rule()
PRESETS = {
    "none": "",
    "some": "fail=1%,half=0.5%,slow=1%,reboot=0.5%,alter=2%,die=2%,late=3%,twice=2%",
    "many": "fail=8%,half=4%,slow=4%,reboot=3%,alter=10%,die=10%,late=15%,twice=8%",
}


class Misfortune(Struct, frozen=True):
    """What becomes of one step: the errno that it fails with (0: it does not), how it is done by half, how late."""

    number: int = 0
    half: Half | None = None
    delay_seconds: float = 0.0


LUCK = Misfortune()

StepFaults: TypeAlias = Callable[[Step], "int | Misfortune"]
"""Answers, for each step, the errno with which it fails (0 when it does not), or all of what becomes of it."""


class Died(BaseException):
    """The simulated process ends here; nothing in it may catch this."""


class Faults:
    """A plan at work on one host: what a `SimulatedDataplane` takes as its `faults`.

    `injected` counts what went wrong, in words. `is_off` stops it all, but for a death that was planned already.
    """

    def __init__(self, plan: FaultPlan, seed: int | str = 0) -> None:
        self.plan = plan
        self.is_off = False
        self.injected: Counter[str] = Counter()
        self.delay_seconds = 0.0
        """How long all slow steps took together."""
        self._chance = random.Random(f"faults/{seed}")  # noqa: S311  # no secret: the same seed gives the same faults
        self._occasions: Counter[Kind] = Counter()
        self._steps_to_live: int | None = None

    def __call__(self, step: Step) -> Misfortune:  # noqa: ARG002  # a plan does not look at what it strikes
        """Decide what becomes of a step; raise `Died` where the process is to end before it."""
        self._live_on()
        if self.is_off:
            return LUCK
        delay = self._chance.choice(DELAYS_SECONDS) if self.strikes(Kind.SLOW) else 0.0
        self.delay_seconds += delay
        fails, is_half = self.strikes(Kind.FAIL), self.strikes(Kind.HALF)
        number, half = 0, None
        if is_half:
            half = self._chance.choice(list(Half))
            number = 0 if half is Half.ASKEW else self._errno(Kind.HALF)
            self.injected[f"half: {half}"] += 1
        elif fails:
            number = self._errno(Kind.FAIL)
            self.injected[f"fail: {errno.errorcode[number]}"] += 1
        return Misfortune(number, half, delay)

    def strikes(self, kind: Kind) -> bool:
        """Whether a kind of fault happens at this occasion of it."""
        if self.is_off:
            return False
        rule = self.plan.rule(kind)
        self._occasions[kind] += 1
        strikes = self._chance.randrange(WHOLE) < rule.share or self._occasions[kind] in rule.at
        if strikes:
            self.injected[kind] += 1
        return strikes

    def die_before_step(self, number: int | None) -> None:
        """Let the process end before its `number`th step from now, the first being 1; None: let it live."""
        self._steps_to_live = number

    def choose(self, below: int) -> int:
        """Choose a number from 0, by the same chance."""
        return self._chance.randrange(below)

    def _live_on(self) -> None:
        if self._steps_to_live is not None:
            self._steps_to_live -= 1
            if self._steps_to_live <= 0:
                self._steps_to_live = None
                raise Died

    def _errno(self, kind: Kind) -> int:
        number = getattr(errno, self._chance.choice(self.plan.rule(kind).errnos or ERRNOS))
        assert isinstance(number, int), "an errno is a number"
        return number


def askew(wanted: KernelObject) -> KernelObject | None:
    """Give the same object otherwise than it was asked for: equal in its key alone; None where nothing else is in it.

    A name or kind of something else is left as it is: a thing cannot be made on what is not there.
    """
    for field in structs.fields(wanted):
        value = getattr(wanted, field.name)
        for other in _others(field.name, value):
            altered = structs.replace(wanted, **{field.name: other})
            if altered.key == wanted.key:
                return altered
    return None


def _others(name: str, value: object) -> tuple[object, ...]:
    match value:
        case bool():
            return (not value,)
        case int() if name == "mtu":
            return (1280 if value != 1280 else 1400,)
        case int() if name not in ("protocol", "family"):
            return (value + 1,)
        case str() if name == "value":
            return ("0" if value != "0" else "1",)
        case _:
            return ()


def _parts(text: str) -> Iterator[str]:
    for line in text.splitlines():
        for part in line.partition("#")[0].split(","):
            if part.strip():
                yield part.strip()


def _rule(asked: str, text: str) -> Rule:
    when, _, which = text.partition(":")
    errnos = tuple(word.strip() for word in which.split("/") if word.strip())
    for name in errnos:
        if not isinstance(getattr(errno, name, None), int):
            raise Invalid(f"fault {asked!r}", f"there is no errno {name!r}", f"as in fail=5%:{ERRNOS[0]}/{ERRNOS[1]}")
    share, at = 0, []
    for word in when.split("+"):
        if word.strip().startswith("@"):
            at.append(_occasion(asked, word.strip()[1:]))
        else:
            share += _share(asked, word.strip())
    if share > WHOLE:
        raise Invalid(f"fault {asked!r}", "more than 100%", "give at most 100%")
    return Rule(share, tuple(sorted(set(at))), errnos)


def _occasion(asked: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= WHOLE * WHOLE):
        raise Invalid(f"fault {asked!r}", f"{text!r} is not the number of an occasion", "count from 1, as in fail=@17")
    return int(text)


def _share(asked: str, text: str) -> int:
    digits = text.removesuffix("%")
    whole, _, rest = digits.partition(".")
    is_number = (whole + rest).isascii() and (whole + rest).isdigit() and len(whole) <= 3 and len(rest) <= 3
    if not text.endswith("%") or not is_number:
        remedy = "write it like 5% or 0.125%, or @17 for the 17th time"
        raise Invalid(f"fault {asked!r}", f"{text!r} is not a share", remedy)
    return int(whole or "0") * 1000 + int(rest.ljust(3, "0"))
