"""A process that reads and changes one address family's legacy iptables tables for its parent: `xtables.py 4|6`.

python-iptables cannot serve both families in one process, caches tables with the snapshot that they were read with, and
loses changes without a word when somebody else was faster. Keeps: each change is read back until it is there; the lock
of iptables(8) is held from reading to reading back; only rules that bear the mark, and chains with the prefix, are ever
touched. Must not know: what the rules are for.

This file is run by its path and imports nothing of ours. Requests and answers are JSON, a line each, on standard input,
which is a socket. Source of the layouts: linux/netfilter_ipv4/ip_tables.h, linux/netfilter/x_tables.h.
"""

from __future__ import annotations

import bisect
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import socket
import struct
import sys
import time
from typing import Any, TypeAlias

Theirs: TypeAlias = Any
"""Something of python-iptables, which has no types."""
Specification: TypeAlias = "list[Any]"
"""Of a rule: header fields, matches with their options, target with its options, and whether it goes there."""
Goal: TypeAlias = "dict[str, Any]"

TRIES = 20
"""Of a change that others are in the way of, or that is not there when it is read back."""
LOCK_FILE = "/run/xtables.lock"
LOCK_SECONDS = 10.0
LOCK_PAUSE_SECONDS = 0.01

_EXTENSION = struct.Struct("=H29sB")
"""What matches and targets begin with: size, name, revision."""
COMMENT = b"comment"
LAYOUTS = {4: (84, 112), 6: (136, 168)}
"""Of a rule, by family: where its header fields end, and where its matches begin, after offsets and counters."""
EXTENSIONS = frozenset({"DNAT", "SNAT", "MASQUERADE"})
"""Targets with data of their own; all others are verdicts and chains."""


class Refused(Exception):
    """What could not be done: an errno and why."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(number, text)
        self.number, self.text = number, text


class Rule:
    """A rule as libiptc holds it: its comment if it bears the mark, and everything but its counters.

    `verdict` is a chain or a verdict; empty where the target is an extension, with data of its own.
    """

    def __init__(self, raw: bytes, verdict: bytes, family: int, mark: bytes) -> None:
        self._raw, self._verdict = raw, verdict
        self._fields, self._header = LAYOUTS[family]
        begin = self._header + _EXTENSION.size
        is_commented = raw[self._header + 2 : self._header + 10] == COMMENT + b"\0"
        text = raw[begin : raw.find(b"\0", begin)] if is_commented else b""
        self.comment = text.decode(errors="replace") if text.startswith(mark) else ""

    @property
    def digest(self) -> str:
        """Hash what the rule matches and does; what follows the end of a name in its field is chance."""
        target, end = target_of(self._raw, self._fields)
        parts = [self._raw[: self._fields]]
        offset = self._header
        while offset < target:
            offset = self._take(offset, parts)
        if self._verdict:  # what is in the entry is libiptc's own
            parts.append(b"-> " + self._verdict)
        else:
            assert self._take(target, parts) == end, "a rule ends with its target"
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]

    def _take(self, offset: int, parts: list[bytes]) -> int:
        """Take in one match or target; return where the next one begins."""
        size, name, revision = _EXTENSION.unpack_from(self._raw, offset)
        assert size >= _EXTENSION.size, "an extension has a head"
        parts.append(b"%s %d " % (name.partition(b"\0")[0], revision))
        parts.append(self._raw[offset + _EXTENSION.size : offset + size])
        return offset + int(size)


def target_of(raw: bytes, fields: int) -> tuple[int, int]:
    """Say where a rule's target begins and ends."""
    begin, end = struct.unpack_from("=HH", raw, fields + 4)
    return begin, end


class Xtables:
    """The tables of one family; `prefix` is what our chains' names begin with, `mark` our rules' comments."""

    def __init__(self, family: int, prefix: str, mark: str) -> None:
        import iptc

        self.iptc = iptc
        self._family = family
        self.prefix, self._mark = prefix, mark.encode()
        self._tables: dict[str, Any] = {}
        self._built: dict[str, tuple[Any, str]] = {}
        self._patterns: dict[tuple[str, ...], bytearray | None] = {}
        kind = iptc.Rule if family == 4 else iptc.Rule6
        # The library would read every table there is to find out whether a target is a chain.
        self._rule = type("Rule", (kind,), {"tables": property(lambda _: list(self._tables.values()))})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        operation = request.pop("do")
        with _Lock():
            if operation == "read":
                return {"tables": {name: self._read(self._fresh(name)) for name in request["tables"]}}
            if operation == "change":
                return {"done": [self._converge(goal) for goal in request["goals"]]}
        if operation == "build":
            return {"digests": [self.digest_of(spec) for spec in request["rules"]]}
        raise Refused(errno.EINVAL, f"no request is called {operation!r}")

    def _read(self, table: Theirs) -> dict[str, list[tuple[str, str]]]:
        """List our chains, and in the built-in ones our rules: comment and digest of each."""
        found: dict[str, list[tuple[str, str]]] = {}
        for chain in self.chains(table):
            rules = self.rules(table, chain)
            if not chain.startswith(self.prefix):
                rules = [rule for rule in rules if rule.comment]
            if rules or chain.startswith(self.prefix):
                found[chain] = [(rule.comment, rule.digest) for rule in rules]
        return found

    def _converge(self, goal: Goal) -> dict[str, Any]:
        """Bring one table to a goal: plan, commit, and read back until there is nothing left to plan."""
        done: set[str] = set()
        for attempt in range(TRIES):
            table = self._fresh(goal["table"])
            plan = _Plan(self, table, goal)
            if plan.missing or plan.is_cut_off or not plan.steps:
                return {"missing": plan.missing, "is_cut_off": plan.is_cut_off, "changed": sorted(done)}
            try:
                for step in plan.steps:
                    step()
                self.commit(table)
            except self.iptc.IPTCError as error:
                number = _number_of(str(error))
                if number not in {errno.EAGAIN, errno.EBUSY} or attempt == TRIES - 1:
                    raise Refused(number, f"table {goal['table']} of IPv{self._family}: {error}") from error
            done |= plan.comments
        raise Refused(errno.EAGAIN, f"others changed table {goal['table']} of IPv{self._family} {TRIES} times in a row")

    def commit(self, table: Theirs) -> None:
        """Put a table in place of what is in the kernel."""
        table.commit()

    def _fresh(self, name: str) -> Theirs:
        """Read a table as it is now; what an earlier attempt left uncommitted is forgotten."""
        table = self._tables.get(name)
        try:
            if table is None:
                kind = self.iptc.Table if self._family == 4 else self.iptc.Table6
                table = self._tables[name] = kind(name, autocommit=False)
            else:
                table.refresh()
        except self.iptc.IPTCError as error:
            text = str(error)
            raise Refused(_number_of(text), f"table {name} of IPv{self._family}: {text}") from error
        return table

    def chains(self, table: Theirs) -> list[str]:
        """List the names of a table's chains."""
        return [chain.name for chain in table.chains]

    def rules(self, table: Theirs, chain: str) -> list[Rule]:
        """List a chain's rules, in order."""
        found: list[Rule] = []
        entry = table.first_rule(chain)
        while entry:
            raw = ctypes.string_at(ctypes.addressof(entry), entry.next_offset)
            is_verdict = raw[entry.target_offset + 2] == 0  # its name is empty
            verdict = table.get_target(entry) or b"" if is_verdict else b""
            found.append(Rule(raw, verdict, self._family, self._mark))
            entry = table.next_rule(entry)
        return found

    def digest_of(self, spec: Specification) -> str:
        """Say what a rule would be; empty for one that cannot be there, as when it leads to a chain that is not."""
        try:
            return self.build(spec)[1]
        except Refused:
            return ""

    def build(self, spec: Specification) -> tuple[Theirs, str]:
        """Build a rule, and say its digest. It is kept: it is asked for again when it is compared."""
        known = json.dumps(spec)
        if known not in self._built:
            raw = self._copy(spec) or self._make(spec)
            verdict = b"" if spec[2] in EXTENSIONS else spec[2].encode()
            packed = (ctypes.c_ubyte * len(raw)).from_buffer(raw)
            self._built[known] = packed, Rule(bytes(raw), verdict, self._family, self._mark).digest
        return self._built[known]

    def _make(self, spec: Specification) -> bytearray:
        """Have python-iptables make a rule: half a millisecond."""
        fields, matches, target, options, is_goto = spec
        try:
            rule = self._rule()
            for name, value in fields:
                setattr(rule, name, value)
            for name, parameters in matches:
                _set(rule.create_match(name), parameters)
            _set(rule.create_target(target, goto=is_goto), options)
            rule.final_check()  # it fills in what was left out
            return bytearray(rule.rule)
        except (self.iptc.IPTCError, self.iptc.errors.XTablesError, ValueError, AttributeError) as error:
            raise Refused(errno.EINVAL, f"{json.dumps(spec)}: {error}") from error

    def _copy(self, spec: Specification) -> bytearray | None:
        """Copy the rule of a published port from one that was made before; None where that is not to be trusted.

        It is when a second one, made, has the same digest as its copy of the first.
        """
        shape = _shape(spec)
        if shape is None:
            return None
        if shape not in self._patterns:
            first, other = self._make(spec), _another(spec, self._family)
            made = Rule(bytes(self._make(other)), b"", self._family, self._mark)
            copied = Rule(bytes(_fill(first, other, self._family)), b"", self._family, self._mark)
            self._patterns[shape] = first if copied.digest == made.digest else None
        pattern = self._patterns[shape]
        return _fill(pattern, spec, self._family) if pattern is not None else None


def _shape(spec: Specification) -> tuple[str, ...] | None:
    """Say what rules of published ports have in common: None for other rules."""
    fields, matches, target, _, _ = spec
    names = tuple(name for name, _ in matches)
    if target not in {"DNAT", "MASQUERADE"} or names[:1] != ("comment",) or names[1:] not in {("tcp",), ("udp",)}:
        return None
    return (target, *names, *(name for name, _ in fields))


def _another(spec: Specification, family: int) -> Specification:
    """Make up a rule of the same shape with every value another one."""
    fields, matches, target, options, is_goto = spec
    address = "203.0.113.7" if family == 4 else "2001:db8::7"
    alone = f"{address}/{32 if family == 4 else 128}"
    fields = [(name, alone if name in {"src", "dst"} else value) for name, value in fields]
    matches = [("comment", [("comment", "another")]), (matches[1][0], [("dport", "4660")])]
    destination = f"{address}:22136" if family == 4 else f"[{address}]:22136"
    return [fields, matches, target, [("to_destination", destination)] if options else [], is_goto]


def _fill(pattern: bytearray, spec: Specification, family: int) -> bytearray:
    """Copy a published port's rule, and write another port's values into it."""
    raw = bytearray(pattern)
    fields, matches, _, options, _ = spec
    kind, width = (socket.AF_INET, 4) if family == 4 else (socket.AF_INET6, 16)
    for name, value in fields:
        if name in {"src", "dst"}:
            begin = 0 if name == "src" else width
            raw[begin : begin + width] = socket.inet_pton(kind, value.partition("/")[0])
    comment = LAYOUTS[family][1]
    raw[comment + 32 : comment + 32 + 256] = matches[0][1][0][1].encode().ljust(256, b"\0")
    ports = comment + struct.unpack_from("=H", raw, comment)[0] + 32 + 4  # after the source ports
    struct.pack_into("=HH", raw, ports, *(2 * (int(matches[1][1][0][1]),)))
    if not options:
        return raw
    address, _, port = options[0][1].rpartition(":")
    packed = socket.inet_pton(kind, address.strip("[]")).ljust(16, b"\0")
    range_of = target_of(bytes(raw), LAYOUTS[family][0])[0] + 32 + 4  # after the flags: struct nf_nat_range
    raw[range_of : range_of + 32] = packed * 2
    struct.pack_into("!HH", raw, range_of + 32, int(port), int(port))
    return raw


class _Plan:
    """What brings a table, as it is now, to a goal.

    A goal names chains to have (`chains`), and for each chain in `rules` the rules that are `wanted`, each with its
    comment, rank and specification, and the subjects that are `unwanted`: every rule that is about one of these, or
    about the subject of a wanted rule, and is not wanted itself, goes. With `exact`, what else is in our chains, and
    what else in the built-in ones bears our mark, goes too, as do our other chains.

    `anchors` are rules, by chain and comment, that have to be there; without them ours are cut off, and left alone.
    """

    def __init__(self, xtables: Xtables, table: Theirs, goal: Goal) -> None:
        self.xtables, self._table, self._exact = xtables, table, goal["exact"]
        self.steps: list[Any] = []
        self.comments: set[str] = set()
        there = set(xtables.chains(table))
        self.missing = [] if self._exact else [name for name in goal["rules"] if name not in there]
        self.is_cut_off = any(
            comment not in {rule.comment for rule in xtables.rules(table, chain)}
            for chain, comment in goal.get("anchors", ())
        )
        if self.missing or self.is_cut_off:
            return
        for name in goal["chains"]:
            if name not in there:
                self.steps.append(lambda name=name: table.create_chain(name))
        chains = dict(goal["rules"])
        surplus = [name for name in there if name.startswith(xtables.prefix) and name not in goal["chains"]]
        if self._exact:
            for name in there - chains.keys():
                chains[name] = {"wanted": [], "unwanted": []}
        for name, rules in chains.items():
            self._plan_chain(name, rules, is_new=name not in there)
        if self._exact:
            for name in surplus:
                self.steps.append(lambda name=name: table.delete_chain(name))

    def _plan_chain(self, name: str, goal: Goal, *, is_new: bool) -> None:
        ours = name.startswith(self.xtables.prefix)
        rules = [] if is_new else self.xtables.rules(self._table, name)
        wanted = {comment: (rank, spec) for comment, rank, spec in goal["wanted"]}
        unwanted = {*goal["unwanted"], *map(_subject, wanted)}
        kept: list[int] = []
        seen: set[str] = set()
        least = sys.maxsize
        for index in range(len(rules) - 1, -1, -1):  # from behind, so that deleting changes no index
            comment = rules[index].comment
            rank = _rank(comment)
            is_foreign = not comment and not (ours and self._exact)
            is_in_place = comment not in seen and not (ours and self._exact and rank > least)
            if comment in wanted and is_in_place and rules[index].digest == self._digest(wanted[comment][1]):
                seen.add(comment)
            elif not is_foreign and (self._exact or _subject(comment) in unwanted):
                self.steps.append(lambda index=index: self._delete(name, index))
                self.comments.add(comment)
                continue
            kept.append(rank)
            least = min(least, rank)
        kept.reverse()
        is_sorted = kept == sorted(kept)
        for comment, (rank, spec) in sorted(wanted.items(), key=lambda item: item[1][0]):
            if comment not in seen:
                place = (
                    _place(kept, rank, is_sorted=is_sorted) if ours else 0
                )  # at the top of a built-in chain, where others rule
                kept.insert(place, rank)
                self.comments.add(comment)
                self.steps.append(lambda place=place, spec=spec: self._insert(name, place, spec))

    def _digest(self, spec: Specification) -> str:
        return self.xtables.digest_of(spec)

    def _insert(self, chain: str, place: int, spec: Specification) -> None:
        self._table.insert_entry(chain, self.xtables.build(spec)[0], place)

    def _delete(self, chain: str, index: int) -> None:
        library = self._table._iptc  # noqa: SLF001 - python-iptables offers deleting by value alone: seconds for thousands
        if not library.iptc_delete_num_entry(chain.encode(), index, self._table._handle):  # noqa: SLF001 - the same
            raise self.xtables.iptc.IPTCError(f"can't delete rule {index} of {chain}: {self._table.strerror()}")


class _Lock:
    """The lock that iptables(8) takes: XTABLES_LOCKFILE, else /run/xtables.lock."""

    def __enter__(self) -> None:
        path = os.environ.get("XTABLES_LOCKFILE", LOCK_FILE)
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refused(error.errno or 0, f"{path}: {error.strerror}; name another with XTABLES_LOCKFILE") from error
        end = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(self._file)
                    text = f"another process holds {path}, the lock of iptables, for {LOCK_SECONDS:.0f} s and more"
                    raise Refused(errno.EAGAIN, text) from None
                time.sleep(LOCK_PAUSE_SECONDS)
            else:
                return

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def _set(extension: Theirs, parameters: list[tuple[str, str]]) -> None:
    for name, value in parameters:
        setattr(extension, name, value)


def _rank(comment: str) -> int:
    """Read the rank of a rule of ours; what is another's has none."""
    words = comment.split(" ", 2)
    return int(words[1]) if len(words) > 2 and words[1].isdecimal() else -1


def _place(ranks: list[int], rank: int, *, is_sorted: bool) -> int:
    """Find where a rule goes: before whatever ranks higher, after its equals."""
    if is_sorted:
        return bisect.bisect_right(ranks, rank)
    return next((index for index, other in enumerate(ranks) if other > rank), len(ranks))


def _subject(comment: str) -> str:
    """Read what a rule is about: what follows mark and rank, up to the `=`."""
    words = comment.split(" ", 2)
    return words[2].partition(" =")[0] if len(words) > 2 else ""


def _number_of(text: str) -> int:
    """Find the errno that libiptc's words stand for."""
    known = {
        "Permission denied": errno.EPERM,
        "Table does not exist": errno.ENOENT,
        "Resource temporarily unavailable": errno.EAGAIN,
        "Invalid argument": errno.EINVAL,
        "Memory allocation": errno.ENOMEM,
        "No chain/target/match": errno.ENOENT,
    }
    return next((number for words, number in known.items() if words in text), errno.EIO)


def serve(channel: socket.socket, xtables: Xtables) -> None:
    """Answer requests until the parent closes the channel."""
    with channel.makefile("rwb") as stream:
        for line in stream:
            try:
                answer = xtables.answer(json.loads(line))
            except Refused as refused:
                answer = {"errno": refused.number, "error": refused.text}
            except Exception as error:  # noqa: BLE001 - the parent has to hear of it, whatever it is
                answer = {"errno": errno.EIO, "error": f"{type(error).__name__}: {error}"}
            stream.write(json.dumps(answer).encode() + b"\n")
            stream.flush()


def main(words: list[str]) -> None:
    """Serve one family on standard input."""
    family, prefix, mark = words
    channel = socket.socket(fileno=os.dup(0))
    try:
        xtables = Xtables(int(family), prefix, mark)
    except Exception as error:  # noqa: BLE001 - a library that is missing, or one that cannot be used
        with channel.makefile("wb") as stream:
            stream.write(json.dumps({"errno": None, "error": f"python-iptables: {error}"}).encode() + b"\n")
        return
    serve(channel, xtables)


if __name__ == "__main__":
    main(sys.argv[1:])
