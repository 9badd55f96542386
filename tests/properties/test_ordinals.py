import itertools
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from netledger.domain.ipam import ordinals
from netledger.domain.ipam.ordinals import OrdinalSet

RUN_LIMIT = 600
"""More than two short leaves."""

# Near a power of two, on either side, or anything; to be taken modulo the pool's size, where the powers from that size
# on are its ends.
anywhere = st.one_of(
    st.builds(lambda power, offset: (1 << power) + offset, st.integers(0, 128), st.integers(-RUN_LIMIT, RUN_LIMIT)),
    st.integers(0, 20),
    st.integers(0, (1 << 128) - 1),
)
run_lengths = st.integers(1, RUN_LIMIT)


def next_free_naively(held: set[int], start: int, low: int, high: int) -> int | None:
    """Walk from the start to the end of the range, then from its beginning."""
    first = start if low <= start <= high else low
    walk = itertools.chain(range(first, high + 1), range(low, first))
    return next((ordinal for ordinal in walk if ordinal not in held), None)


class Ordinals(RuleBasedStateMachine):
    """An ordinal set beside a plain set of the same ordinals: they never disagree."""

    widths: st.SearchStrategy[int]

    @initialize(data=st.data())
    def begin(self, data):
        self.bits = data.draw(self.widths, label="bits")
        self.capacity = 1 << self.bits
        self.held = OrdinalSet(self.bits)
        self.model: set[int] = set()

    @rule(number=anywhere)
    def take(self, number):
        ordinal = number % self.capacity
        assert self.held.take(ordinal) == (ordinal not in self.model)
        self.model.add(ordinal)

    @rule(number=anywhere)
    def give(self, number):
        ordinal = number % self.capacity
        assert self.held.give(ordinal) == (ordinal in self.model)
        self.model.discard(ordinal)

    @rule(number=anywhere)
    def give_one_that_is_held(self, number):
        if self.model:
            self.give(sorted(self.model)[number % len(self.model)])

    @rule(number=anywhere, length=run_lengths)
    def take_a_run(self, number, length):
        for step in range(length):
            self.take(number + step)

    @rule(number=anywhere, length=run_lengths)
    def give_a_run(self, number, length):
        for step in range(length):
            self.give(number + step)

    @rule(start=anywhere, low=anywhere, high=anywhere)
    def search_a_range(self, start, low, high):
        low, high = low % self.capacity, high % self.capacity
        assert self.held.next_free(start, low, high) == next_free_naively(self.model, start, low, high)
        start %= self.capacity
        assert self.held.next_free(start, low, high) == next_free_naively(self.model, start, low, high)
        assert self.held.first_free(low, high) == next_free_naively(self.model, low, low, high)

    @rule(start=anywhere)
    def take_the_next(self, start):
        last = self.capacity - 1
        found = self.held.next_free(start, 0, last)
        assert found == next_free_naively(self.model, start, 0, last)
        if found is None:
            assert len(self.model) == self.capacity
        else:
            assert self.held.take(found)
            self.model.add(found)

    @rule(number=anywhere)
    def ask_for_one(self, number):
        ordinal = number % self.capacity
        assert self.held.holds(ordinal) == (ordinal in self.held) == (ordinal in self.model)

    @rule()
    def forget_the_past(self):
        again = OrdinalSet(self.bits)
        for ordinal in sorted(self.model, reverse=True):
            again.take(ordinal)
        assert again == self.held
        assert list(again) == list(self.held) == sorted(self.model)
        assert again._leaves.keys() == self.held._leaves.keys()
        assert again._summaries == self.held._summaries
        self.held = again

    @invariant()
    def as_many_are_held(self):
        if hasattr(self, "model"):
            assert self.held.held == len(self.model)


class NarrowOrdinals(Ordinals):
    """Pools that can be filled to the last ordinal."""

    widths = st.integers(0, 10)


class WideOrdinals(Ordinals):
    """Pools whose ends are far apart, on both sides of the width at which leaves become short."""

    widths = st.sampled_from([16, 17, 24, 28, 29, 64, 112, 128])


class TallOrdinals(Ordinals):
    """Leaves and words of a few bits, so that pools that can be filled to the last ordinal are many levels high."""

    widths = st.integers(0, 10)

    @initialize(leaf_bits=st.integers(0, 2), word_bits=st.integers(1, 3), data=st.data())
    def begin(self, leaf_bits, word_bits, data):
        size = 1 << word_bits
        self.sizes = mock.patch.multiple(
            ordinals,
            LONG_LEAF_BITS=leaf_bits,
            _WORD_BITS=word_bits,
            _WORD_SIZE=size,
            _WORD_MASK=size - 1,
            _FULL_WORD=(1 << size) - 1,
        )
        self.sizes.start()
        super().begin(data)

    def teardown(self):
        if hasattr(self, "sizes"):
            self.sizes.stop()


for machine in (NarrowOrdinals, WideOrdinals, TallOrdinals):
    machine.TestCase.settings = settings(deadline=None)

TestNarrow = NarrowOrdinals.TestCase
TestWide = WideOrdinals.TestCase
TestTall = TallOrdinals.TestCase
