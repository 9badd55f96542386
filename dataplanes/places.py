"""Where sandboxes are, and where the interfaces of pending events were: what has to be known to take them away.

Keeps: an interface is remembered with the namespace that its sandbox had when it was called for; no sandbox's place is
forgotten while something of it is owed.
Knows nothing of: plans, how anything is removed.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..domain.events import Event, SandboxCreated
from ..domain.objects import HOST_NAMESPACE, Ipvlan, KernelObject, Key, Macvlan
from ..domain.values import EndpointId, SandboxId
from ..projections.desired import Objects
from ..projections.views import Views
from .contract import HERE, Dataplane, Place
from .plan import Parented, Stray


class Whereabouts:
    """Places of sandboxes, also of those that have ended, and of macvlan and ipvlan interfaces."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._places: dict[SandboxId, Place] = {}
        self._were: dict[Stray, None] = {}
        """Where the interfaces are, or may be, that pending entities called for; in the order in which they did."""
        self._saved: dict[Stray, None] = {}

    def note(self, event: Event, called_for: Iterable[KernelObject]) -> None:
        """Take notice of an event that is about to be folded, and of what its entities called for until now."""
        for made in called_for:
            if isinstance(made, Macvlan | Ipvlan):
                self._remember_interface(made)
        for kind, identity in event.touched():
            self._remember_place(kind, identity)

    def begin(self) -> None:
        """Mark where a speculative fold begins."""
        self._saved = dict(self._were)

    def undo(self) -> None:
        """Forget which interfaces were noted since `begin`."""
        self._were = self._saved

    def start_over(self, views: Views) -> None:
        """Go on with other views."""
        self._views = views
        self._were = {}

    def forget_interfaces(self) -> None:
        """Forget where interfaces were: nothing is pending any more."""
        self._were = {}

    def forget_places(self) -> None:
        """Forget where sandboxes were."""
        self._places = {}

    def place_now(self, sandbox: SandboxId) -> Place | None:
        """Say where a sandbox is, or was last."""
        return place_of(self._views, sandbox) or self._places.get(sandbox)

    def is_at(self, made: Parented, place: Place, wanted: Parented) -> bool:
        """Whether an interface at `place` is where another one is wanted: of that name, in its sandbox's namespace."""
        now = HERE if wanted.sandbox == HOST_NAMESPACE else self.place_now(wanted.sandbox)
        return (now is None or now.namespace == place.namespace) and made.name == wanted.name

    def strays(self, there: Objects, wanted: Objects) -> dict[Stray, None]:
        """List the interfaces that pending entities had, or may have, where neither `there` nor `wanted` has them.

        A macvlan or ipvlan interface is only to be found by its namespace, which is a sandbox's no more when that was
        deleted and created again, and it is the same in every other one.
        """
        found: dict[Stray, None] = {}
        for made, place in self._were:
            after = wanted.get(made.key)
            is_known = there.get(made.key) == made and self.is_at(made, place, made)
            is_wanted = isinstance(after, Macvlan | Ipvlan) and self.is_at(made, place, after)
            if not is_known and not is_wanted:
                found[made, place] = None
        return found

    def leave_behind(self, there: dict[Key, KernelObject], strays: Iterable[Stray]) -> None:
        """Take out of `there` what is not at its sandbox's place, with what is on it."""
        behind = {(made.sandbox, made.name) for made, place in strays if not self.is_at(made, place, made)}
        for key, made in list(there.items()) if behind else ():
            device = made.name if isinstance(made, Macvlan | Ipvlan) else getattr(made, "device", "")
            if (getattr(made, "sandbox", HOST_NAMESPACE), device) in behind:
                del there[key]

    def _remember_interface(self, made: Parented) -> None:
        """Keep where an interface is."""
        place = HERE if made.sandbox == HOST_NAMESPACE else place_of(self._views, made.sandbox)
        assert place is not None, "an interface's sandbox is there"
        self._were[made, place] = None

    def _remember_place(self, kind: str, identity: str) -> None:
        """Keep where a sandbox is, also when the events to come end it."""
        if kind == "sandbox":
            self._keep(SandboxId(identity))
        elif kind == "endpoint":
            joined = self._views.joined(EndpointId(identity))
            if joined is not None:
                self._keep(joined.event.sandbox)

    def _keep(self, sandbox: SandboxId) -> None:
        place = place_of(self._views, sandbox)
        if place is not None:
            self._places[sandbox] = place


def look_for(dataplane: Dataplane, strays: Iterable[Stray]) -> list[Stray]:
    """Keep the strays that are there; a look is at one namespace of a sandbox, for one interface of an endpoint."""
    seen: list[Stray] = []
    left = list(strays)
    while left:
        places: dict[SandboxId, Place] = {}
        looked_for: dict[Key, Stray] = {}
        rest: list[Stray] = []
        for made, place in left:
            if made.key in looked_for or places.setdefault(made.sandbox, place) != place:
                rest.append((made, place))
            else:
                looked_for[made.key] = (made, place)
        found = dataplane.observe(places).objects
        seen += [stray for key, stray in looked_for.items() if _is_in(found.get(key), stray[0].sandbox)]
        left = rest
    return seen


def place_of(views: Views, sandbox: SandboxId) -> Place | None:
    """Say where a sandbox's namespace is; None for one that is not there."""
    record = views.sandbox(sandbox)
    return as_place(record.event) if record else None


def as_place(event: SandboxCreated) -> Place:
    """Say where a sandbox's namespace is, and its files."""
    files = event.resolution
    paths = (files.hosts_path, files.resolv_conf_path) if files is not None else ()
    return Place(event.kind, event.path, event.identity, paths)


def _is_in(found: KernelObject | None, sandbox: SandboxId) -> bool:
    return isinstance(found, Macvlan | Ipvlan) and found.sandbox == sandbox
