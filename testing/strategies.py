"""Hypothesis strategies: addresses, blocks, labels, options, ports, commands and whole histories.

What they draw shrinks to something that a person can read: few commands, names like n0, small addresses.
Knows nothing of: engines, kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st

from ..domain.commands import Command, PoolRequest
from ..domain.drivers import DRIVERS
from ..domain.events import OptionValue
from ..domain.values import AllocationPolicy, PortRequest, Subnet
from ..projections.views import Views
from .author import GROUND, KINDS, Author, Universe

T = TypeVar("T")

WIDTHS = {4: 32, 6: 128}
COMMANDS_A_BATCH = 4


class Drawn:
    """Choices of a list of numbers; when it is used up, the first of each.

    What one command takes is in a list of its own, however much it takes: so whole commands can be left out when a
    history shrinks, and a command shrinks to the simplest by having its list emptied.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)

    def pick(self, among: Sequence[T]) -> T:
        """Choose one."""
        return among[next(self._numbers, 0) % len(among)]

    def chance(self, percent: int) -> bool:
        """Answer yes so often, and always when the list is used up."""
        return next(self._numbers, 0) % 100 < percent


def numbers() -> st.SearchStrategy[list[int]]:
    """Draw what one command's choices are made of."""
    number = st.integers(0, 9_999)
    return st.lists(number, max_size=4) | st.lists(number, min_size=8, max_size=16)


def addresses(family: int = 4, *, within: Subnet | None = None) -> st.SearchStrategy[bytes]:
    """Draw packed addresses, of a block if one is given."""
    if within is not None:
        return st.integers(0, (1 << within.host_bits) - 1).map(within.at)
    return st.integers(0, (1 << WIDTHS[family]) - 1).map(lambda number: number.to_bytes(WIDTHS[family] // 8))


@st.composite
def subnets(draw: st.DrawFn, family: int = 4, *, shortest: int = 8, longest: int = 30) -> Subnet:
    """Draw blocks with so many bits of prefix; the simplest is 10.0.0.0, or fd00::, with the longest."""
    prefix = longest - draw(st.integers(0, longest - shortest))
    start = 10 << 24 if family == 4 else 0xFD << 120
    number = draw(st.integers(0, (1 << (longest - shortest)) - 1)) >> (longest - prefix)
    address = (start + (number << (WIDTHS[family] - prefix))).to_bytes(WIDTHS[family] // 8)
    return Subnet(address, prefix)


@st.composite
def pools(draw: st.DrawFn, family: int = 4) -> PoolRequest:
    """Draw requests for a block: predefined or named, with or without a gateway in it, of either policy."""
    policy = draw(st.sampled_from(AllocationPolicy))
    block = draw(st.none() | subnets(family))
    if block is None:
        return PoolRequest(family, policy=policy)
    gateway = draw(st.none() | st.integers(1, (1 << block.host_bits) - 2).map(block.at))
    return PoolRequest(family, block, gateway, policy)


def labels() -> st.SearchStrategy[dict[str, str]]:
    """Draw labels as users write them."""
    keys = st.text("abc.-", min_size=1, max_size=8)
    return st.dictionaries(keys, st.text(st.characters(categories=("L", "N", "P", "S")), max_size=8), max_size=3)


def network_options(driver: str = "bridge") -> st.SearchStrategy[dict[str, OptionValue]]:
    """Draw options that a driver takes."""
    assert driver in DRIVERS, f"there is no driver {driver}"
    return numbers().map(lambda found: Author(Drawn(found)).options())


def ports() -> st.SearchStrategy[tuple[PortRequest, ...]]:
    """Draw up to two ports to publish."""
    return numbers().map(lambda found: Author(Drawn(found)).ports())


def commands(views: Views, universe: Universe | None = None) -> st.SearchStrategy[Command]:
    """Draw a command that usually makes sense in a state."""
    return numbers().map(lambda found: Author(Drawn(found), universe, lambda: views).command())


def histories(
    max_batches: int = 12,
    universe: Universe | None = None,
    *,
    ground: Sequence[str] = GROUND,
    kinds: Sequence[str] = KINDS,
) -> st.SearchStrategy[list[list[Command]]]:
    """Draw batches of commands, the first of which lays some ground; `kinds`: of those that follow."""
    step = st.tuples(st.sampled_from(kinds), numbers())
    first = st.tuples(*(numbers() for _ in ground)).map(lambda found: list(zip(ground, found, strict=True)))
    rest = st.lists(st.lists(step, min_size=1, max_size=COMMANDS_A_BATCH), min_size=1, max_size=max_batches)
    return st.builds(lambda batch, others: _write([batch, *others], universe), first, rest)


def _write(plan: Sequence[Sequence[tuple[str, list[int]]]], universe: Universe | None) -> list[list[Command]]:
    author = Author(Drawn([]), universe)
    batches = []
    for batch in plan:
        commands = []
        for kind, found in batch:
            author.choice = Drawn(found)
            commands.append(author.command(kind))
        batches.append(commands)
    return batches
