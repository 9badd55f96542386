"""`netledger endpoint`: create, rm, join, leave, ls, inspect, alias add and rm.

Must not know: how an address, MAC address or port is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from .exits import DONE
from .options import HERE, THIS_HOST, THIS_USER, Author, Force, Host, Labels, Log, Quiet, Request, pairs
from .printing import ID_SHOWN, as_builtins, document, fields, shown, table
from .removing import remove
from .session import carry_out, changing, reading, status_of

if TYPE_CHECKING:
    from ...domain.commands import Command
    from ...engine.controller import Controller
    from ...engine.model import Endpoint, EndpointInfo

app = App(name="endpoint", help="Endpoints: places in a network, with addresses and published ports.")
aliases = App(name="alias", help="Other names of an endpoint in its network.")
app.command(aliases)


@app.command
def create(  # noqa: PLR0913  # a parameter for each option
    network: str,
    name: str,
    /,
    *,
    ip: Annotated[
        tuple[str, ...], Parameter(help="An address that it gets, one of each family; repeatable. Else a free one.")
    ] = (),
    mac: Annotated[str, Parameter(help="Its MAC address. Else one is made.")] = "",
    publish: Annotated[
        tuple[str, ...],
        Parameter(
            name=("--publish", "-p"),
            help="A port or a range, [HOST_ADDRESS:][HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]; repeatable.",
        ),
    ] = (),
    alias: Annotated[tuple[str, ...], Parameter(help="Another name in the network; repeatable.")] = (),
    opt: Annotated[
        tuple[str, ...], Parameter(name=("--opt", "-o"), help="An option of it, KEY=VALUE; repeatable.")
    ] = (),
    sysctl: Annotated[
        tuple[str, ...], Parameter(help="A setting of its interface, net.ipv4.conf.IFNAME.NAME=VALUE; repeatable.")
    ] = (),
    link_local: Annotated[tuple[str, ...], Parameter(help="A link-local address that it gets, too; repeatable.")] = (),
    label: Labels = (),
    id: Annotated[str | None, Parameter(help="Its id, 64 hex digits. Else a random one.")] = None,  # noqa: A002  # the option's name
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Create an endpoint NAME in NETWORK and print its id."""
    options, labels = pairs("--opt", opt), pairs("--label", label)
    with changing(log, host, author) as controller:
        endpoint = controller.network(network).create_endpoint(
            name,
            addresses=ip,
            mac=mac,
            ports=publish,
            aliases=alias,
            labels=labels,
            options=dict(options),
            sysctls=sysctl,
            link_local=link_local,
            id=id,
            reason=author.reason,
            request=request,
        )
        if log.json:
            document(as_builtins(endpoint.info()))
        else:
            print(endpoint.id)
    return DONE.status


@app.command
def rm(
    endpoint: str,
    /,
    *others: str,
    force: Force = False,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Delete endpoints, by id, NETWORK/NAME, name or id prefix; with --force, even from their sandboxes."""
    from ...domain.commands import DeleteEndpoint
    from ...domain.values import EndpointId

    return remove(
        (endpoint, *others),
        lambda controller, text: controller.endpoint(text).id,
        lambda identity: DeleteEndpoint(EndpointId(identity), force),
        log=log,
        host=host,
        author=author,
        request=request,
    )


@app.command
def join(  # noqa: PLR0913  # a parameter for each option
    endpoint: str,
    sandbox: str,
    /,
    *,
    priority: Annotated[
        int,
        Parameter(
            name=("--priority", "--gw-priority"), help="The endpoint with the highest one is the way out. Else 0."
        ),
    ] = 0,
    interface: Annotated[str, Parameter(help="The interface's name in the sandbox. Else eth0, eth1, ...")] = "",
    route: Annotated[tuple[str, ...], Parameter(help="A route by its interface, SUBNET[=GATEWAY]; repeatable.")] = (),
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Put ENDPOINT into SANDBOX; prints nothing, or with --json the endpoint."""
    from ...domain.commands import JoinEndpoint
    from ...engine.model import parse_route

    with changing(log, host, author) as controller:
        joining = controller.endpoint(endpoint)
        routes = tuple(map(parse_route, route))
        command = JoinEndpoint(joining.id, controller.sandbox(sandbox).id, priority, interface, routes)
        return _change(controller, joining, command, log, author, request)


@app.command
def leave(
    endpoint: str,
    /,
    *,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Take ENDPOINT out of its sandbox; prints nothing, or with --json the endpoint."""
    from ...domain.commands import LeaveEndpoint

    with changing(log, host, author) as controller:
        leaving = controller.endpoint(endpoint)
        return _change(controller, leaving, LeaveEndpoint(leaving.id), log, author, request)


@aliases.command(name="add")
def add_alias(
    endpoint: str,
    alias: str,
    /,
    *,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Give ENDPOINT another name in its network."""
    from ...domain.commands import AddAlias

    with changing(log, host, author) as controller:
        named = controller.endpoint(endpoint)
        return _change(controller, named, AddAlias(named.id, alias), log, author, request)


@aliases.command(name="rm")
def remove_alias(
    endpoint: str,
    alias: str,
    /,
    *,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Take one of its other names from ENDPOINT."""
    from ...domain.commands import RemoveAlias

    with changing(log, host, author) as controller:
        named = controller.endpoint(endpoint)
        return _change(controller, named, RemoveAlias(named.id, alias), log, author, request)


@app.command
def ls(
    *,
    network: Annotated[str | None, Parameter(help="Only those of this network.")] = None,
    quiet: Quiet = False,
    log: Log = HERE,
) -> int:
    """List the endpoints, the oldest first."""
    with reading(log) as controller:
        found = controller.endpoints() if network is None else controller.network(network).endpoints()
        infos = [endpoint.info() for endpoint in found]
        if log.json:
            document([as_builtins(info) for info in infos])
        elif quiet:
            for info in infos:
                print(info.id)
        else:
            table(
                ("id", "network", "name", "addresses", "ports", "sandbox"),
                (
                    (
                        info.id[:ID_SHOWN],
                        info.network_name,
                        info.name,
                        info.addresses,
                        _ports(info),
                        info.sandbox[:ID_SHOWN],
                    )
                    for info in infos
                ),
            )
    return DONE.status


@app.command
def inspect(endpoint: str, /, *, log: Log = HERE) -> int:
    """Tell what an endpoint is, found by id, NETWORK/NAME, name or id prefix."""
    with reading(log) as controller:
        info = controller.endpoint(endpoint).info()
        if log.json:
            document(as_builtins(info))
        else:
            joined = info.joined or None
            fields({**shown(info), "port_map": _ports(info), "joined": joined})
    return DONE.status


def _change(
    controller: Controller, endpoint: Endpoint, command: Command, log: Log, author: Author, request: str | None
) -> int:
    """Carry out one command about an endpoint."""
    results = carry_out(controller, [command], log, author, request)
    if log.json and all(result.error is None for result in results):
        document(as_builtins(endpoint.info()))
    return status_of(results)


def _ports(info: EndpointInfo) -> tuple[str, ...]:
    """Write published ports as `docker port` does."""
    return tuple(f"{outer}->{inner}" for inner, outers in info.port_map.items() for outer in outers)
