"""`netledger network`: create, rm, ls, inspect.

Must not know: what any driver does with its options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter

from .exits import DONE
from .options import (
    HERE,
    THIS_HOST,
    THIS_USER,
    Author,
    Force,
    Host,
    Labels,
    Log,
    Quiet,
    Request,
    pairs,
)
from .printing import ID_SHOWN, as_builtins, document, fields, shown, table
from .removing import remove
from .session import changing, reading

app = App(name="network", help="Networks: address pools and the bridge that carries them.")


@Parameter(name="*")
@dataclass(frozen=True)
class Addressing:
    """Which addresses a network has, and who gets which of them."""

    subnet: Annotated[
        tuple[str, ...],
        Parameter(
            help="A CIDR block, one of each address family, or 0.0.0.0/SIZE or ::/SIZE; repeatable. "
            "Else a predefined one."
        ),
    ] = ()
    gateway: Annotated[tuple[str, ...], Parameter(help="The gateway in it; repeatable. Else its first address.")] = ()
    ipv4: Annotated[bool, Parameter(negative="--no-ipv4", help="Give it IPv4, or not. Else it has it.")] = True
    ipv6: Annotated[bool, Parameter(help="Give it IPv6, too.")] = False
    ip_range: Annotated[
        tuple[str, ...], Parameter(help="A part of a subnet to choose addresses from; repeatable. Else all of it.")
    ] = ()
    aux_address: Annotated[
        tuple[str, ...], Parameter(help="An address that nobody is to get, NAME=ADDRESS; repeatable.")
    ] = ()
    address_space: Annotated[
        str, Parameter(help="Within which no two subnets overlap. Else LocalDefault, the host's.")
    ] = "LocalDefault"
    allocation: Annotated[
        str,
        Parameter(
            name=("--allocation", "--policy"),
            help="Which free address comes next: next (after the last one), lowest, serial (as next), "
            "or sticky (as next, and a name gets its own back). Else next.",
        ),
    ] = "next"
    rest: Annotated[int, Parameter(help="Seconds that an address rests before another gets it. Else 0.")] = 0
    grace: Annotated[int, Parameter(help="Seconds that a sticky address is kept for its name. Else 0.")] = 0
    ipam_driver: Annotated[
        str, Parameter(help="What gives addresses: default, null for none, or the name of an IPAM plugin.")
    ] = "default"
    ipam_opt: Annotated[tuple[str, ...], Parameter(help="An option of it, KEY=VALUE; repeatable.")] = ()


USUAL = Addressing()


@app.command
def create(  # noqa: PLR0913  # a parameter for each option
    name: str,
    /,
    *,
    driver: Annotated[str, Parameter(help="The network driver. Else bridge.")] = "bridge",
    addressing: Addressing = USUAL,
    internal: Annotated[bool, Parameter(help="Let nothing in or out of it.")] = False,
    opt: Annotated[
        tuple[str, ...], Parameter(name=("--opt", "-o"), help="An option of the driver, KEY=VALUE; repeatable.")
    ] = (),
    label: Labels = (),
    config_only: Annotated[
        bool, Parameter(help="Make no network: keep these settings under NAME, for networks with --config-from NAME.")
    ] = False,
    config_from: Annotated[
        str, Parameter(help="Take subnets, options and labels from a configuration-only network; give none here.")
    ] = "",
    id: Annotated[str | None, Parameter(help="Its id, 64 hex digits. Else a random one.")] = None,  # noqa: A002  # the option's name
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Create a network NAME and print its id."""
    options, labels = pairs("--opt", opt), pairs("--label", label)
    with changing(log, host, author) as controller:
        network = controller.create_network(
            name,
            driver,
            subnets=addressing.subnet,
            gateways=addressing.gateway,
            ipv4=addressing.ipv4,
            ipv6=addressing.ipv6,
            ip_ranges=addressing.ip_range,
            auxiliary=pairs("--aux-address", addressing.aux_address),
            address_space=addressing.address_space,
            allocation=addressing.allocation,
            rest_seconds=addressing.rest,
            grace_seconds=addressing.grace,
            ipam_driver=addressing.ipam_driver,
            ipam_options=dict(pairs("--ipam-opt", addressing.ipam_opt)),
            internal=internal,
            options=dict(options),
            labels=labels,
            config_only=config_only,
            config_from=config_from,
            id=id,
            reason=author.reason,
            request=request,
        )
        if log.json:
            document(as_builtins(network.info()))
        else:
            print(network.id)
    return DONE.status


@app.command
def rm(
    name: str,
    /,
    *others: str,
    force: Force = False,
    log: Log = HERE,
    host: Host = THIS_HOST,
    author: Author = THIS_USER,
    request: Request = None,
) -> int:
    """Delete networks, by id, name or id prefix; with --force, their endpoints first."""
    from ...domain.commands import DeleteNetwork
    from ...domain.values import NetworkId

    return remove(
        (name, *others),
        lambda controller, text: controller.network(text).id,
        lambda identity: DeleteNetwork(NetworkId(identity), force),
        log=log,
        host=host,
        author=author,
        request=request,
    )


@app.command
def ls(*, quiet: Quiet = False, log: Log = HERE) -> int:
    """List the networks, the oldest first."""
    with reading(log) as controller:
        infos = [network.info() for network in controller.networks()]
        if log.json:
            document([as_builtins(info) for info in infos])
        elif quiet:
            for info in infos:
                print(info.id)
        else:
            table(
                ("id", "name", "driver", "subnets", "device", "endpoints"),
                (
                    (
                        info.id[:ID_SHOWN],
                        info.name,
                        info.driver,
                        info.subnets,
                        info.device,
                        len(info.endpoints),
                    )
                    for info in infos
                ),
            )
    return DONE.status


@app.command
def inspect(name: str, /, *, log: Log = HERE) -> int:
    """Tell what a network is, found by id, name or id prefix."""
    with reading(log) as controller:
        network = controller.network(name)
        info = network.info()
        if log.json:
            document(as_builtins(info))
        else:
            endpoints = tuple(f"{endpoint.name} ({endpoint.id[:ID_SHOWN]})" for endpoint in network.endpoints())
            values = {**shown(info), "endpoints": endpoints}
            fields(
                values if info.config_only else {name: value for name, value in values.items() if name != "config_only"}
            )
    return DONE.status
