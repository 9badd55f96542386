"""Hypothesis strategies: addresses, blocks, labels, options, ports, commands and whole histories.

What they draw shrinks to something that a person can read: few commands, names like n0, small addresses.
Knows nothing of: engines, kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
BATCH_LIMIT = 4
"""Commands of one drawn batch."""


class Drawn:
    """Choices that Hypothesis draws, and shrinks towards the first of each."""

    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self._draw = draw

    def pick(self, among: Sequence[T]) -> T:
        """Draw one."""
        return among[self._draw(st.integers(0, len(among) - 1))]

    def chance(self, percent: int) -> bool:
        """Draw yes so often, or more."""
        return self._draw(st.integers(0, 99)) < percent


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
    return _written(lambda author: author.options())


def ports() -> st.SearchStrategy[tuple[PortRequest, ...]]:
    """Draw up to two ports to publish."""
    return _written(lambda author: author.ports())


@st.composite
def commands(draw: st.DrawFn, views: Views, universe: Universe | None = None) -> Command:
    """Draw a command that usually makes sense in a state."""
    return Author(Drawn(draw), universe, lambda: views).command()


@st.composite
def histories(draw: st.DrawFn, max_batches: int = 12, universe: Universe | None = None) -> list[list[Command]]:
    """Draw batches of commands, the first of which lays some ground."""
    author = Author(Drawn(draw), universe)
    batches = [[author.command(kind) for kind in GROUND]]
    for number in range(max_batches):
        # Asked before each, batch and command, not once before them all: so each can be shrunk away by itself.
        if number and not draw(st.integers(0, 7)):
            break
        batch = [author.command(draw(st.sampled_from(KINDS)))]
        while len(batch) < BATCH_LIMIT and draw(st.integers(0, 2)):
            batch.append(author.command(draw(st.sampled_from(KINDS))))
        batches.append(batch)
    return batches


def _written(write: Callable[[Author], T]) -> st.SearchStrategy[T]:
    @st.composite
    def draw_it(draw: st.DrawFn) -> T:
        return write(Author(Drawn(draw)))

    return draw_it()
