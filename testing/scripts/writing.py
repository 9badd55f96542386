"""Domain commands as script lines.

Keeps: what is written is read back as the same command, in the same state. Knows nothing of: what comes of any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ...domain.commands import (
    AddAlias,
    ChooseFirewall,
    Command,
    Configure,
    CreateConfigurationNetwork,
    CreateEndpoint,
    CreateNetwork,
    CreateSandbox,
    DeleteEndpoint,
    DeleteNetwork,
    DeleteSandbox,
    EndReservation,
    Expire,
    JoinEndpoint,
    LeaveEndpoint,
    LoseSandbox,
    PoolRequest,
    ReleaseAddress,
    ReleasePool,
    RemoveAlias,
    RenameSandbox,
    RequestAddress,
    RequestPool,
    ReserveAddress,
    SetSandboxKey,
)
from ...domain.endpoint_options import SYSCTLS
from ...domain.errors import NetledgerError
from ...domain.events import DEFAULT_IPAM, LOCAL_DEFAULT, OptionValue, StaticRoute
from ...domain.facts import NamespaceIdentity
from ...domain.resolution import Resolution
from ...domain.values import (
    AllocationPolicy,
    EndpointId,
    NetworkId,
    PoolId,
    SandboxId,
    SandboxKind,
    format_address,
    format_mac,
)
from ...projections.views import Views
from ..desk import identifier
from .grammar import ScriptError, quote, read
from .reading import (
    NOBODY,
    commands_of,
    find_endpoint,
    find_network,
    find_pool,
    find_sandbox,
    free_identifier,
    option_value,
)


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
        if (
            not isinstance(command, CreateSandbox | SetSandboxKey)
            or command.identity is None
            or command.path in self._paths
        ):
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
        there = (views.network(network) or views.configuration_network(network)) if views else None
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

    def pool(self, pool: PoolId, views: Views | None) -> str:
        """Give the words for a pool: its block, where one pool alone has it."""
        record = views.pool(pool) if views else None
        if record is not None:
            for text in (str(record.event.subnet), f"{record.event.space}/{record.event.subnet}"):
                if find_pool(views or NOBODY, text) == pool:
                    return text
        return pool

    def lease(self, lease: str) -> str:
        """Give the word that the id of a lease is made of, where it is known."""
        return self._words.get(lease, lease)

    def identity(self, identity: str, default: str, taken: Container[str] | None) -> list[str]:
        """Write the option for the id of what is made, where it is not the one that it would get."""
        if identity == free_identifier(default, self._made if taken is None else taken):
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
        case (
            CreateNetwork(network=identity, name=name)
            | CreateConfigurationNetwork(network=identity, name=name)
            | CreateSandbox(sandbox=identity, container=name)
        ):
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


def _options(options: Mapping[str, OptionValue], option: str = "--opt") -> list[str]:
    return _repeated(option, (f"{key}={_option_value(value)}" for key, value in options.items()))


def _option_value(value: OptionValue) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    is_taken_for_another = isinstance(value, str) and (text.startswith('"') or option_value(text) != value)
    return msgspec.json.encode(text).decode() if is_taken_for_another else text


def _route(route: StaticRoute) -> str:
    return f"{route.destination}={format_address(route.gateway)}" if route.gateway else str(route.destination)


def _write_network(writer: Writer, command: CreateNetwork | CreateConfigurationNetwork, views: Views | None) -> str:
    pools = command.pools
    words: list[str] = []
    if isinstance(command, CreateConfigurationNetwork):
        words += ["--config-only"]
    else:
        words += ["--driver", command.driver] if command.driver != "bridge" else []
        words += ["--internal"] if command.internal else []
        words += ["--config-from", command.config_from] if command.config_from else []
    words += _repeated("--subnet", (_subnet(pool) for pool in pools if pool.subnet is not None or pool.size))
    words += _repeated("--gateway", (format_address(pool.gateway) for pool in pools if pool.gateway is not None))
    families = {pool.family for pool in pools}
    words += [] if 4 in families else ["--no-ipv4"]
    words += ["--ipv6"] if any(pool.family == 6 and pool.subnet is None for pool in pools) else []
    words += _repeated("--ip-range", (str(pool.sub_pool) for pool in pools if pool.sub_pool is not None))
    auxiliary = [item for pool in pools for item in pool.auxiliary.items()]
    words += _repeated("--aux-address", (f"{name}={format_address(address)}" for name, address in auxiliary))
    words += ["--address-space", pools[0].space] if pools and pools[0].space != LOCAL_DEFAULT else []
    words += _of_each("--allocation", [pool.policy for pool in pools], AllocationPolicy.NEXT)
    words += _of_each("--rest", [str(pool.rest_seconds) for pool in pools], "0")
    words += _of_each("--grace", [str(pool.grace_seconds) for pool in pools], "0")
    words += ["--ipam-driver", command.ipam_driver] if command.ipam_driver != DEFAULT_IPAM else []
    words += _options(command.ipam_options, "--ipam-opt")
    words += _options(command.options)
    words += [
        *_labels(command.labels),
        *writer.identity(command.network, command.name, _networks(views) if views else None),
    ]
    return _line("network create", command.name, *words)


def _networks(views: Views) -> Container[str]:
    return views.networks.networks.keys() | views.networks.configuration_networks.keys()


def _subnet(pool: PoolRequest) -> str:
    unspecified = "0.0.0.0" if pool.family == 4 else "::"  # noqa: S104 nothing is bound: a block of a size is asked for
    return str(pool.subnet) if pool.subnet is not None else f"{unspecified}/{pool.size}"


def _of_each(option: str, values: Sequence[str], default: str) -> list[str]:
    """Write an option of each pool: once where all have the same, not at all where that is the default."""
    if len(set(values)) <= 1:
        values = [value for value in values[:1] if value != default]
    return _repeated(option, values)


def _write_endpoint(writer: Writer, command: CreateEndpoint, views: Views | None) -> str:
    network = writer.network(command.network, views)
    words = _repeated("--ip", map(format_address, command.addresses))
    words += ["--mac", format_mac(command.mac)] if command.mac else []
    words += _repeated("--publish", (str(port).removeprefix(":") for port in command.ports))
    words += _repeated("--alias", command.aliases)
    words += _options({key: value for key, value in command.options.items() if key != SYSCTLS})
    words += _repeated("--sysctl", str(command.options[SYSCTLS]).split(",") if SYSCTLS in command.options else ())
    words += _repeated("--link-local", map(format_address, command.link_local))
    there = views.endpoints.endpoints if views else None
    words += [*_labels(command.labels), *writer.identity(command.endpoint, f"{network}/{command.name}", there)]
    return _line("endpoint create", network, command.name, *words)


def _write_sandbox(writer: Writer, command: CreateSandbox, views: Views | None) -> str:
    words = ["--kind", command.kind] if command.kind is not SandboxKind.MANAGED else []
    words += ["--path", command.path] if command.path else []
    words += ["--identity", _identity(command.identity)] if command.identity is not None else []
    words += ["--hostname", command.hostname] if command.hostname else []
    words += ["--domainname", command.domainname] if command.domainname else []
    words += _resolution(command.resolution) if command.resolution is not None else []
    words += [
        *_labels(command.labels),
        *writer.identity(command.sandbox, command.container, views.sandboxes.sandboxes if views else None),
    ]
    return _line("sandbox create", command.container, *words)


def _resolution(resolution: Resolution) -> list[str]:
    wanted = resolution.wanted
    words = _repeated("--add-host", (f"{name}:{format_address(address)}" for name, address in resolution.hosts))
    words += _repeated("--dns", wanted.servers)
    words += _repeated("--dns-search", wanted.search)
    words += _repeated("--dns-option", wanted.options)
    words += ["--hosts-path", resolution.hosts_path] if resolution.hosts_path else []
    words += ["--resolv-conf-path", resolution.resolv_conf_path] if resolution.resolv_conf_path else []
    return words or ["--files"]


def _write_join(writer: Writer, command: JoinEndpoint, views: Views | None) -> str:
    words = ["--priority", str(command.priority)] if command.priority else []
    words += ["--interface", command.interface] if command.interface else []
    words += _repeated("--route", map(_route, command.routes))
    return _line(
        "endpoint join", writer.endpoint(command.endpoint, views), writer.sandbox(command.sandbox, views), *words
    )


def _write_key(writer: Writer, command: SetSandboxKey, views: Views | None) -> str:
    words = ["--identity", _identity(command.identity)] if command.identity is not None else []
    return _line("sandbox setkey", writer.sandbox(command.sandbox, views), command.path, *words)


def _write_configuration(_writer: Writer, command: Configure, _views: Views | None) -> str:
    words = _repeated("--pool", (f"{pool.base},{pool.size}" for pool in command.default_pools)) or ["--docker-pools"]
    return _line("ipam configure", *words, "--retention", str(command.retention_seconds))


def _write_expiry(_writer: Writer, command: Expire, _views: Views | None) -> str:
    if command.retention_seconds is None:
        return _line("ipam expire")
    return _line("ipam gc", *(["--retention", str(command.retention_seconds)] if command.retention_seconds else []))


def _write_pool(writer: Writer, command: RequestPool, _views: Views | None) -> str:
    pool = command.pool
    words = ["--subnet", _subnet(pool)] if pool.subnet is not None or pool.size else []
    words += ["--ipv6"] if pool.family == 6 and not words else []
    words += ["--ip-range", str(pool.sub_pool)] if pool.sub_pool is not None else []
    words += ["--address-space", pool.space] if pool.space != LOCAL_DEFAULT else []
    words += _of_each("--allocation", [pool.policy], AllocationPolicy.NEXT)
    words += _of_each("--rest", [str(pool.rest_seconds)], "0")
    words += _of_each("--grace", [str(pool.grace_seconds)], "0")
    return _line("ipam pool request", writer.lease(command.lease), *words)


def _leased(writer: Writer, command: ReleasePool | ReleaseAddress) -> list[str]:
    return ["--lease", writer.lease(command.lease)] if command.lease else []


def _forced(command: DeleteNetwork | DeleteEndpoint | DeleteSandbox | ChooseFirewall) -> list[str]:
    return ["--force"] if command.force else []


_WRITERS: Mapping[type, Callable[[Writer, Any, Views | None], str]] = {
    CreateNetwork: _write_network,
    CreateConfigurationNetwork: _write_network,
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
    Configure: _write_configuration,
    Expire: _write_expiry,
    ReserveAddress: lambda writer, command, views: _line(
        "ipam reserve", writer.network(command.network, views), command.name, format_address(command.address)
    ),
    EndReservation: lambda writer, command, views: _line(
        "ipam unreserve", writer.network(command.network, views), format_address(command.address)
    ),
    RequestPool: _write_pool,
    ReleasePool: lambda writer, command, views: _line(
        "ipam pool release", writer.pool(command.pool, views), *_leased(writer, command)
    ),
    RequestAddress: lambda writer, command, views: _line(
        "ipam address request",
        writer.pool(command.pool, views),
        writer.lease(command.lease),
        *([format_address(command.address)] if command.address else []),
    ),
    ReleaseAddress: lambda writer, command, views: _line(
        "ipam address release",
        writer.pool(command.pool, views),
        format_address(command.address),
        *_leased(writer, command),
    ),
    SetSandboxKey: _write_key,
    RenameSandbox: lambda writer, command, views: _line(
        "sandbox rename", writer.sandbox(command.sandbox, views), command.container
    ),
    LoseSandbox: lambda writer, command, views: _line(
        "sandbox lose", writer.sandbox(command.sandbox, views), command.evidence
    ),
    ChooseFirewall: lambda _, command, __: _line("firewall use", command.asked, *_forced(command)),
}
