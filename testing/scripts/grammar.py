r"""The form of a script: blocks of command lines, `----`, and the outcome that is expected; a blank line ends a block.

    # a comment
    network create shop --subnet 10.1.0.0/24
    ----
    PoolAllocated 10.1.0.0/24 for shop
    ...

A block without `----` sets something up: nothing in it may be refused or fail. The outcome `...` alone is any outcome.
A line is split into words as a shell does it; a word that begins with `$` is written with Python's escapes (`$\n`).
Keeps: what is read remembers its file and lines. Knows nothing of: what any command does.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from msgspec import Struct

SEPARATOR = "----"
ANYTHING = ("...",)
INLINE = "script"
"""How a script is called that is in no file."""
LINES_LIMIT = 100_000
"""Of one script."""

USAGE = """\
network create NAME [--driver DRIVER] [--subnet CIDR]... [--gateway ADDRESS]... [--no-ipv4] [--ipv6] [--internal] \
[--config-only] [--config-from NAME] [--ip-range CIDR]... [--aux-address NAME=ADDRESS]... [--address-space SPACE] \
[--allocation|--policy POLICY]... [--rest SECONDS]... [--grace SECONDS]... [--ipam-driver DRIVER] \
[--ipam-opt KEY=VALUE]... [--opt|-o KEY=VALUE]... [--label KEY=VALUE]... [--id ID]
network rm NETWORK... [--force|-f]
endpoint create NETWORK NAME [--ip ADDRESS]... [--mac MAC] [--publish|-p PORT]... [--alias ALIAS]... \
[--opt|-o KEY=VALUE]... [--sysctl SETTING]... [--link-local ADDRESS]... [--label KEY=VALUE]... [--id ID]
endpoint rm ENDPOINT... [--force|-f]
endpoint join ENDPOINT SANDBOX [--priority|--gw-priority NUMBER] [--interface NAME] [--route ROUTE]...
endpoint leave ENDPOINT
endpoint alias add ENDPOINT ALIAS
endpoint alias rm ENDPOINT ALIAS
sandbox create CONTAINER [--kind KIND] [--path PATH] [--identity BOOT/COOKIE] [--hostname NAME] [--domainname NAME] \
[--files] [--add-host NAME:ADDRESS]... [--dns ADDRESS]... [--dns-search DOMAIN]... [--dns-option OPTION]... \
[--hosts-path PATH] [--resolv-conf-path PATH] [--label KEY=VALUE]... [--id ID]
sandbox setkey SANDBOX PATH [--identity BOOT/COOKIE]
sandbox rename SANDBOX CONTAINER
sandbox rm SANDBOX... [--force|-f]
ipam reserve NETWORK NAME ADDRESS
ipam unreserve NETWORK ADDRESS
ipam configure [--pool BASE,SIZE]... [--docker-pools] [--retention SECONDS]
ipam gc [--retention SECONDS]
firewall use FIREWALL [--force]
sandbox lose SANDBOX EVIDENCE
ipam expire
ipam pool request LEASE [--subnet CIDR] [--ipv6] [--ip-range CIDR] [--address-space SPACE] \
[--allocation|--policy POLICY] [--rest SECONDS] [--grace SECONDS]
ipam pool release POOL [--lease LEASE]
ipam address request POOL LEASE [ADDRESS]
ipam address release POOL ADDRESS [--lease LEASE]
command JSON
batch
crash
reach SOURCE DESTINATION [WHAT] [--family NUMBER] [--trace]
matrix [--alike]
show networks|endpoints|sandboxes|addresses|ports
objects
drift
repair
rebuild
check
restart
reboot
fail KEY ERRNO [--times NUMBER]
kernel remove KEY
kernel clear
kernel add INTERFACE [--bridge] [--address CIDR]...
kernel unplug INTERFACE
kernel listen PORT
netns add PATH [IDENTITY]
netns rm PATH
"""
"""Every command: its words, what follows them, and its options. The first seventeen are the command line's own."""


class ScriptError(Exception):
    """Say that a text is no script: where, and what is known."""

    def __init__(self, source: str, number: int, message: str) -> None:
        self.source = source
        self.number = number
        super().__init__(f"{source}:{number}: {message}")


class Option(Struct, frozen=True):
    """An option of a command: the name that it goes by, and whether a value follows it, or several may."""

    name: str
    takes_value: bool
    is_repeated: bool


class Form(Struct, frozen=True):
    """How a command is written: its words, how many others follow (`most` None: any number), and its options."""

    words: tuple[str, ...]
    usage: str
    least: int
    most: int | None
    options: Mapping[str, Option]
    choices: tuple[str, ...] = ()
    """What alone may stand in the first place; empty: anything."""


class Line(Struct, frozen=True):
    """A command line as it was read: `verb` its words, `places` what follows them, `options` by name."""

    source: str
    number: int
    text: str
    verb: str
    places: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]

    def all(self, option: str) -> tuple[str, ...]:
        """Every value of an option."""
        return self.options.get(option, ())

    def one(self, option: str, default: str = "") -> str:
        """Give the value of an option."""
        return self.options.get(option, (default,))[0]

    def has(self, option: str) -> bool:
        """Whether an option is there."""
        return option in self.options


class Block(Struct, frozen=True):
    """Lines that are carried out one after the other, and what is to come of them (None: nothing was said)."""

    lines: tuple[Line, ...]
    expected: tuple[str, ...] | None
    first: int
    """The index of the first line of the outcome in the source."""
    end: int
    """The index after its last."""


class Program(Struct, frozen=True):
    """A script as it was read, and the lines that it was read from."""

    source: str
    text: tuple[str, ...]
    blocks: tuple[Block, ...]


def parse(text: str, source: str = INLINE) -> Program:
    """Read a script; raise `ScriptError` at the first line that is no command. `source` names it in messages."""
    lines = tuple(text.split("\n"))
    if len(lines) > LINES_LIMIT:
        raise ScriptError(source, LINES_LIMIT, f"a script has {LINES_LIMIT} lines at most")
    return Program(source, lines, tuple(_blocks(source, [line.rstrip() for line in lines])))


def _blocks(source: str, lines: Sequence[str]) -> Iterator[Block]:
    index = 0
    while index < len(lines):
        commands: list[Line] = []
        while index < len(lines) and lines[index] not in ("", SEPARATOR):
            if not lines[index].startswith("#"):
                commands.append(read(lines[index], source, index + 1))
            index += 1
        if index == len(lines) or not lines[index]:
            if commands:
                yield Block(tuple(commands), None, index, index)
            index += 1
            continue
        if not commands:
            raise ScriptError(source, index + 1, f"there is no command above this {SEPARATOR}")
        first = index = index + 1
        while index < len(lines) and lines[index]:
            index += 1
        yield Block(tuple(commands), tuple(lines[first:index]), first, index)


def read(text: str, source: str = INLINE, number: int = 1) -> Line:
    """Read one command line."""
    try:
        words = [_unescaped(word) for word in shlex.split(text)]
    except ValueError as error:
        raise ScriptError(source, number, f"{text}: {error}") from None
    form = _form_of(words, source, number)
    places: list[str] = []
    options: dict[str, tuple[str, ...]] = {}
    rest = iter(words[len(form.words) :])
    for word in rest:
        if not word.startswith("-") or word == "-":
            places.append(word)
            continue
        name, equals, given = word.partition("=") if word.startswith("--") else (word, "", "")
        option = form.options.get(name)
        if option is None:
            raise ScriptError(source, number, f"there is no option {name}: {form.usage}")
        value = given if equals or not option.takes_value else next(rest, None)
        if value is None or (equals and not option.takes_value):
            raise ScriptError(source, number, f"{name} takes {'a' if option.takes_value else 'no'} value: {form.usage}")
        if option.name in options and not option.is_repeated:
            raise ScriptError(source, number, f"{name} is given twice: {form.usage}")
        options[option.name] = (*options.get(option.name, ()), value)
    if len(places) < form.least or (form.most is not None and len(places) > form.most):
        raise ScriptError(source, number, f"too {'few' if len(places) < form.least else 'many'} words: {form.usage}")
    if form.choices and places[0] not in form.choices:
        raise ScriptError(source, number, f"unknown: {places[0]}; {form.usage}")
    return Line(source, number, text, " ".join(form.words), tuple(places), options)


def quote(word: str) -> str:
    """Write a word so that `read` has it again."""
    if word.isprintable() and not word.startswith("$"):
        return shlex.quote(word)
    return shlex.quote("$" + word.encode("unicode_escape").decode("ascii"))


def usage() -> str:
    """Say how every command is written."""
    return USAGE


def _unescaped(word: str) -> str:
    if not word.startswith("$"):
        return word
    return word[1:].encode("ascii", "backslashreplace").decode("unicode_escape")


def _form_of(words: Sequence[str], source: str, number: int) -> Form:
    forms = _forms()
    for length in (3, 2, 1):
        form = forms.get(tuple(words[:length]))
        if form is not None and len(form.words) == length:
            return form
    known = [" ".join(form) for form in forms]
    beginning = [name for name in known if words and name.split()[0] == words[0]]
    near = beginning or difflib.get_close_matches(" ".join(words[:2]), known, n=3) or known
    raise ScriptError(source, number, f"there is no command {' '.join(words[:2])!r}; known: {', '.join(near)}")


@cache
def _forms() -> Mapping[tuple[str, ...], Form]:
    forms = map(_read_usage, USAGE.splitlines())
    return {form.words: form for form in forms}


_ELEMENT = re.compile(
    r"\[(?P<option>--[a-z0-9-]+)(\|(?P<short>-[a-z-]+))?(?P<value> [A-Z/=:,]+)?\](?P<repeated>\.\.\.)?"
    r"|(?P<choices>[a-z]+(\|[a-z]+)+)|(?P<word>[a-z]+)"
    r"|\[(?P<maybe>[A-Z]+)\]|(?P<place>[A-Z]+)(?P<several>\.\.\.)?"
)


def _read_usage(text: str) -> Form:
    """Read a line of `USAGE`."""
    words: list[str] = []
    options: dict[str, Option] = {}
    choices: tuple[str, ...] = ()
    least, most = 0, 0
    is_endless = False
    for found in _ELEMENT.finditer(text):
        if found["option"]:
            option = Option(found["option"], bool(found["value"]), bool(found["repeated"]))
            options |= {name: option for name in (found["option"], found["short"]) if name}
        elif found["word"]:
            words.append(found["word"])
        else:
            least += not found["maybe"]
            most += 1
            is_endless = is_endless or bool(found["several"])
            if found["choices"]:
                choices = tuple(found["choices"].split("|"))
    return Form(tuple(words), text, least, None if is_endless else most, options, choices)
