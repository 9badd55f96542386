"""Script lines as domain commands.

Things go by their names. What is made gets an id that is the hash of its name, with a number where that id is taken,
unless `--id` gives another. A name that nobody has stands for the id that it would have had; `@WORD` is the id made of
a word, whoever has that name.
Keeps: the same line in the same state asks for the same command. Knows nothing of: what comes of any of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

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
from ...domain.errors import Invalid
from ...domain.events import DEFAULT_IPAM, LOCAL_DEFAULT, OptionValue
from ...domain.facts import NamespaceIdentity
from ...domain.leases import RETENTION_SECONDS
from ...domain.resolution import Resolution
from ...domain.values import (
    AllocationPolicy,
    EndpointId,
    NetworkId,
    PoolId,
    SandboxId,
    SandboxKind,
    parse_address,
    parse_mac,
    parse_ports,
    parse_subnet,
)
from ...engine.addresses import read_block, read_policy, read_predefined
from ...engine.model import parse_route
from ...engine.pool_requests import Wanted, check_holds_settings_only, pool_requests
from ...engine.resolution import resolution_of
from ...projections.views import Views
from ..desk import identifier
from .grammar import Line

_ID = re.compile(r"[0-9a-f]{64}")
NOBODY = Views()
"""A state in which nothing has a name."""


def commands_of(line: Line, views: Views = NOBODY) -> list[Command]:
    """Read what a line asks for in a state; raise `Invalid` for a value that is none."""
    return list(_READERS[line.verb](line, views))


def is_command(line: Line) -> bool:
    """Whether a line asks for a domain command."""
    return line.verb in _READERS


def find_network(views: Views, text: str) -> NetworkId:
    """Give the id that a network goes by."""
    every = itertools.chain(views.names.networks.items(), views.names.configuration_networks.items())
    named = (network for (_, name), network in every if name == text)
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


def find_pool(views: Views, text: str) -> PoolId:
    """Give the id of the pool of a block, CIDR or SPACE/CIDR; what is no one pool's is taken for an id."""
    every = views.ipam.pools
    named = [
        pool
        for pool, record in every.items()
        if text in (str(record.event.subnet), f"{record.event.space}/{record.event.subnet}")
    ]
    return named[0] if len(named) == 1 and PoolId(text) not in every else PoolId(text)


def parse_identity(text: str) -> NamespaceIdentity:
    """Read BOOT/COOKIE."""
    boot, _, cookie = text.rpartition("/")
    if not boot or not cookie.isdecimal():
        raise Invalid(f"namespace identity {text!r}", "not BOOT/COOKIE", "write it like boot/7")
    return NamespaceIdentity(boot, int(cookie))


def parse_interface(text: str) -> tuple[bytes, int]:
    """Read an address of an interface, ADDRESS/PREFIX."""
    address, slash, prefix = text.partition("/")
    packed = parse_address(address)
    if not slash or not prefix.isdecimal() or int(prefix) > len(packed) * 8:
        raise Invalid(f"address {text!r}", "not ADDRESS/PREFIX", "write it like 10.5.0.1/16")
    return packed, int(prefix)


def _given(text: str) -> str:
    """Give the id that a text is, whatever has which name; nothing where it is a name."""
    if text.startswith("@"):
        return str(identifier(text[1:]))
    return text if _ID.fullmatch(text) else ""


def _new(line: Line, default: str, taken: Container[str]) -> Any:  # noqa: ANN401 - ids of every kind
    """Choose the id of what is made; one that is asked for is taken as it is."""
    asked = line.one("--id")
    return _given(asked) or asked if line.has("--id") else free_identifier(default, taken)


def free_identifier(default: str, taken: Container[str]) -> str:
    """Make an id of a word, numbered where its own is taken: that the name is taken, too, is for a rule to say."""
    words = itertools.chain([default], (f"{default} {number}" for number in itertools.count(2)))
    return next(str(identity) for identity in map(identifier, words) if identity not in taken)


def _pairs(line: Line, option: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in line.all(option)]
    for key, equals, value in pairs:
        if not key or not equals:
            raise Invalid(f"{option} {key + value!r}", "not KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _options(line: Line, option: str = "--opt") -> dict[str, OptionValue]:
    return {key: option_value(text) for key, text in _pairs(line, option).items()}


def option_value(text: str) -> OptionValue:
    """Read a value of an option: `true` and `false`, numbers, and text; in `"` it is text whatever it looks like."""
    if text.startswith('"'):
        try:
            return msgspec.json.decode(text.encode(), type=str)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            raise Invalid(f"value {text}", 'it begins with " and is no JSON string', 'write it like "1400"') from None
    if text in ("true", "false"):
        return text == "true"
    return int(text) if re.fullmatch(r"0|[1-9][0-9]*", text) else text


def _number(line: Line, option: str) -> int:
    text = line.one(option, "0")
    if not re.fullmatch(r"-?[0-9]{1,30}", text):
        raise Invalid(f"{option} {text!r}", "not a number")
    return int(text)


def _of_each(line: Line, option: str, default: str, count: int) -> Sequence[str]:
    """Give an option's values for so many blocks: one for all, or one for each."""
    values = line.all(option) or (default,)
    if len(values) not in (1, count):
        raise Invalid(f"{len(values)} times {option}", f"there are {count} blocks", "give one for all, or one for each")
    return tuple(values) * count if len(values) == 1 else values


def _seconds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise Invalid(f"{text!r}", "not a number of seconds")
    return int(text)


def _create_network(line: Line, views: Views) -> Iterator[Command]:
    (name,) = line.places
    ipam_driver, ipam_options = line.one("--ipam-driver", DEFAULT_IPAM), _options(line, "--ipam-opt")
    wanted = Wanted(
        line.all("--subnet"),
        line.all("--gateway"),
        line.all("--ip-range"),
        _pairs(line, "--aux-address"),
        ipv4=not line.has("--no-ipv4"),
        ipv6=line.has("--ipv6"),
        address_space=line.one("--address-space", LOCAL_DEFAULT),
        ipam_driver=ipam_driver,
    )
    pools = pool_requests(wanted)
    policies = map(read_policy, _of_each(line, "--allocation", AllocationPolicy.NEXT, len(pools)))
    rests = map(_seconds, _of_each(line, "--rest", "0", len(pools)))
    graces = map(_seconds, _of_each(line, "--grace", "0", len(pools)))
    pools = tuple(
        structs.replace(pool, policy=policy, rest_seconds=rest, grace_seconds=grace)
        for pool, policy, rest, grace in zip(pools, policies, rests, graces, strict=True)
    )
    options = _options(line)
    driver, internal, labels = line.one("--driver", "bridge"), line.has("--internal"), _pairs(line, "--label")
    identity = _new(line, name, views.networks.networks.keys() | views.networks.configuration_networks.keys())
    config_from = line.one("--config-from")
    if line.has("--config-only"):
        check_holds_settings_only(name, driver, config_from, internal=internal)
        yield CreateConfigurationNetwork(identity, name, pools, options, labels, ipam_driver, ipam_options)
    else:
        yield CreateNetwork(
            identity, name, driver, pools, internal, options, labels, ipam_driver, ipam_options, config_from
        )


def _create_endpoint(line: Line, views: Views) -> Iterator[Command]:
    network, name = line.places
    mac, options = line.one("--mac"), _options(line)
    if line.has("--sysctl"):
        options[SYSCTLS] = ",".join(line.all("--sysctl"))
    yield CreateEndpoint(
        _new(line, f"{network}/{name}", views.endpoints.endpoints),
        find_network(views, network),
        name,
        addresses=tuple(map(parse_address, line.all("--ip"))),
        mac=parse_mac(mac) if mac else b"",
        ports=tuple(port for text in line.all("--publish") for port in parse_ports(text)),
        aliases=line.all("--alias"),
        labels=_pairs(line, "--label"),
        options=options,
        link_local=tuple(map(parse_address, line.all("--link-local"))),
    )


def _create_sandbox(line: Line, views: Views) -> Iterator[Command]:
    (container,) = line.places
    kind = line.one("--kind", SandboxKind.MANAGED)
    if kind not in list(SandboxKind):
        raise Invalid(f"sandbox kind {kind!r}", "unknown", f"known: {', '.join(SandboxKind)}")
    yield CreateSandbox(
        _new(line, container, views.sandboxes.sandboxes),
        container,
        SandboxKind(kind),
        line.one("--path"),
        _identity(line),
        line.one("--hostname"),
        line.one("--domainname"),
        _pairs(line, "--label"),
        _resolution(line),
    )


def _resolution(line: Line) -> Resolution | None:
    hosts = [text.partition(":") for text in line.all("--add-host")]
    for name, colon, address in hosts:
        if not name or not colon:
            raise Invalid(f"--add-host {name + address!r}", "not NAME:ADDRESS", "write it like db:10.0.0.9")
    asked = resolution_of(
        {name: address for name, _, address in hosts},
        line.all("--dns"),
        line.all("--dns-search"),
        line.all("--dns-option"),
        line.one("--hosts-path"),
        line.one("--resolv-conf-path"),
        always=line.has("--files"),
    )
    if asked is not None and len(asked.hosts) != len(hosts):
        raise Invalid("--add-host", "a name is given twice", "give each once")
    return asked


def _join(line: Line, views: Views) -> Iterator[Command]:
    endpoint, sandbox = line.places
    priority, interface = _number(line, "--priority"), line.one("--interface")
    routes = tuple(map(parse_route, line.all("--route")))
    yield JoinEndpoint(find_endpoint(views, endpoint), find_sandbox(views, sandbox), priority, interface, routes)


def _set_key(line: Line, views: Views) -> Iterator[Command]:
    sandbox, path = line.places
    yield SetSandboxKey(find_sandbox(views, sandbox), path, _identity(line))


def _rename_sandbox(line: Line, views: Views) -> Iterator[Command]:
    sandbox, container = line.places
    yield RenameSandbox(find_sandbox(views, sandbox), container)


def _identity(line: Line) -> NamespaceIdentity | None:
    text = line.one("--identity")
    return parse_identity(text) if text else None


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


def _reserve(line: Line, views: Views) -> Iterator[Command]:
    network, name, address = line.places
    yield ReserveAddress(find_network(views, network), name, parse_address(address))


def _unreserve(line: Line, views: Views) -> Iterator[Command]:
    network, address = line.places
    yield EndReservation(find_network(views, network), parse_address(address))


def _configure(line: Line, views: Views) -> Iterator[Command]:
    """Read settings; what is left out stays as it is."""
    now = next((record.event for record in views.networks.configurations.values()), None)
    pools = now.default_pools if now is not None else ()
    if line.has("--pool") or line.has("--docker-pools"):
        pools = tuple(map(read_predefined, line.all("--pool")))
    retention = now.retention_seconds if now is not None else RETENTION_SECONDS
    yield Configure(pools, _seconds(line.one("--retention", str(retention))))


def _collect(line: Line, _: Views) -> Iterator[Command]:
    yield Expire(_seconds(line.one("--retention", "0")))


def _request_pool(line: Line, _: Views) -> Iterator[Command]:
    subnet, ip_range = line.one("--subnet"), line.one("--ip-range")
    block, size = read_block(subnet) if subnet else (None, 0)
    is_ipv6 = len(parse_subnet(subnet).address) == len(bytes(16)) if subnet else line.has("--ipv6")
    request = PoolRequest(
        6 if is_ipv6 else 4,
        block,
        policy=read_policy(line.one("--allocation", AllocationPolicy.NEXT)),
        space=line.one("--address-space", LOCAL_DEFAULT),
        size=size,
        sub_pool=parse_subnet(ip_range) if ip_range else None,
        rest_seconds=_seconds(line.one("--rest", "0")),
        grace_seconds=_seconds(line.one("--grace", "0")),
    )
    yield RequestPool(request, _lease(line.places[0]))


def _release_pool(line: Line, views: Views) -> Iterator[Command]:
    yield ReleasePool(find_pool(views, line.places[0]), _lease(line.one("--lease")))


def _request_address(line: Line, views: Views) -> Iterator[Command]:
    pool, lease, *address = line.places
    yield RequestAddress(find_pool(views, pool), _lease(lease), parse_address(address[0]) if address else b"")


def _release_address(line: Line, views: Views) -> Iterator[Command]:
    pool, address = line.places
    yield ReleaseAddress(find_pool(views, pool), parse_address(address), _lease(line.one("--lease")))


def _lease(text: str) -> str:
    """Give the id of a lease, which is made of a word like any other; of none, nothing."""
    return (_given(text) or str(identifier(text))) if text else ""


def _use_firewall(line: Line, _: Views) -> Iterator[Command]:
    yield ChooseFirewall(line.places[0], line.has("--force"))


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
    "sandbox setkey": _set_key,
    "sandbox rename": _rename_sandbox,
    "sandbox rm": _remove(DeleteSandbox, find_sandbox),
    "ipam reserve": _reserve,
    "ipam unreserve": _unreserve,
    "ipam configure": _configure,
    "ipam gc": _collect,
    "sandbox lose": _lose_sandbox,
    "ipam expire": lambda _line, _views: iter([Expire()]),
    "ipam pool request": _request_pool,
    "ipam pool release": _release_pool,
    "ipam address request": _request_address,
    "ipam address release": _release_address,
    "firewall use": _use_firewall,
    "command": _whole,
}
