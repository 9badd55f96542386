"""The kernel's truth about what is ours, as the objects that were asked for.

Keeps: what was made and left alone reads back equal to what was asked for; what somebody altered reads back different,
and what bears no mark of ours not at all. Must not know: the log, what is wanted.

Sandboxes are opened one at a time and not kept: an open socket would keep a namespace alive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence

from ...domain.objects import (
    Address,
    Bridge,
    File,
    Firewall,
    ForwardPolicy,
    KernelObject,
    Key,
    Namespace,
    Route,
    Sysctl,
    VethPair,
)
from ...domain.values import IPV4_BYTES, EndpointId, NetworkId, SandboxId, SandboxKind
from ..contract import Observation, Place
from .files import read_file
from .firewall import NONE
from .kernel import Kernel
from .lifting import lift_parented_here, lift_parents
from .localnet import left_open, routed
from .marks import EndpointMark, Marks
from .netlink import Conversation, is_passing
from .rooms import Lost, open_room
from .rtnetlink import (
    LOOPBACK_INDEX,
    MARK,
    Link,
    decode_addresses,
    decode_links,
    decode_routes,
    list_addresses,
    list_links,
    list_routes,
)
from .run import HOST
from .settings import read_settings
from .sysctls import read_sysctl

DEFAULT_MTU = 1500
_UNMARKED = EndpointMark(EndpointId(""))
CONTRADICTORY = -1
"""An MTU that nobody asks for: the thing is not as any of ours is (down, or its two ends differ)."""

FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
LINK_LOCAL = b"\xfe\x80" + bytes(6)


def observe(kernel: Kernel, places: Mapping[SandboxId, Place]) -> Observation:
    """Read back everything of ours in the host's namespace and in those of the sandboxes."""
    links = decode_links(kernel.links.dump(list_links()))
    hosts = {link.index: link for link in links if link.kind == "veth" and _is_live(kernel.marks, link)}
    names = {link.index: link.name for link in links}
    objects: list[KernelObject] = []
    lost: set[SandboxId] = set()

    bridges = [link for link in links if link.kind == "bridge" and kernel.marks.owns(link)]
    objects += [bridge_of(kernel.marks, link) for link in bridges]
    objects += lift_parents(kernel.marks, links)
    programmed: Iterable[KernelObject] = ()
    try:
        found = kernel.firewall.observe()
        objects += [Firewall()] if found.is_whole else []
        programmed = found.objects
        objects += routed(kernel.links, names, programmed, reaches_loopback6=found.reaches_loopback6)
    except OSError as error:  # nothing to look with, so none of ours can be there
        if is_passing(error):
            raise
    adopted = _adopted(kernel, links, programmed)
    objects += [Bridge(link.name, NetworkId(""), b"", 0, adopted=True) for link in adopted]
    if kernel.firewall.name == NONE:  # nothing guards the host's loopback then, so none is to be routed
        objects += left_open(kernel.links, {link.index: link.name for link in (*bridges, *adopted)})
    configured = list(_configured(kernel.links, HOST, {link.index: link.name for link in (*bridges, *adopted)}))
    objects += configured
    settings = {name for place in places.values() for name in place.settings} if bridges or adopted else set[str]()
    objects += _sysctls(kernel, settings, {len(thing.address) for thing in configured if isinstance(thing, Address)})

    edited: set[Key] = set()
    for sandbox, place in places.items():
        for path in place.files:
            file, is_edited = read_file(sandbox, path)
            objects += [file] if file is not None else []
            edited |= {File(sandbox, path, "").key} if is_edited else set()
        if not place.path:
            continue
        try:
            objects += _sandbox(kernel, sandbox, place, hosts, names)
        except Lost:
            if place.kind is not SandboxKind.MANAGED:
                lost.add(sandbox)
    here = {link.index: link for link in links}
    unclaimed = hosts.values()
    objects += [pair_of(kernel.marks, host, names, _here(host, here), HOST) for host in unclaimed]
    objects += [thing for _, thing in lift_parented_here(kernel.marks, links, names, HOST)]
    dying = frozenset(Key(f"veth/{link.name}") for link in links if link.group == kernel.marks.trash)
    return Observation({thing.key: thing for thing in objects}, dying, frozenset(lost), frozenset(edited))


def _adopted(kernel: Kernel, links: Sequence[Link], programmed: Iterable[KernelObject]) -> list[Link]:
    """List the bridges of others that are networks of ours: as our table's policy says, or ports of ours in them.

    The mark on an address does not say so: it is every instance's.
    """
    told = {thing.bridge for thing in programmed if isinstance(thing, ForwardPolicy)}
    ports = {link.master for link in links if link.kind == "veth" and _is_live(kernel.marks, link)}
    foreign = [link for link in links if link.kind == "bridge" and not kernel.marks.owns(link)]
    kernel.adopted |= {link.name for link in foreign if link.name in told or link.index in ports}
    kernel.adopted &= {link.name for link in foreign}
    return [link for link in foreign if link.name in kernel.adopted]


def bridge_of(marks: Marks, link: Link) -> Bridge:
    """Lift a link to a bridge; one that is down reads back unlike any that is wanted."""
    mtu = _mtu(link) if link.is_up and link.group == marks.live else CONTRADICTORY
    return Bridge(link.name, marks.read_network(link.alias) or NetworkId(""), link.mac, mtu)


def pair_of(marks: Marks, host: Link, names: Mapping[int, str], container: Link | None, sandbox: SandboxId) -> VethPair:
    """Lift a veth's two ends to a pair; `container` None when it was found nowhere.

    A port that is not in hairpin mode reads back unlike any that is wanted.
    """
    mtu = _mtu(host) if host.is_hairpin else CONTRADICTORY
    mark = marks.read_endpoint(host.alias)
    endpoint = mark.endpoint if mark else EndpointId("")
    bridge = names.get(host.master, "") if host.is_up else ""
    if mark is not None and mark.delegation is not None:
        name, mac = mark.delegation.name, mark.delegation.mac
        if container is not None and sandbox == HOST:
            name, mac = container.name, container.mac
        return VethPair(host.name, endpoint, bridge, HOST, name, mac, mtu, host.is_isolated, up=False)
    if container is None:
        return VethPair(host.name, endpoint, bridge, HOST, "", b"", mtu, host.is_isolated, up=False)
    other = marks.read_endpoint(container.alias)
    return VethPair(
        host.name,
        endpoint,
        bridge,
        sandbox,
        container.name,
        container.mac,
        mtu if host.mtu == container.mtu else CONTRADICTORY,
        host.is_isolated,
        up=container.is_up and other is not None and other.endpoint == endpoint,
    )


def find_container_end(marks: Marks, host: Link, links: Iterable[Link]) -> Link | None:
    """Find a host end's other end in a namespace: each names the other's index, and the mark is no other owner's."""
    own = marks.read_endpoint(host.alias)
    for link in links:
        if link.kind == "veth" and link.peer == host.index and host.peer == link.index:
            mark = marks.read_endpoint(link.alias)
            if not link.alias or (mark is not None and (own is None or own.endpoint == mark.endpoint)):
                return link
    return None


def _is_live(marks: Marks, link: Link) -> bool:
    """Whether a veth end is an endpoint's, and not parked."""
    return link.group == marks.live and marks.read_stand_in(link.alias) is None and not marks.is_far_end(link.alias)


def _here(host: Link, here: Mapping[int, Link]) -> Link | None:
    if host.peer_namespace != -1:
        return None
    found = here.get(host.peer)
    return found if found is not None and found.peer == host.index else None


def _mtu(link: Link) -> int:
    return 0 if link.mtu == DEFAULT_MTU else link.mtu


def _sandbox(
    kernel: Kernel, sandbox: SandboxId, place: Place, hosts: dict[int, Link], names: Mapping[int, str]
) -> list[KernelObject]:
    """Read one sandbox's namespace; what it claims of the host ends is taken out of `hosts`."""
    room = open_room(kernel, place)
    try:
        objects: list[KernelObject] = []
        links = decode_links(room.conversation.dump(list_links()))
        if place.kind is SandboxKind.MANAGED and any(link.index == LOOPBACK_INDEX and link.is_up for link in links):
            objects.append(Namespace(sandbox, place.path))
        devices: dict[int, str] = {}
        marked: dict[str, EndpointMark] = {}
        for link in links:
            host = hosts.get(link.peer) if link.kind == "veth" else None
            if host is None or find_container_end(kernel.marks, host, (link,)) is None:
                continue
            del hosts[host.index]
            objects.append(pair_of(kernel.marks, host, names, link, sandbox))
            devices[link.index] = link.name
            marked[link.name] = kernel.marks.read_endpoint(link.alias) or _UNMARKED
        for link, thing in lift_parented_here(kernel.marks, links, names, sandbox):
            objects.append(thing)
            devices[link.index] = link.name
            marked[link.name] = kernel.marks.read_endpoint(link.alias) or _UNMARKED
        if place.kind is not SandboxKind.DELEGATED:
            objects += read_settings(kernel, room, sandbox, marked)
            objects += _configured(room.conversation, sandbox, devices)
        return objects
    finally:
        room.close()


def _configured(
    conversation: Conversation, sandbox: SandboxId, devices: Mapping[int, str]
) -> Sequence[Address | Route]:
    """Read our addresses and routes on some devices.

    An IPv6 address in a sandbox counts only beside the link-local one that its making implies.
    """
    if not devices:
        return []
    entries = [entry for entry in decode_addresses(conversation.dump(list_addresses())) if entry.index in devices]
    linked = {entry.index for entry in entries if entry.address.startswith(LINK_LOCAL)}
    addresses = [
        Address(sandbox, devices[entry.index], entry.address, entry.prefix)
        for entry in entries
        if entry.protocol == MARK and (sandbox == HOST or len(entry.address) == IPV4_BYTES or entry.index in linked)
    ]
    routes = [
        Route(sandbox, devices[route.index], route.destination, route.gateway)
        for route in decode_routes(conversation.dump(list_routes(0)))
        if route.protocol == MARK and route.index in devices
    ]
    return [*addresses, *routes]


def _sysctls(kernel: Kernel, settings: set[str], widths: set[int]) -> list[Sysctl]:
    """Read forwarding where a bridge of ours calls for it, these settings, and what this process was asked to set."""
    asked = kernel.asked_sysctls | settings
    asked |= {FORWARDING[4 if width == IPV4_BYTES else 6] for width in widths}
    found: list[Sysctl] = []
    for name in sorted(asked):
        with contextlib.suppress(OSError):
            found.append(Sysctl(HOST, name, read_sysctl(name)))
    return found
