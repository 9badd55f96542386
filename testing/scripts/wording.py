"""Domain commands as script lines, and script lines as domain commands.

Things go by their names. What is made gets an id that is the hash of its name, with a number where that id is taken,
unless `--id` gives another. A name that nobody has stands for the id that it would have had; `@WORD` is the id made of
a word, whoever has that name.
Keeps: what is written is read back as the same command, in the same state. Knows nothing of: what comes of any of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ...domain.commands import (
    AddAlias,
    Command,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    JoinEndpoint,
    LeaveEndpoint,
    LoseSandbox,
    PoolRequest,
    RemoveAlias,
)
from ...domain.errors import Invalid, NetledgerError
from ...domain.events import OptionValue
from ...domain.facts import NamespaceIdentity
from ...domain.values import (
    AllocationPolicy,
    EndpointId,
    NetworkId,
    SandboxId,
    SandboxKind,
    format_address,
    format_mac,
    parse_address,
    parse_mac,
    parse_port,
)
from ...engine.controller import pool_requests
from ...projections.views import Views
from ..desk import identifier
from .grammar import Line, ScriptError, quote, read

_ID = re.compile(r"[0-9a-f]{64}")
NOBODY = Views()
"""A state in which nothing has a name."""


# --- reading


def commands_of(line: Line, views: Views = NOBODY) -> list[Command]:
    """Read what a line asks for in a state; raise `Invalid` for a value that is none."""
    return list(_READERS[line.verb](line, views))


def is_command(line: Line) -> bool:
    """Whether a line asks for a domain command."""
    return line.verb in _READERS


def find_network(views: Views, text: str) -> NetworkId:
    """Give the id that a network goes by."""
    named = (network for (_, name), network in views.names.networks.items() if name == text)
    return NetworkId(_given(text) or next(named, identifier(text)))


def find_endpoint(views: Views, text: str) -> EndpointId:
    """Give the id that an endpoint goes by: NETWORK/NAME, or a name that one network alone has."""
    if given := _given(text):
        return EndpointId(given)
    network, slash, name = text.rpartition("/")
    if slash:
        found = views.endpoint_named(find_network(views, network), name)
        return found or EndpointId(identifier(text))
    named = [endpoint for (_, known), endpoint in views.names.endpoints.items() if known == text]
    return named[0] if len(named) == 1 else EndpointId(identifier(text))


def find_sandbox(views: Views, text: str) -> SandboxId:
    """Give the id that the sandbox of a container goes by."""
    named = (sandbox for (_, container), sandbox in views.names.containers.items() if container == text)
    return SandboxId(_given(text) or next(named, identifier(text)))


def parse_identity(text: str) -> NamespaceIdentity:
    """Read BOOT/COOKIE."""
    boot, _, cookie = text.rpartition("/")
    if not boot or not cookie.isdecimal():
        raise Invalid(f"namespace identity {text!r}", "not BOOT/COOKIE", "write it like boot/7")
    return NamespaceIdentity(boot, int(cookie))


def _given(text: str) -> str:
    """Give the id that a text is, whatever has which name; nothing where it is a name."""
    if text.startswith("@"):
        return str(identifier(text[1:]))
    return text if _ID.fullmatch(text) else ""


def _new(line: Line, default: str, taken: Container[str]) -> Any:  # noqa: ANN401 - ids of every kind
    """Choose the id of what is made; one that is asked for is taken as it is."""
    asked = line.one("--id")
    return _given(asked) or asked if line.has("--id") else _free_identifier(default, taken)


def _free_identifier(default: str, taken: Container[str]) -> str:
    """Make an id of a word, numbered where its own is taken: that the name is taken, too, is for a rule to say."""
    words = itertools.chain([default], (f"{default} {number}" for number in itertools.count(2)))
    return next(str(identity) for identity in map(identifier, words) if identity not in taken)


def _pairs(line: Line, option: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in line.all(option)]
    for key, equals, value in pairs:
        if not key or not equals:
            raise Invalid(f"{option} {key + value!r}", "not KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _option_value(text: str) -> OptionValue:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"0|[1-9][0-9]*", text) else text


def _number(line: Line, option: str) -> int:
    text = line.one(option, "0")
    if not re.fullmatch(r"-?[0-9]{1,30}", text):
        raise Invalid(f"{option} {text!r}", "not a number")
    return int(text)


def _create_network(line: Line, views: Views) -> Iterator[Command]:
    (name,) = line.places
    policies = line.all("--allocation") or (AllocationPolicy.NEXT,)
    asked = [
        pool_requests(
            line.all("--subnet"),
            line.all("--gateway"),
            ipv4=not line.has("--no-ipv4"),
            ipv6=line.has("--ipv6"),
            allocation=policy,
        )
        for policy in policies
    ]
    if len(asked) not in (1, len(asked[0])):
        raise Invalid(
            f"{len(asked)} allocations", f"there are {len(asked[0])} blocks", "give one for all, or one for each"
        )
    pools = asked[0] if len(asked) == 1 else tuple(requests[index] for index, requests in enumerate(asked))
    options = {key: _option_value(text) for key, text in _pairs(line, "--opt").items()}
    driver, internal = line.one("--driver", "bridge"), line.has("--internal")
    identity = _new(line, name, views.networks.networks)
    yield CreateNetwork(identity, name, driver, pools, internal, options, _pairs(line, "--label"))


def _create_endpoint(line: Line, views: Views) -> Iterator[Command]:
    network, name = line.places
    mac = line.one("--mac")
    yield CreateEndpoint(
        _new(line, f"{network}/{name}", views.endpoints.endpoints),
        find_network(views, network),
        name,
        addresses=tuple(map(parse_address, line.all("--ip"))),
        mac=parse_mac(mac) if mac else b"",
        ports=tuple(map(parse_port, line.all("--publish"))),
        aliases=line.all("--alias"),
        labels=_pairs(line, "--label"),
    )


def _create_sandbox(line: Line, views: Views) -> Iterator[Command]:
    (container,) = line.places
    kind, identity = line.one("--kind", SandboxKind.MANAGED), line.one("--identity")
    if kind not in list(SandboxKind):
        raise Invalid(f"sandbox kind {kind!r}", "unknown", f"known: {', '.join(SandboxKind)}")
    yield CreateSandbox(
        _new(line, container, views.sandboxes.sandboxes),
        container,
        SandboxKind(kind),
        line.one("--path"),
        parse_identity(identity) if identity else None,
        line.one("--hostname"),
        line.one("--domainname"),
        _pairs(line, "--label"),
    )


def _join(line: Line, views: Views) -> Iterator[Command]:
    endpoint, sandbox = line.places
    priority, interface = _number(line, "--priority"), line.one("--interface")
    yield JoinEndpoint(find_endpoint(views, endpoint), find_sandbox(views, sandbox), priority, interface)


def _lose_sandbox(line: Line, views: Views) -> Iterator[Command]:
    yield LoseSandbox(find_sandbox(views, line.places[0]), line.places[1])


def _alias(command: type[AddAlias | RemoveAlias]) -> Callable[[Line, Views], Iterator[Command]]:
    def reader(line: Line, views: Views) -> Iterator[Command]:
        yield command(find_endpoint(views, line.places[0]), line.places[1])

    return reader


def _leave(line: Line, views: Views) -> Iterator[Command]:
    yield LeaveEndpoint(find_endpoint(views, line.places[0]))


def _remove(
    command: Callable[[Any, bool], Command], find: Callable[[Views, str], str]
) -> Callable[[Line, Views], Iterator[Command]]:
    def reader(line: Line, views: Views) -> Iterator[Command]:
        for text in line.places:
            yield command(find(views, text), line.has("--force"))

    return reader


def _whole(line: Line, _: Views) -> Iterator[Command]:
    try:
        yield msgspec.json.decode(line.places[0].encode(), type=Command)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise Invalid("command", f"not the JSON of a command: {error}") from None


_READERS: Mapping[str, Callable[[Line, Views], Iterator[Command]]] = {
    "network create": _create_network,
    "network rm": _remove(DeleteNetwork, find_network),
    "endpoint create": _create_endpoint,
    "endpoint rm": _remove(DeleteEndpoint, find_endpoint),
    "endpoint join": _join,
    "endpoint leave": _leave,
    "endpoint alias add": _alias(AddAlias),
    "endpoint alias rm": _alias(RemoveAlias),
    "sandbox create": _create_sandbox,
    "sandbox rm": _remove(DeleteSandbox, find_sandbox),
    "sandbox lose": _lose_sandbox,
    "command": _whole,
}


# --- writing


def render(command: Command, views: Views | None = None) -> str:
    """Write a command as a line for the state that it is asked for in; without one, wherever it is carried out."""
    return Writer().line(command, views)


def write(steps: Iterable[Command | Sequence[Command | str] | str], words: Iterable[str] = ()) -> str:
    """Write a whole script: commands, batches of them, and other lines as they are; it ends with a check.

    A batch may begin with the line `crash`. `words` are those that ids may be hashes of, where no command has named
    them: ids of what was never made.
    """
    writer = Writer(words)
    blocks: list[list[str]] = [[]]
    for step in steps:
        if isinstance(step, str):
            blocks[-1].append(step)
        elif isinstance(step, msgspec.Struct):
            blocks[-1] += writer.lines(step)
        else:
            written = [[each] if isinstance(each, str) else writer.lines(each) for each in step]
            blocks[-1] += [ground for lines in written for ground in lines[:-1]]
            batch = [lines[-1] for lines in written]
            blocks += [batch if batch[:1] == ["crash"] else ["batch", *batch], []]
    blocks.append(["check"])
    return "\n\n".join("\n".join([*block, "----", _outcome(block)]) for block in blocks if block) + "\n"


def _outcome(block: list[str]) -> str:
    return "everything holds" if block == ["check"] else "..."


class Writer:
    """Writes commands one after the other, and remembers which words ids are made of."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words: dict[str, str] = {}
        self._named: dict[str, set[str]] = {}
        self._made: set[str] = set()
        self._paths: set[str] = set()
        for word in words:
            self._remember(word)

    def lines(self, command: Command, views: Views | None = None) -> list[str]:
        """Write a command, and before it what the world has to have for it."""
        line = self.line(command, views)
        if not isinstance(command, CreateSandbox) or command.identity is None or command.path in self._paths:
            return [line]
        self._paths.add(command.path)
        return [_line("netns add", command.path, _identity(command.identity)), line]

    def line(self, command: Command, views: Views | None = None) -> str:
        """Write a command; what no line can say is written as JSON."""
        made = _made(command, self._words)
        for word in made[1:]:
            self._remember(word)
        try:
            line = _WRITERS[type(command)](self, command, views)
            if commands_of(read(line), views or NOBODY) == [command]:
                return line
        except (KeyError, NetledgerError, ScriptError, ValueError):
            pass  # values that no line can say: they are not even well formed
        finally:
            self._made.update(made[:1])
            for word in made[1:]:
                self._named.setdefault(word, set()).update((made[0], identifier(word)))
        return _line("command", msgspec.json.encode(command).decode())

    def network(self, network: NetworkId, views: Views | None) -> str:
        """Give the words for a network."""
        there = views.network(network) if views else None
        return self._reference(network, there.event.name if there else "", views, find_network)

    def endpoint(self, endpoint: EndpointId, views: Views | None) -> str:
        """Give the words for an endpoint: NETWORK/NAME where it has one."""
        there = views.endpoint(endpoint) if views else None
        name = f"{self.network(there.event.network, views)}/{there.event.name}" if there else ""
        return self._reference(endpoint, name, views, find_endpoint)

    def sandbox(self, sandbox: SandboxId, views: Views | None) -> str:
        """Give the words for a sandbox: its container."""
        there = views.sandbox(sandbox) if views else None
        return self._reference(sandbox, there.event.container if there else "", views, find_sandbox)

    def identity(self, identity: str, default: str, taken: Container[str] | None) -> list[str]:
        """Write the option for the id of what is made, where it is not the one that it would get."""
        if identity == _free_identifier(default, self._made if taken is None else taken):
            return []
        word = self._words.get(identity)
        return ["--id", f"@{word}" if word is not None else identity]

    def _reference(self, identity: str, name: str, views: Views | None, find: Callable[[Views, str], str]) -> str:
        word = self._words.get(identity, "")
        is_taken = views is None and len(self._named.get(word, {identity})) > 1  # by then another may have the name
        for text in (name, "" if is_taken else word, f"@{word}" if word else ""):
            if text and find(views or NOBODY, text) == identity:
                return text
        return identity

    def _remember(self, word: str) -> None:
        for text in (word, f"another {word}"):  # the author's two ids of a name
            self._words.setdefault(identifier(text), text)


def _made(command: Command, words: Mapping[str, str]) -> list[str]:
    """Give the id of what a command makes, and the words that it may be called by."""
    match command:
        case CreateNetwork(network=identity, name=name) | CreateSandbox(sandbox=identity, container=name):
            return [identity, name]
        case CreateEndpoint(endpoint=identity, network=network, name=name):
            return [identity, f"{words.get(network, network)}/{name}", name]
        case _:
            return []


def _line(verb: str, *words: str) -> str:
    return " ".join([verb, *map(quote, words)])


def _identity(identity: NamespaceIdentity) -> str:
    return f"{identity.boot}/{identity.cookie}"


def _repeated(option: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _labels(labels: Mapping[str, str]) -> list[str]:
    return _repeated("--label", (f"{key}={value}" for key, value in labels.items()))


def _write_network(writer: Writer, command: CreateNetwork, views: Views | None) -> str:
    pools = command.pools
    words = ["--driver", command.driver] if command.driver != "bridge" else []
    words += _repeated("--subnet", (str(pool.subnet) for pool in pools if pool.subnet is not None))
    words += _repeated("--gateway", (format_address(pool.gateway) for pool in pools if pool.gateway is not None))
    families = {pool.family for pool in pools}
    words += [] if 4 in families else ["--no-ipv4"]
    words += ["--ipv6"] if any(pool.family == 6 and pool.subnet is None for pool in pools) else []
    words += _policies(pools)
    words += ["--internal"] if command.internal else []
    values = {key: str(value).lower() if isinstance(value, bool) else value for key, value in command.options.items()}
    words += _repeated("--opt", (f"{key}={value}" for key, value in values.items()))
    words += [
        *_labels(command.labels),
        *writer.identity(command.network, command.name, views.networks.networks if views else None),
    ]
    return _line("network create", command.name, *words)


def _policies(pools: Sequence[PoolRequest]) -> list[str]:
    policies = [pool.policy for pool in pools]
    if len(set(policies)) == 1:
        policies = policies[:1] if policies[0] is not AllocationPolicy.NEXT else []
    return _repeated("--allocation", policies)


def _write_endpoint(writer: Writer, command: CreateEndpoint, views: Views | None) -> str:
    network = writer.network(command.network, views)
    words = _repeated("--ip", map(format_address, command.addresses))
    words += ["--mac", format_mac(command.mac)] if command.mac else []
    words += _repeated("--publish", (str(port).removeprefix(":") for port in command.ports))
    words += _repeated("--alias", command.aliases)
    there = views.endpoints.endpoints if views else None
    words += [*_labels(command.labels), *writer.identity(command.endpoint, f"{network}/{command.name}", there)]
    return _line("endpoint create", network, command.name, *words)


def _write_sandbox(writer: Writer, command: CreateSandbox, views: Views | None) -> str:
    words = ["--kind", command.kind] if command.kind is not SandboxKind.MANAGED else []
    words += ["--path", command.path] if command.path else []
    words += ["--identity", _identity(command.identity)] if command.identity is not None else []
    words += ["--hostname", command.hostname] if command.hostname else []
    words += ["--domainname", command.domainname] if command.domainname else []
    words += [
        *_labels(command.labels),
        *writer.identity(command.sandbox, command.container, views.sandboxes.sandboxes if views else None),
    ]
    return _line("sandbox create", command.container, *words)


def _write_join(writer: Writer, command: JoinEndpoint, views: Views | None) -> str:
    words = ["--priority", str(command.priority)] if command.priority else []
    words += ["--interface", command.interface] if command.interface else []
    return _line(
        "endpoint join", writer.endpoint(command.endpoint, views), writer.sandbox(command.sandbox, views), *words
    )


def _forced(command: DeleteNetwork | DeleteEndpoint | DeleteSandbox) -> list[str]:
    return ["--force"] if command.force else []


_WRITERS: Mapping[type, Callable[[Writer, Any, Views | None], str]] = {
    CreateNetwork: _write_network,
    CreateEndpoint: _write_endpoint,
    CreateSandbox: _write_sandbox,
    JoinEndpoint: _write_join,
    LeaveEndpoint: lambda writer, command, views: _line("endpoint leave", writer.endpoint(command.endpoint, views)),
    DeleteNetwork: lambda writer, command, views: _line(
        "network rm", writer.network(command.network, views), *_forced(command)
    ),
    DeleteEndpoint: lambda writer, command, views: _line(
        "endpoint rm", writer.endpoint(command.endpoint, views), *_forced(command)
    ),
    DeleteSandbox: lambda writer, command, views: _line(
        "sandbox rm", writer.sandbox(command.sandbox, views), *_forced(command)
    ),
    AddAlias: lambda writer, command, views: _line(
        "endpoint alias add", writer.endpoint(command.endpoint, views), command.alias
    ),
    RemoveAlias: lambda writer, command, views: _line(
        "endpoint alias rm", writer.endpoint(command.endpoint, views), command.alias
    ),
    LoseSandbox: lambda writer, command, views: _line(
        "sandbox lose", writer.sandbox(command.sandbox, views), command.evidence
    ),
}
