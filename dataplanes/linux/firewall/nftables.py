"""The nftables backend: one table of this instance, whose rules are a text that a person can review.

What belongs to a network or a published port is an element of a set or map, and never a rule: neither a packet nor a
change costs more when there are more of them. Keeps: making the table replaces it whole with every element in one
transaction; other tables are never named. Must not know: plans.

The table is loaded and listed through libnftables; elements, the hot path, go as raw nfnetlink.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from ....domain.objects import ForwardPolicy
from ....domain.values import parse_address
from .backend import Edit, Ending, FirewallObject, Found
from .elements import REACHED6, SETS, contradicting, elements_of, has_words, in_words, objects_of, salvage
from .libnftables import Listing, Nftables
from .nfnetlink import Change, Element, Netfilter, Verdict


class NftablesFirewall:
    """The table of one instance; see `backend.FirewallBackend`.

    `elsewhere` carries out a job in a throw-away namespace: the kernel's listing of our own text is learned there.
    """

    name: ClassVar[str] = "nftables"
    needs: ClassVar[str] = "it takes nf_tables with NAT, masquerade, fib and maps (modprobe nft_nat)"

    def __init__(self, table: str, elsewhere: Callable[[Callable[[], None]], None]) -> None:
        self._table = table
        self._elsewhere = elsewhere
        self._listed: Listing | None = None
        self._library: Nftables | None = None
        self._netfilter: Netfilter | None = None

    @property
    def described(self) -> str:
        """Name our table."""
        return f"table {self._table}"

    @property
    def library(self) -> Nftables:
        """The nftables library, opened when first needed."""
        if self._library is None:
            self._library = Nftables()
        return self._library

    @property
    def netfilter(self) -> Netfilter:
        """The socket for elements, opened when first needed."""
        if self._netfilter is None:
            self._netfilter = Netfilter(self._table)
        return self._netfilter

    def check(self, thing: FirewallObject) -> None:
        """Lower an object, to find out whether its values fit into elements."""
        elements_of(thing)

    def try_out(self) -> None:
        """Learn what the kernel lists for our own text; for a throw-away namespace."""
        nftables = Nftables()
        try:
            nftables.run(skeleton_text(self._table))
            listed = nftables.list_table(self._table)
        finally:
            nftables.close()
        assert listed is not None, "a table that was just made is not listed"
        self._listed = listed

    def observe(self) -> Found:
        """Read every set and map, and compare the rest of the table with what our text looks like when it is loaded."""
        found = [element for name in SETS for element in self.netfilter.elements(name)]
        objects = objects_of(found)
        reaches_loopback6 = bool(self.netfilter.elements(REACHED6))
        if objects is None:
            return Found(is_whole=False, objects=salvage(found), reaches_loopback6=reaches_loopback6)
        return Found(self._is_intact(), objects, reaches_loopback6)

    def load(self, objects: Sequence[FirewallObject], *, reaches_loopback6: bool = False) -> None:
        """Put the table in place of whatever is there by its name, with these objects, in one transaction.

        Those that nft has no words for come in a transaction after it.
        """
        filled: dict[str, list[str]] = {}
        for thing in filter(has_words, objects):
            for element in elements_of(thing):
                filled.setdefault(element.set, []).append(in_words(element))
        # "table" adds an empty one when there is none, so that "delete" cannot fail.
        commands = [f"table inet {self._table}", f"delete table inet {self._table}", skeleton_text(self._table)]
        commands += [
            f"add element inet {self._table} {name} {{ {', '.join(words)} }}" for name, words in filled.items()
        ]
        commands += [f"add element inet {self._table} {REACHED6} {{ ::1 }}"] if reaches_loopback6 else []
        self.library.run("\n".join(commands))
        unsaid = [Change(element) for thing in objects if not has_words(thing) for element in elements_of(thing)]
        for failure in self.netfilter.change(unsaid).failures.values():
            raise OSError(failure.number, f"an element could not be added: {failure}")

    def change(self, edits: Sequence[Edit]) -> list[Ending]:
        """Add and delete the elements in one transaction."""
        asked = [_changes(edit) for edit in edits]
        verdict = self.netfilter.change([change for changes in asked for change in changes])
        endings = [self._ending(edit, changes, verdict) for edit, changes in zip(edits, asked, strict=True)]
        stale = [
            Change(element, is_deletion=True)
            for edit, changes in zip(edits, asked, strict=True)
            if edit.before is None
            and isinstance(edit.after, ForwardPolicy)
            and any(change in verdict.already for change in changes)
            for element in contradicting(edit.after)
        ]
        if stale:
            self.netfilter.change(stale)
        return endings

    def reach_loopback6(self, *, is_wanted: bool) -> bool:
        """Add or delete the one element that lets the chain `output` translate what goes to ::1."""
        change = Change(Element(REACHED6, parse_address("::1")), is_deletion=not is_wanted)
        verdict = self.netfilter.change([change])
        for failure in verdict.failures.values():
            raise OSError(failure.number, f"the firewall's set {REACHED6}: {failure}")
        return change not in verdict.already

    def remove(self) -> bool:
        """Delete our table."""
        try:
            self.library.run(f"delete table inet {self._table}")
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Close the socket and the handle."""
        for held in (self._netfilter, self._library):
            if held is not None:
                held.close()
        self._netfilter = self._library = None

    def _is_intact(self) -> bool:
        listed = self.library.list_table(self._table)
        if listed is None:
            return False
        if self._listed is None:
            self._elsewhere(self.try_out)
        return listed == self._listed

    def _ending(self, edit: Edit, changes: list[Change], verdict: Verdict) -> Ending:
        failure = next((verdict.failures[change] for change in changes if change in verdict.failures), None)
        if failure is None:
            return Ending(already=all(change in verdict.already for change in changes))
        is_missing = failure.number == errno.ENOENT and edit.after is not None
        lost = f"the firewall {self.described} is not whole (flushed?); `repair` makes it again"
        return Ending(fault=lost if is_missing else str(failure), number=failure.number)


def skeleton_text(table: str) -> str:
    """Read `ruleset.nft` for a table's name."""
    return _ruleset().replace("%TABLE%", table)


@functools.cache
def _ruleset() -> str:
    return Path(__file__).with_name("ruleset.nft").read_text(encoding="utf-8")


def _changes(edit: Edit) -> list[Change]:
    before = set(elements_of(edit.before)) if edit.before is not None else set()
    after = set(elements_of(edit.after)) if edit.after is not None else set()
    return [*_each(before - after, is_deletion=True), *_each(after - before, is_deletion=False)]


def _each(elements: Iterable[Element], *, is_deletion: bool) -> list[Change]:
    return [Change(element, is_deletion) for element in elements]
