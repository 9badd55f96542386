"""The questions of a script: what there is, who reaches whom, whether all is well.

Keeps: asking changes nothing. Knows nothing of: how a script is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ...domain.errors import Invalid
from ...domain.events import PortBound, Recorded
from ...domain.values import family_of, format_address, format_host
from ...engine.controller import Controller
from ...projections.desired import lower_everything
from ...projections.views import Views
from ...replay import Comparison, drift
from ...replay.reachability import Reachability, describe_alike
from ...replay.simulation import HOST, Simulation, describe
from ..checkers import check_everything
from .grammar import Line
from .stage import Stage
from .telling import Names, tell_lines, tell_pool, tell_port

HOLDS = "everything holds"
AGREES = "nothing to do: kernel and log agree"


def reach(stage: Stage, line: Line) -> list[str]:
    """Ask who reaches whom; `--trace` shows what decided, hop by hop."""
    source, destination, *what = line.places
    family = line.one("--family", "0")
    if family not in ("0", "4", "6"):
        raise Invalid(f"--family {family}", "not an address family", "give 4 or 6")
    found = _simulation(stage).reach(source, destination, *what, family=int(family))
    told = str(found).splitlines()
    return [stage.names.told(text) for text in (told if line.has("--trace") else told[:1])]


def matrix(stage: Stage, line: Line) -> list[str]:
    """Ask everybody for everything that is there; `--alike`: once for what is alike."""
    if line.has("--alike"):
        with stage.controller.reading() as views:
            return describe_alike(Reachability({HOST: (views, stage.controller.host)})).splitlines()
    return describe(_simulation(stage).matrix()).splitlines()


def objects(stage: Stage, _: Line) -> list[str]:
    """List the kernel objects that the log calls for."""
    controller = stage.controller
    with controller.reading() as views:
        wanted = lower_everything(views, controller.host)
    return sorted(stage.names.told(str(made)) for made in wanted.values())


def compare(stage: Stage, _: Line) -> list[str]:
    """Compare the kernel with the log."""
    return tell_comparison(stage.names, drift(stage.controller))


def tell_comparison(names: Names, comparison: Comparison) -> list[str]:
    """Write what is to be mended, or that there is nothing."""
    lost = [f"  ! the namespace of sandbox {names.of(sandbox)} is gone or another one" for sandbox in comparison.lost]
    return [AGREES] if comparison.agrees else [*tell_lines(names, comparison.lines), *lost]


def check(stage: Stage, _: Line) -> list[str]:
    """Check every invariant, of the log and of the engine."""
    found = check_everything(stage.controller)
    return [stage.names.told(str(one)) for one in found] or [HOLDS]


def show(stage: Stage, line: Line) -> list[str]:
    """List what there is, of one kind."""
    with stage.controller.reading() as views:
        return list(_LISTS[line.places[0]](stage.names, views))


def _simulation(stage: Stage) -> Simulation:
    controller: Controller = stage.controller
    with controller.reading() as views:
        return Simulation(views, controller.host)


def _networks(names: Names, views: Views) -> Iterator[str]:
    for record in views.networks.networks.values():
        network = record.event
        pools = ", ".join(map(tell_pool, network.pools)) or "no pools"
        internal = ", internal" if network.internal else ""
        source = f", from {names.of(network.config_from)}" if network.config_from else ""
        yield f"{names.of(network.network)} {network.driver}: {pools}{internal}{source}"
    for settings in views.networks.configuration_networks:
        dependents = ", ".join(map(names.of, views.dependents_of(settings)))
        yield f"{names.of(settings)} configuration-only: {dependents or 'not used'}"


def _endpoints(names: Names, views: Views) -> Iterator[str]:
    for record in views.endpoints.endpoints.values():
        endpoint = record.event
        addresses = ", ".join(f"{format_address(held.address)}/{held.prefix}" for held in endpoint.addresses)
        joined = views.joined(endpoint.endpoint)
        interface = f" as {joined.event.interface}" if joined and joined.event.interface else ""
        where = f" in {names.of(joined.event.sandbox)}{interface}" if joined else ""
        aliases = "".join(f", alias {alias}" for alias in views.aliases_of(endpoint.endpoint))
        yield f"{names.of(endpoint.endpoint)} {addresses}".rstrip() + where + aliases


def _sandboxes(names: Names, views: Views) -> Iterator[str]:
    for record in views.sandboxes.sandboxes.values():
        sandbox = record.event
        there = ", ".join(names.of(endpoint) for endpoint in views.joined_to(sandbox.sandbox)) or "empty"
        ways = ((family, views.gateway(sandbox.sandbox, family)) for family in (4, 6))
        out = "".join(f", IPv{family} out by {names.of(endpoint)}" for family, endpoint in ways if endpoint)
        yield f"{names.of(sandbox.sandbox)} {sandbox.kind}: {there}{out}"


def _addresses(names: Names, views: Views) -> Iterator[str]:
    held = views.ipam.holders.values()
    for record in sorted(held, key=lambda record: (len(record.event.address), record.event.address)):
        yield f"{format_address(record.event.address)} {names.of(record.event.owner[1])} {record.event.purpose}"


def _ports(names: Names, views: Views) -> Iterator[str]:
    for endpoint in views.endpoints.endpoints:
        for record in views.ports_of(endpoint):
            yield _port(names, views, record)
        for opened in views.opened_of(endpoint):
            held = "open" if views.joined(endpoint) is not None else "not open"
            port = opened.event
            yield f"{tell_port(port.protocol, port.address, port.port)} of {names.of(endpoint)} itself, {held}"


def _port(names: Names, views: Views, record: Recorded[PortBound]) -> str:
    port = record.event
    outer = tell_port(port.protocol, port.host_address, port.host_port)
    held = "" if views.is_published(port.endpoint, family_of(port.host_address)) else ", not published"
    return f"{outer} -> {format_host(port.address)}:{port.port} of {names.of(port.endpoint)}{held}"


_LISTS: Mapping[str, Callable[[Names, Views], Iterator[str]]] = {
    "networks": _networks,
    "endpoints": _endpoints,
    "sandboxes": _sandboxes,
    "addresses": _addresses,
    "ports": _ports,
}
