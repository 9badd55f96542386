"""The iptables backend: rules in chains of this instance in the legacy tables, through python-iptables.

Keeps: rules of others are never changed or reordered; what was changed has been read back; what differs is changed, and
nothing is flushed. Must not know: plans; what python-iptables does, which is `xtables`'s business.

python-iptables serves one family a process, so there is a worker process for each, started in the namespace of the
thread that first needs it. A batch is one commit for each table that it is about.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ....domain.objects import ForwardPolicy, GatewayMode, LoopbackAccess, Masquerade, OpenPort, PortForward
from ...contract import Instance
from ..marks import Marks
from .backend import Edit, Ending, FirewallObject, Found
from .rules import FAMILIES, TABLES, Names, Rule, reached6, rules_of, skeleton, things_of

WORKER = Path(__file__).with_name("xtables.py")
REMEDY = "install it with netledger's extra `iptables` (pip install 'netledger[iptables]'; it takes a C compiler)"
CLOSING_SECONDS = 5.0

SAMPLES: list[FirewallObject] = [
    ForwardPolicy("br0", icc=True, internal=True, mode4=GatewayMode.ROUTED),
    Masquerade("br0", 4),
    Masquerade("br1", 4, b"\x0a\0\0\1"),
    LoopbackAccess("br0", 4),
    PortForward(6, bytes(4), 1, b"\x0a\0\0\2", 1),
    OpenPort(17, b"\x0a\0\0\2", 1),
]
"""One of each kind, for trying out what the kernel has."""

Place = tuple[int, str, str]
"""Of a chain: family, table, name."""


class IptablesFirewall:
    """The chains of one instance; see `backend.FirewallBackend`."""

    name: ClassVar[str] = "iptables"
    needs: ClassVar[str] = (
        "it takes the legacy tables filter, nat and raw with conntrack, addrtype, comment, DNAT and MASQUERADE "
        "(modprobe iptable_nat ip6table_nat iptable_raw ip6table_raw)"
    )

    def __init__(self, marks: Marks) -> None:
        self._names = Names(marks.instance)
        self._workers: dict[int, _Worker] = {}
        self._digests: dict[Rule, str] = {}

    @property
    def described(self) -> str:
        """Name our chains."""
        return f"chains {self._names.prefix}"

    def check(self, thing: FirewallObject) -> None:
        """Lower an object, to find out whether its values can be said."""
        rules_of(self._names, thing)

    def try_out(self) -> None:
        """Load the chains; for a throw-away namespace."""
        firewall = IptablesFirewall(Marks(Instance(self._names.instance)))
        try:
            firewall.load(SAMPLES)
            if not _is_as_loaded(firewall.observe()):
                raise OSError(errno.EIO, "iptables' rules do not read back as they were written")
        finally:
            firewall.close()

    def observe(self) -> Found:
        """Read our chains; they are whole if there is nothing in them but what the objects in them call for."""
        there = self._read()
        objects = things_of(self._names, (comment for rules in there.values() for comment, _ in rules))
        gate = reached6(self._names)
        own = there.get((gate.family, gate.table, gate.chain), ())
        reaches_loopback6 = any(comment == gate.comment for comment, _ in own)
        wanted = self._all_rules(objects, reaches_loopback6=reaches_loopback6)
        is_whole = all(
            sorted(there.get(place, [])) == sorted((rule.comment, digest) for rule, digest in rules)
            and (place in there or not _is_chain_of_ours(self._names, place))
            for place, rules in self._with_digests(wanted).items()
        )
        is_whole = is_whole and there.keys() <= wanted.keys() and _is_in_order(there)
        standing = [thing for thing in objects if is_whole or self._is_there(thing, there)]
        return Found(is_whole, standing, reaches_loopback6)

    def load(self, objects: Sequence[FirewallObject], *, reaches_loopback6: bool = False) -> None:
        """Bring our chains to exactly these objects: what is so already stays, uninterrupted."""
        wanted = self._all_rules(objects, reaches_loopback6=reaches_loopback6)
        for family in self._families():
            goals = []
            for table in TABLES:
                rules = {
                    chain: {"wanted": [_asked(rule) for rule in rules], "unwanted": []}
                    for (of, name, chain), rules in wanted.items()
                    if (of, name) == (family, table)
                }
                goals.append(_goal(table, self._names.chains(table), rules, exact=True))
            self._worker(family).ask(do="change", goals=goals)

    def change(self, edits: Sequence[Edit]) -> list[Ending]:
        """Add and delete rules: one commit for each table that they are about."""
        families = self._families()
        sides = [
            (_rules(self._names, edit.before, families), _rules(self._names, edit.after, families)) for edit in edits
        ]
        missing, changed = self._carry_out(sides)
        return [self._ending(before, after, missing, changed) for before, after in sides]

    def reach_loopback6(self, *, is_wanted: bool) -> bool:
        """Add or delete the one rule that leads what goes to ::1 to published ports."""
        if 6 not in self._families():
            return False
        gate = [reached6(self._names)]
        _, changed = self._carry_out([([], gate) if is_wanted else (gate, [])])
        return bool(changed)

    def remove(self) -> bool:
        """Take our rules and chains away; the user's chain stays."""
        was_there = False
        for family in self._families():
            goals = [_goal(table, [], {}, exact=True) for table in TABLES]
            read = self._worker(family).ask(do="read", tables=TABLES)["tables"]
            was_there = was_there or any(read.values())
            self._worker(family).ask(do="change", goals=goals)
        return was_there

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _carry_out(self, sides: Iterable[tuple[list[Rule], list[Rule]]]) -> tuple[set[Place], set[tuple[int, str]]]:
        """Change what differs between the sides; return the chains that are missing, and the rules that changed."""
        goals: dict[tuple[int, str], dict[str, Any]] = {}
        for before, after in sides:
            stays = set(after)
            for rule in after:
                _of_goal(goals, rule)["wanted"].append(_asked(rule))
            for rule in before:
                if rule not in stays:
                    _of_goal(goals, rule)["unwanted"].append(rule.subject)
        missing: set[Place] = set()
        changed: set[tuple[int, str]] = set()
        for family in FAMILIES:
            own = {table: rules for (of, table), rules in goals.items() if of == family}
            is_adding = any(chain["wanted"] for rules in own.values() for chain in rules.values())
            tables = TABLES if is_adding else own  # rules that nothing leads to are of no use, in whichever table
            anchors = {table: self._anchors(family, table) if is_adding else () for table in tables}
            asked = [_goal(table, [], own.get(table, {}), exact=False, anchors=anchors[table]) for table in tables]
            if asked:
                answers = self._worker(family).ask(do="change", goals=asked)["done"]
                for goal, done in zip(asked, answers, strict=True):
                    missing |= {(family, goal["table"], chain) for chain in done["missing"]}
                    changed |= {(family, comment) for comment in done["changed"]}
                if any(done["is_cut_off"] for done in answers):
                    missing |= {(family, table, chain) for table, rules in own.items() for chain in rules}
        return missing, changed

    def _anchors(self, family: int, table: str) -> list[tuple[str, str]]:
        """List the rules in built-in chains, by chain and comment, that lead to ours."""
        rules = (rule for rule in skeleton(self._names, family) if rule.table == table)
        return [(rule.chain, rule.comment) for rule in rules if not rule.chain.startswith(self._names.prefix)]

    def _ending(
        self, before: list[Rule], after: list[Rule], missing: set[Place], changed: set[tuple[int, str]]
    ) -> Ending:
        lost = next((rule for rule in after if (rule.family, rule.table, rule.chain) in missing), None)
        if lost is not None:
            text = f"the firewall's chain {lost.chain} is not there, or cut off (flushed?); `repair` makes it again"
            return Ending(fault=text, number=errno.ENOENT)
        return Ending(already=not any((rule.family, rule.comment) in changed for rule in (*before, *after)))

    def _read(self) -> dict[Place, list[tuple[str, str]]]:
        found: dict[Place, list[tuple[str, str]]] = {}
        for family in self._families():
            for table, chains in self._worker(family).ask(do="read", tables=TABLES)["tables"].items():
                for chain, rules in chains.items():
                    found[family, table, chain] = [(comment, digest) for comment, digest in rules]
        return found

    def _is_there(self, thing: FirewallObject, there: dict[Place, list[tuple[str, str]]]) -> bool:
        """Whether every rule of an object is there as it should be."""
        wanted = self._with_digests(_by_place(_rules(self._names, thing, self._families())))
        return all(
            (rule.comment, digest) in there.get(place, ()) for place, rules in wanted.items() for rule, digest in rules
        )

    def _all_rules(self, objects: Iterable[FirewallObject], *, reaches_loopback6: bool) -> dict[Place, list[Rule]]:
        families = self._families()
        rules = [rule for family in families for rule in skeleton(self._names, family)]
        rules += [reached6(self._names)] if reaches_loopback6 and 6 in families else []
        rules += [rule for thing in objects for rule in _rules(self._names, thing, families)]
        wanted = _by_place(rules)
        for family in families:
            for table in TABLES:
                for chain in self._names.chains(table):
                    if chain.startswith(self._names.prefix):
                        wanted.setdefault((family, table, chain), [])
        return wanted

    def _with_digests(self, wanted: dict[Place, list[Rule]]) -> dict[Place, list[tuple[Rule, str]]]:
        known = self._digests
        unknown = {rule for rules in wanted.values() for rule in rules} - known.keys()
        for family in FAMILIES:
            asked = [rule for rule in unknown if rule.family == family]
            if asked:
                specifications = [rule.specification for rule in asked]
                digests = self._worker(family).ask(do="build", rules=specifications)["digests"]
                known.update((rule, digest) for rule, digest in zip(asked, digests, strict=True) if digest)
        return {place: [(rule, known.get(rule, "")) for rule in rules] for place, rules in wanted.items()}

    def _families(self) -> tuple[int, ...]:
        """Which families this kernel has."""
        return FAMILIES if Path("/proc/thread-self/net/if_inet6").exists() else (4,)

    def _worker(self, family: int) -> _Worker:
        for each in self._families():  # both at once: it takes python-iptables a tenth of a second to load
            if each not in self._workers or self._workers[each].has_ended:
                self._workers[each] = _Worker(each, self._names)
        return self._workers[family]


class _Worker:
    """A process that serves one family, in the namespace of the thread that starts it."""

    def __init__(self, family: int, names: Names) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, with words of our own
                [sys.executable, "-P", str(WORKER), str(family), names.prefix, names.mark],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._channel = ours
        self._stream = ours.makefile("rwb")

    @property
    def has_ended(self) -> bool:
        """Whether it is there no more: somebody killed it."""
        return self._process.poll() is not None

    def ask(self, **request: object) -> dict[str, Any]:
        """Ask for something and wait for the answer; OSError for what it could not do."""
        line = b""
        try:
            self._stream.write(json.dumps(request).encode() + b"\n")
            self._stream.flush()
            line = self._stream.readline()
        except OSError:
            line = self._stream.readline()  # what it said before it ended
        if not line:
            self.close()
            raise OSError(errno.EAGAIN, f"the process that works on iptables ended ({self._process.returncode})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            if answer["errno"] is None:
                self.close()
                raise OSError(f"{answer['error']}; {REMEDY}")
            raise OSError(answer["errno"], answer["error"])
        return answer

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self._stream.close()
        self._channel.close()
        try:
            self._process.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _is_as_loaded(found: Found) -> bool:
    return found.is_whole and set(found.objects) == set(SAMPLES)


def _rules(names: Names, thing: FirewallObject | None, families: Iterable[int]) -> list[Rule]:
    return [rule for rule in rules_of(names, thing) if rule.family in families] if thing is not None else []


def _by_place(rules: Iterable[Rule]) -> dict[Place, list[Rule]]:
    found: dict[Place, list[Rule]] = {}
    for rule in rules:
        found.setdefault((rule.family, rule.table, rule.chain), []).append(rule)
    return found


def _is_chain_of_ours(names: Names, place: Place) -> bool:
    return place[2].startswith(names.prefix)


def _is_in_order(there: dict[Place, list[tuple[str, str]]]) -> bool:
    """Whether in each chain no rule comes after one that ranks higher."""
    ranks = [[int(comment.split(" ", 2)[1]) for comment, _ in rules if comment] for rules in there.values()]
    return all(chain == sorted(chain) for chain in ranks)


def _of_goal(goals: dict[tuple[int, str], dict[str, Any]], rule: Rule) -> dict[str, list[Any]]:
    chains = goals.setdefault((rule.family, rule.table), {})
    found: dict[str, list[Any]] = chains.setdefault(rule.chain, {"wanted": [], "unwanted": []})
    return found


def _goal(
    table: str, chains: list[str], rules: dict[str, Any], *, exact: bool, anchors: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    return {"table": table, "chains": chains, "rules": rules, "exact": exact, "anchors": anchors}


def _asked(rule: Rule) -> tuple[str, int, tuple[object, ...]]:
    return rule.comment, rule.rank, rule.specification
