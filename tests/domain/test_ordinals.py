import random
import tracemalloc

import pytest

from netledger.domain.ipam.ordinals import (
    LONG_LEAF_BITS,
    SHORT_LEAF_BITS,
    WIDEST_BITS,
    WIDEST_WITH_LONG_LEAVES_BITS,
    OrdinalSet,
)

# Both sides of each width at which the structure changes, and the ends.
WIDTHS = [
    0,
    1,
    8,
    LONG_LEAF_BITS,
    LONG_LEAF_BITS + 1,
    WIDEST_WITH_LONG_LEAVES_BITS,
    WIDEST_WITH_LONG_LEAVES_BITS + 1,
    64,
    112,
    WIDEST_BITS,
]


def holding(bits: int, ordinals) -> OrdinalSet:
    """Make a set that holds these ordinals, taken in this order."""
    ordinals_held = OrdinalSet(bits)
    for ordinal in ordinals:
        assert ordinals_held.take(ordinal)
    return ordinals_held


class Counting(dict):
    """A dict that counts how often it is looked into."""

    def __init__(self, content):
        super().__init__(content)
        self.looks = 0

    def get(self, key, default=None):
        self.looks += 1
        return super().get(key, default)


@pytest.mark.parametrize("bits", WIDTHS)
class TestEveryWidth:
    def test_an_ordinal_is_held_once(self, bits: int):
        """The first and the last ordinal can be taken once and given once; a second time is refused and is nothing."""
        for ordinal in {0, (1 << bits) - 1}:
            held = OrdinalSet(bits)
            assert not held.holds(ordinal)
            assert not held.give(ordinal)
            assert held.take(ordinal)
            assert not held.take(ordinal)
            assert (held.holds(ordinal), held.held, list(held)) == (True, 1, [ordinal])
            assert held.give(ordinal)
            assert not held.give(ordinal)
            assert (held.holds(ordinal), held.held, list(held)) == (False, 0, [])

    def test_a_search_wraps_round(self, bits: int):
        """After the last ordinal comes the first; when neither is free in a pool of two or fewer, there is none."""
        last = (1 << bits) - 1
        held = holding(bits, {last})
        assert held.next_free(last, 0, last) == (0 if last else None)
        assert held.next_free(last + 1, 0, last) == (0 if last else None)
        held.take(0)
        assert held.next_free(last, 0, last) == held.first_free(0, last) == (1 if last > 1 else None)

    def test_an_ordinal_outside_is_a_bug(self, bits: int):
        """What lies outside the pool is neither free nor held: to ask is an assertion."""
        held = OrdinalSet(bits)
        for outside in (-1, 1 << bits):
            for ask in (held.take, held.give, held.holds):
                with pytest.raises(AssertionError, match="outside"):
                    ask(outside)
        with pytest.raises(AssertionError, match="outside"):
            held.first_free(-1, 0)
        with pytest.raises(AssertionError, match="outside"):
            held.first_free(0, 1 << bits)

    def test_looking_changes_nothing(self, bits: int):
        """What a search finds is not held by having been found, and is found again; no memory is left behind."""
        held = OrdinalSet(bits)
        last = held.capacity - 1
        assert [held.next_free(last, 0, last) for _ in range(3)] == [last] * 3
        assert [held.first_free(0, last) for _ in range(3)] == [0] * 3
        assert held == OrdinalSet(bits)
        assert not held._leaves

    def test_what_was_given_back_leaves_nothing(self, bits: int):
        """A set of which everything was given back equals a new one, down to what it keeps in memory."""
        random_ordinals = {random.Random(1).randrange(1 << bits) for _ in range(100)}
        held = holding(bits, random_ordinals)
        for ordinal in random_ordinals:
            assert held.give(ordinal)
        assert held == OrdinalSet(bits)
        assert not held._leaves
        assert not any(held._summaries)


class TestRanges:
    def test_a_search_stays_within_its_range(self):
        """Free ordinals on either side of a full range are not found."""
        held = holding(8, range(16, 32))
        assert held.next_free(20, 16, 31) is None
        assert held.next_free(20, 16, 32) == 32
        assert held.next_free(20, 15, 31) == 15

    def test_a_search_begins_where_it_is_told(self):
        """The first free ordinal at or after the start is found, though a lower one is free."""
        held = holding(8, [16, 18])
        assert [held.next_free(start, 16, 19) for start in (16, 17, 18, 19)] == [17, 17, 19, 19]
        assert held.first_free(16, 19) == 17

    @pytest.mark.parametrize("start", [-5, 0, 15, 20, 255, 256, 1 << 200])
    def test_a_start_outside_the_range_means_its_beginning(self, start: int):
        """A cursor that has run past the range, or stands before it, begins anew."""
        assert holding(8, [16]).next_free(start, 16, 19) == 17

    def test_an_empty_range_has_nothing_free(self):
        """A pool of one address, of which the first and last are reserved, is the range [1, -1]."""
        assert OrdinalSet(0).first_free(1, -1) is None
        assert OrdinalSet(8).next_free(7, 8, 7) is None


class TestFullParts:
    @pytest.mark.parametrize(("bits", "leaf"), [(18, 1 << LONG_LEAF_BITS), (64, 1 << SHORT_LEAF_BITS)])
    def test_a_full_leaf_is_passed_over_until_something_in_it_is_free(self, bits: int, leaf: int):
        """A search passes a full leaf in both directions of the border, and comes back to it once it is not full."""
        held = holding(bits, range(leaf))
        last = held.capacity - 1
        assert held.first_free(0, last) == leaf
        assert held.first_free(0, leaf - 1) is None
        held.take(leaf)
        assert held.first_free(0, last) == leaf + 1
        held.give(leaf - 1)
        assert held.first_free(0, last) == leaf - 1
        held.give(7)
        assert held.next_free(leaf, 0, leaf) == 7

    def test_a_full_pool_has_nothing_free(self):
        """In a full pool of several leaves a search finds nothing from anywhere, then the one that was given back."""
        held = holding(18, range(1 << 18))
        last = held.capacity - 1
        assert held.held == held.capacity
        assert {held.next_free(start, 0, last) for start in range(0, last, 4099)} == {None}
        for ordinal in (0, 65535, 65536, last):
            held.give(ordinal)
            assert {held.next_free(start, 0, last) for start in range(0, last, 4099)} == {ordinal}
            held.take(ordinal)

    def test_a_full_word_is_passed_over_until_something_in_it_is_free(self):
        """A search passes 512 full leaves, goes on past them, and comes back once the last of them is not full."""
        crowd = 1 << 17
        held = holding(64, range(3 * crowd))
        last = held.capacity - 1
        assert held.first_free(0, last) == held.next_free(2 * crowd, 0, last) == 3 * crowd
        held.give(2 * crowd - 1)
        assert held.first_free(0, last) == 2 * crowd - 1
        assert held.next_free(2 * crowd, 0, last) == 3 * crowd
        for ordinal in set(range(3 * crowd)) - {2 * crowd - 1}:
            held.give(ordinal)
        assert not any(held._summaries)

    def test_a_search_looks_at_a_handful_of_words(self):
        """Behind 131,072 held ordinals the next is found after one look a level up and one a level down."""
        crowd = 1 << 17
        held = holding(64, range(crowd))
        held._leaves = Counting(held._leaves)
        held._summaries = [Counting(summary) for summary in held._summaries]
        assert held.first_free(0, held.capacity - 1) == crowd
        assert held._leaves.looks <= 2
        assert all(summary.looks <= 2 for summary in held._summaries)
        assert sum(summary.looks for summary in held._summaries) <= 4


class TestAsValue:
    def test_only_what_is_held_counts(self):
        """Sets with different pasts and the same ordinals are equal and go through them alike, ascending."""
        ordinals = random.Random(2).sample(range(1 << 20), 1000)
        straight = holding(20, sorted(ordinals))
        roundabout = holding(20, range(70_000))
        for ordinal in ordinals:
            roundabout.take(ordinal)
        for ordinal in set(range(70_000)) - set(ordinals):
            roundabout.give(ordinal)
        assert roundabout == straight
        assert list(roundabout) == list(straight) == sorted(ordinals)

    def test_another_ordinal_or_width_is_another_set(self):
        """Sets that differ in one ordinal, in how many they hold or in their width are unequal."""
        held = holding(8, [3])
        assert held != holding(8, [4])
        assert held != holding(8, [3, 4])
        assert held != holding(9, [3])
        assert OrdinalSet(8) != OrdinalSet(9)
        assert holding(64, [3]) != holding(112, [3])
        assert held != {3}

    def test_it_is_no_key(self):
        """A set changes, so it has no hash."""
        with pytest.raises(TypeError, match="unhashable"):
            hash(OrdinalSet(8))

    def test_in_asks_for_one(self):
        """`in` answers at once: it does not go through all that is held."""
        held = holding(64, [5])
        held._leaves = Counting(held._leaves)
        assert 5 in held
        assert 6 not in held
        assert held._leaves.looks == 2

    def test_all_can_be_given_back_while_going_through_them(self):
        """Each is seen once, though it is given back as soon as it is seen."""
        held = holding(64, range(200, 600))
        assert [ordinal for ordinal in held if held.give(ordinal)] == list(range(200, 600))
        assert held.held == 0

    def test_it_shows_itself_in_a_line(self):
        """A set prints its width and how many it holds, not which."""
        assert repr(holding(64, range(1000))) == "<OrdinalSet of 64 bits: 1000 held>"

    @pytest.mark.parametrize("bits", [-1, WIDEST_BITS + 1])
    def test_no_pool_is_that_wide(self, bits: int):
        """Widths go from one address to every IPv6 address."""
        with pytest.raises(AssertionError, match="bits"):
            OrdinalSet(bits)


@pytest.mark.parametrize(("bits", "bits_each"), [(20, 1.2), (24, 1.2), (64, 12)])
def test_neighbours_are_small(bits: int, bits_each: float):
    """An ordinal held among its neighbours takes little more than its bit, and some bits more in an IPv6 pool."""
    crowd = 1 << 17
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        held = holding(bits, range(crowd))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held.held == crowd
    assert (after - before) * 8 < crowd * bits_each
