"""Which ordinals of an address pool are held, and where the next free one is, for pools of any width.

Keeps: an ordinal is held once or not at all; what is held alone decides what a set equals and how it iterates, however
it came about: a part of which nothing is held any more is gone. Looking for a free ordinal holds none and changes
nothing. No search walks the pool, however full: it looks at two leaves and at two words a level at most, twice when it
wraps round.
Knows nothing of: addresses, families, which ordinals are reserved, whose they are, in which order they are to be given.

How: leaves of consecutive ordinals are bit arrays, made when first written. A full leaf is one bit in the word that
sums up its neighbours, a full word one bit in the word above it. So a search goes up past what is full and down to
what is not. A leaf of a narrow set is long, so that a crowded /8 stays within the processor's cache; one of a wide set
is short, so that held ordinals strewn over a /64 stay cheap.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Final

from bitarray import bitarray

WIDEST_BITS = 128
"""A pool of every IPv6 address."""

LONG_LEAF_BITS = 16
SHORT_LEAF_BITS = 9
WIDEST_WITH_LONG_LEAVES_BITS = 28
"""Its 4,096 leaves of 8 KiB are 32 MiB, the most that the bits of any narrow set can take."""

_WORD_BITS = 9
_WORD_SIZE = 1 << _WORD_BITS
_WORD_MASK = _WORD_SIZE - 1
_FULL_WORD = (1 << _WORD_SIZE) - 1


class OrdinalSet:
    """The held ordinals of a pool of `2**bits`, `bits` from 0 to 128.

    Every method takes ordinals of the pool alone; another one is the caller's bug, and an assertion says so.
    """

    __slots__ = ("_held", "_leaf_bits", "_leaf_size", "_leaves", "_summaries", "bits", "capacity")

    def __init__(self, bits: int) -> None:
        assert 0 <= bits <= WIDEST_BITS, f"no pool has {bits} bits"
        self.bits: Final = bits
        self.capacity: Final = 1 << bits
        leaf_bits = LONG_LEAF_BITS if bits <= WIDEST_WITH_LONG_LEAVES_BITS else SHORT_LEAF_BITS
        self._leaf_bits = min(bits, leaf_bits)
        self._leaf_size = 1 << self._leaf_bits
        self._held = 0
        # By number, and only those of which something is held.
        self._leaves: dict[int, _Leaf] = {}
        # Lowest first. Bit n of word w is set when leaf (or word one level below) w * _WORD_SIZE + n is full.
        # What lies past the pool's end counts as free: a search that ends there has found nothing.
        heights = -(-(bits - self._leaf_bits) // _WORD_BITS)
        self._summaries: list[dict[int, int]] = [{} for _ in range(heights)]

    @property
    def held(self) -> int:
        """How many are held. No `__len__`: that of a full /64 does not fit what `len` may return."""
        return self._held

    def holds(self, ordinal: int) -> bool:
        """Tell whether an ordinal is held."""
        assert 0 <= ordinal < self.capacity, f"ordinal {ordinal} is outside a pool of {self.bits} bits"
        leaf = self._leaves.get(ordinal >> self._leaf_bits)
        return leaf is not None and leaf[ordinal & self._leaf_size - 1] == 1

    def take(self, ordinal: int) -> bool:
        """Hold a free ordinal; return False, having changed nothing, when it is held already."""
        assert 0 <= ordinal < self.capacity, f"ordinal {ordinal} is outside a pool of {self.bits} bits"
        index = ordinal >> self._leaf_bits
        offset = ordinal & self._leaf_size - 1
        leaf = self._leaves.get(index)
        if leaf is None:
            leaf = self._leaves[index] = _Leaf(self._leaf_size)
        elif leaf[offset]:
            return False
        leaf[offset] = 1
        leaf.held += 1
        self._held += 1
        if leaf.held == self._leaf_size:
            self._mark_full(index)
        return True

    def give(self, ordinal: int) -> bool:
        """Free a held ordinal; return False, having changed nothing, when it is not held."""
        assert 0 <= ordinal < self.capacity, f"ordinal {ordinal} is outside a pool of {self.bits} bits"
        index = ordinal >> self._leaf_bits
        offset = ordinal & self._leaf_size - 1
        leaf = self._leaves.get(index)
        if leaf is None or not leaf[offset]:
            return False
        if leaf.held == self._leaf_size:
            self._unmark_full(index)
        leaf[offset] = 0
        leaf.held -= 1
        self._held -= 1
        if not leaf.held:
            del self._leaves[index]
        return True

    def next_free(self, start: int, low: int, high: int) -> int | None:
        """Find the first free ordinal from `start` up to `high`, then from `low`; None when all of [low, high] is held.

        A `start` outside the range means its beginning, so one past the last ordinal wraps round. A range whose `high`
        is below its `low` has no ordinals and so no free one.
        """
        assert low >= 0, f"ordinal {low} is outside every pool"
        assert high < self.capacity, f"ordinal {high} is outside a pool of {self.bits} bits"
        if low < start <= high:
            leaf = self._leaves.get(start >> self._leaf_bits)
            if leaf is None:
                return start
            offset = start & self._leaf_size - 1
            near = leaf.find(0, offset)
            found = start - offset + near if near >= 0 else self._first_free_after(start)
            if found <= high:
                return found
        found = self._first_free_from(low)
        return found if found <= high else None

    def first_free(self, low: int, high: int) -> int | None:
        """Find the lowest free ordinal of [low, high]; None when all of it is held."""
        return self.next_free(low, low, high)

    def __iter__(self) -> Iterator[int]:
        """Go through the held ordinals, ascending. What is taken or given meanwhile may or may not be seen."""
        for index, leaf in sorted(self._leaves.items(), key=itemgetter(0)):
            for offset in leaf.search(1):
                yield index << self._leaf_bits | offset

    __contains__ = holds  # or `in` would go through all of them

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OrdinalSet):
            return NotImplemented
        # The summaries follow from the leaves.
        return self.bits == other.bits and self._leaves == other._leaves

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<OrdinalSet of {self.bits} bits: {self._held} held>"

    def _first_free_from(self, start: int) -> int:
        """Find the first free ordinal at or after `start`; past the pool's end when there is none."""
        leaf_bits = self._leaf_bits
        index = start >> leaf_bits
        leaf = self._leaves.get(index)
        if leaf is None:
            return start
        offset = leaf.find(0, start & self._leaf_size - 1)
        return index << leaf_bits | offset if offset >= 0 else self._first_free_after(start)

    def _first_free_after(self, ordinal: int) -> int:
        """Find the first free ordinal behind the leaf of an ordinal; past the pool's end when there is none."""
        if not self._summaries:
            return self.capacity  # it was the only leaf
        leaf_bits = self._leaf_bits
        index = self._first_leaf_from((ordinal >> leaf_bits) + 1)
        leaf = self._leaves.get(index)
        return index << leaf_bits | (leaf.find(0) if leaf else 0)

    def _first_leaf_from(self, index: int) -> int:
        """Find the first leaf at or after this one that is not full; past the last when there is none."""
        for height, summary in enumerate(self._summaries):
            position = index & _WORD_MASK
            full = _trailing_ones(summary.get(index >> _WORD_BITS, 0) >> position)
            if position + full < _WORD_SIZE:
                index += full
                for below in reversed(self._summaries[:height]):
                    index = index << _WORD_BITS | _trailing_ones(below.get(index, 0))
                return index
            index = (index >> _WORD_BITS) + 1
        return 1 << self.bits - self._leaf_bits

    def _mark_full(self, index: int) -> None:
        """Note in the summaries that a leaf has become full."""
        for summary in self._summaries:
            above = index >> _WORD_BITS
            word = summary[above] = summary.get(above, 0) | 1 << (index & _WORD_MASK)
            if word != _FULL_WORD:
                return
            index = above

    def _unmark_full(self, index: int) -> None:
        """Note in the summaries that a leaf is about to be full no more."""
        for summary in self._summaries:
            above = index >> _WORD_BITS
            word = summary[above]
            rest = word ^ 1 << (index & _WORD_MASK)
            if rest:
                summary[above] = rest
            else:
                del summary[above]
            if word != _FULL_WORD:
                return
            index = above


class _Leaf(bitarray):
    """Consecutive ordinals, none held at first: a bit for each, set when it is held, and how many are."""

    __slots__ = ("held",)

    def __init__(self, _: int) -> None:
        self.held = 0


def _trailing_ones(word: int) -> int:
    """Count the ones below a word's lowest zero."""
    return (word ^ word + 1).bit_length() - 1
