"""Plug-ins: what other distributions bring, found by its name in their entry points when somebody asks for it.

Keeps: nothing is looked for before a name is asked for that netledger does not have itself, so that a name of ours is
never theirs; what cannot be loaded is a refusal that names its distribution.
Knows nothing of: what a driver or a dataplane does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ..dataplanes.contract import Dataplane, Instance
from ..domain.drivers import NetworkDriver
from ..domain.errors import Invalid
from ..domain.ipam.driver import IpamDriver

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

NETWORK_DRIVERS = "netledger.drivers"
"""The group of network drivers: each entry point is a class, or a function, that makes one without arguments."""

DATAPLANES = "netledger.dataplanes"
"""The group of dataplanes: each entry point is called with `Instance` and the path of the host's namespace, or None."""

IPAM_DRIVERS = "netledger.ipam"
"""The group of IPAM drivers: each entry point is a class, or a function, that makes one without arguments."""

T = TypeVar("T", NetworkDriver, Dataplane, IpamDriver)


def network_driver(name: str) -> NetworkDriver | None:
    """Make a network driver of another distribution; None where nobody has it."""
    asked = f"use network driver {name!r}"
    point = _find(NETWORK_DRIVERS, name, asked)
    if point is None:
        return None
    return _made(point, asked, NetworkDriver)  # type: ignore[type-abstract]  # for its members


def ipam_driver(name: str) -> IpamDriver | None:
    """Make an IPAM driver of another distribution; None where nobody has it."""
    asked = f"use IPAM driver {name!r}"
    point = _find(IPAM_DRIVERS, name, asked)
    if point is None:
        return None
    return _made(point, asked, IpamDriver)  # type: ignore[type-abstract]  # for its members


def ipam_drivers() -> dict[str, str]:
    """List the IPAM drivers of other distributions: each name, and where it is from; none of them is loaded."""
    from importlib.metadata import entry_points  # reads every distribution's

    return {point.name: _origin(point) for point in entry_points(group=IPAM_DRIVERS)}


def has_dataplane(name: str) -> bool:
    """Whether another distribution has a dataplane of this name."""
    return _find(DATAPLANES, name, f"use dataplane {name!r}") is not None


def make_plugged_dataplane(name: str, instance: Instance, namespace: str | None) -> Dataplane | None:
    """Make a dataplane of another distribution; None where nobody has it."""
    asked = f"use dataplane {name!r}"
    point = _find(DATAPLANES, name, asked)
    if point is None:
        return None
    return _made(point, asked, Dataplane, instance, namespace)  # type: ignore[type-abstract]  # for its members


def _find(group: str, name: str, asked: str) -> EntryPoint | None:
    """Find the one entry point of a name; several distributions may not have the same."""
    from importlib.metadata import entry_points  # reads every distribution's: only where a name is not ours

    found = {(_origin(point), point.value): point for point in entry_points(group=group, name=name)}
    if len(found) > 1:
        names = ", ".join(sorted(origin for origin, _ in found))
        raise Invalid(asked, f"several distributions have one of that name: {names}", "remove all but one of them")
    return next(iter(found.values()), None)


def _made(point: EntryPoint, asked: str, kind: type[T], *arguments: object) -> T:
    """Load an entry point and call it; whatever hinders that is the distribution's fault, not a bug of ours."""
    try:
        made = point.load()(*arguments)
    except Exception as error:  # whatever somebody else's code may raise
        raise Invalid(
            asked, f"{_origin(point)} cannot be loaded: {type(error).__name__}: {error}", "mend it, or remove it"
        ) from error
    members = {name for each in kind.__mro__[:-1] for name in vars(each) if not name.startswith("_")}
    lacking = sorted(name for name in members if not hasattr(made, name))
    if isinstance(made, type) or lacking:
        what = f"it lacks {', '.join(lacking)}" if lacking else "it makes a class"
        raise Invalid(asked, f"{_origin(point)} is no {kind.__name__}: {what}", "mend it, or remove it")
    if made.name != point.name:
        raise Invalid(asked, f"{_origin(point)} calls it {made.name!r}", "mend it: the names must agree")
    return made  # type: ignore[no-any-return]  # whatever was loaded, with all that the seam asks for


def _origin(point: EntryPoint) -> str:
    where = f"distribution {point.dist.name} {point.dist.version}" if point.dist is not None else "a distribution"
    return f"{where} ({point.value})"
