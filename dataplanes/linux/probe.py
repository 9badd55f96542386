"""What this kernel and machine can do, and who already holds a name or port that a decision is about to take.

Keeps: nothing is changed outside a throw-away namespace. Must not know: plans.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path

from ...domain.facts import (
    BASIC_FEATURES,
    CHOSEN_PORTS,
    FEATURES,
    FILTERED_LOOPBACK6,
    NOBODY,
    RESERVED_PORTS,
    Capabilities,
    HostLink,
    HostPorts,
    NamespaceIdentity,
    port_range,
    reserved_ranges,
)
from ...domain.values import IPV4_BYTES, PROTOCOLS, SandboxKind, format_address
from ..contract import Claim, Place
from .firewall import NONE, FirewallBackend
from .kernel import Kernel, look_up
from .kinds import IPVLAN, MACVLAN, VLAN, create_ipvlan, create_macvlan, create_vlan
from .localnet import answers_reach_loopback6
from .netlink import EXHAUSTED, Conversation, Message, is_passing
from .rooms import Lost, identity_of, open_room
from .rtnetlink import (
    LOOPBACK_INDEX,
    MARK,
    add_address,
    create_link,
    create_veth,
    decode_addresses,
    list_addresses,
    master,
    port_settings,
    set_link,
)
from .run import PERMISSION
from .sysctls import read_sysctl, write_sysctl

PROBE_MAC = b"\x02\x42\x00\x00\x00\x01"
PROBE_ADDRESS = b"\x7f\x75\x00\x01"
SOCKETS = {
    PROTOCOLS["tcp"]: (socket.SOCK_STREAM, ("tcp", "tcp6")),
    PROTOCOLS["udp"]: (socket.SOCK_DGRAM, ("udp", "udp6")),
    PROTOCOLS["sctp"]: (socket.SOCK_STREAM, ()),
}


OF_THE_FIREWALL = ("gateway modes", "trusted interfaces", "snat address", "loopback ipv4", "loopback ipv6")
"""What every firewall backend makes that programs anything."""
NO_FIREWALL = "the firewall is `none`, so nothing is programmed; see `netledger firewall --help`, to choose another"
OF_SOME_KERNELS = ("macvlan", "ipvlan", "vlan", "stand-in", "interface sysctls", "announcements")
"""What a kernel or container may lack without being of no use."""
assert set(FEATURES) == {*BASIC_FEATURES, *OF_THE_FIREWALL, *OF_SOME_KERNELS, "adopted bridges", "static routes"}


def capabilities(kernel: Kernel) -> Capabilities:
    """Try each thing in a throw-away namespace; raises what may be otherwise the next time."""
    missing: dict[str, str] = {}
    try:
        kernel.elsewhere(lambda: _try_everything(kernel, missing))
    except OSError as error:
        if is_passing(error):
            raise
        return nothing(error)
    return Capabilities(missing, omits_firewall=kernel.firewall.name == NONE)


def nothing(error: OSError) -> Capabilities:
    """Say why nothing at all can be made."""
    reason = PERMISSION if error.errno == errno.EPERM else f"no network namespace can be made: {error}"
    return Capabilities(dict.fromkeys(FEATURES, reason))


def identify(kernel: Kernel, path: str) -> NamespaceIdentity | None:
    """Identify the namespace at a path."""
    try:
        room = open_room(kernel, Place(SandboxKind.MANAGED, path))
    except Lost:
        return None
    try:
        return identity_of(room)
    finally:
        room.close()


def holders(kernel: Kernel, claims: Sequence[Claim]) -> Mapping[Claim, str]:
    """Name who holds each of the claims, in the host's namespace."""
    held: dict[Claim, str] = {}
    for claim in claims:
        holder = _holder_of_device(kernel, claim.device) if claim.device else _holder_of_port(kernel, claim)
        if holder:
            held[claim] = holder
    return held


def host_ports() -> HostPorts:
    """Read what is set about ports in the calling thread's namespace; what cannot be read is not said."""
    reserved = chosen_from = ""
    with contextlib.suppress(OSError):
        reserved = read_sysctl(RESERVED_PORTS)
    with contextlib.suppress(OSError):
        chosen_from = read_sysctl(CHOSEN_PORTS)
    unreached6 = "" if answers_reach_loopback6() else FILTERED_LOOPBACK6
    return HostPorts(reserved_ranges(reserved), unreached6, port_range(chosen_from))


def links(kernel: Kernel, names: Sequence[str]) -> Mapping[str, HostLink]:
    """Tell which of these interfaces are in the host's namespace, and what they are."""
    found = ((name, kernel.link(name)) for name in dict.fromkeys(names))
    return {name: HostLink(link.kind, kernel.marks.owns(link)) for name, link in found if link is not None}


def _try_everything(kernel: Kernel, missing: dict[str, str]) -> None:
    conversation = Conversation()
    try:
        _try_links(conversation, missing)
        _try_parents(conversation, missing)
        marked = add_address(LOOPBACK_INDEX, PROBE_ADDRESS, 32)
        entries = [] if conversation.exchange([marked]).failures else conversation.dump(list_addresses())
        if not any(entry.protocol == MARK for entry in decode_addresses(entries)):
            missing["address marks"] = "the kernel keeps no protocol on addresses (IFA_PROTO); Linux 5.18 does"
    finally:
        conversation.close()
    _try_settings(missing)
    _try_announcing(missing)
    if not Path("/proc/thread-self/net/if_inet6").exists():
        missing["ipv6"] = "the kernel has no IPv6; start it without ipv6.disable=1"
        missing["loopback ipv6"] = missing["ipv6"]
    if kernel.firewall.name == NONE:
        missing.update(dict.fromkeys(("published ports", "internal networks", *OF_THE_FIREWALL), NO_FIREWALL))
    _try_firewall(kernel.firewall, missing)


def _try_links(conversation: Conversation, missing: dict[str, str]) -> None:
    def ask(feature: str, message: Message, remedy: str) -> bool:
        failure = conversation.exchange([message]).failures.get(0)
        if failure is not None and failure.number in EXHAUSTED:
            raise OSError(failure.number, f"{feature}: {failure}")
        if failure is not None:
            missing[feature] = f"the kernel answers {failure}; {remedy}"
        return failure is None

    module = "load the module or use a kernel built with it: modprobe {}"
    has_bridge = ask("bridge", create_link("bridge0", "bridge"), module.format("bridge"))
    has_veth = ask("veth", create_veth("veth0", "veth1", PROBE_MAC, 0, 0, 0, None), module.format("veth"))
    bridge = look_up(conversation, "bridge0")
    if not (has_bridge and has_veth and bridge is not None):
        missing["port isolation"] = "it could not be tried without bridge and veth"
        return
    ask("port isolation", set_link(name="veth0", attributes=master(bridge.index)), "")
    ask("port isolation", set_link(name="veth0", attributes=port_settings(isolated=True)), "Linux 4.18 has it")


def _try_parents(conversation: Conversation, missing: dict[str, str]) -> None:
    """Try what stands on a parent, each on one end of a veth pair: a link carries macvlan or ipvlan, not both."""
    if "veth" in missing:
        missing["stand-in"] = f"neither dummy nor veth is to be had: {missing['veth']}"
        missing.update(dict.fromkeys((MACVLAN, IPVLAN, VLAN), "it could not be tried without veth"))
        return
    conversation.exchange([create_veth("veth2", "veth3", PROBE_MAC, 0, 0, 0, None)])
    ends = [look_up(conversation, name) for name in ("veth2", "veth3")]
    first, second = (end.index if end is not None else 0 for end in ends)
    tries = {
        MACVLAN: create_macvlan("macvlan0", PROBE_MAC[:-1] + b"\2", "bridge", first, 0, None),
        IPVLAN: create_ipvlan("ipvlan0", "l2", "bridge", second, 0, None),
        VLAN: create_vlan("vlan0", 1, second, 0),
    }
    for feature, message in tries.items():
        failure = conversation.exchange([message]).failures.get(0)
        if failure is not None and failure.number in EXHAUSTED:
            raise OSError(failure.number, f"{feature}: {failure}")
        if failure is not None:
            module = "8021q" if feature == VLAN else feature
            missing[feature] = (
                f"the kernel answers {failure}; load the module or use a kernel built with it: modprobe {module}"
            )


def _try_settings(missing: dict[str, str]) -> None:
    name = "net.ipv4.conf.lo.forwarding"
    try:
        write_sysctl(name, "0" if read_sysctl(name) == "1" else "1")  # of the throw-away namespace
    except OSError as error:
        missing["interface sysctls"] = f"/proc/sys/net cannot be written here: {error.strerror}"


def _try_announcing(missing: dict[str, str]) -> None:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0).close()
    except OSError as error:
        if is_passing(error):
            raise
        missing["announcements"] = f"no packet socket can be opened: {error.strerror} (CAP_NET_RAW, module af_packet)"


def _try_firewall(firewall: FirewallBackend, missing: dict[str, str]) -> None:
    try:
        firewall.try_out()
    except OSError as error:
        if is_passing(error):
            raise
        if error.errno is None:  # a library that is not there; it says so
            missing["firewall"] = f"{firewall.name}: {error}"
        else:
            missing["firewall"] = f"{firewall.name}: {error.strerror}; {firewall.needs}"


def _holder_of_device(kernel: Kernel, name: str) -> str:
    link = kernel.link(name)
    if link is None or kernel.marks.owns(link):
        return ""
    return f"a {link.kind} link (index {link.index})" if link.kind else f"a link (index {link.index})"


def _holder_of_port(kernel: Kernel, claim: Claim) -> str:
    if claim in kernel.ports:
        return ""
    if not kernel.ports.room:
        return f"{NOBODY}this process holds {len(kernel.ports)} ports and may open no more descriptors; see `ulimit -n`"
    return _try_port(claim)


def _try_port(claim: Claim) -> str:
    """Try to bind the port, as the kernel's own answer to whether it is taken.

    TCP with SO_REUSEADDR: it still collides with who listens, and no longer with connections that linger.
    """
    is_ipv4 = len(claim.host_address) == IPV4_BYTES
    kind, tables = SOCKETS[claim.protocol]
    number = claim.protocol if not tables else 0
    try:
        with socket.socket(socket.AF_INET if is_ipv4 else socket.AF_INET6, kind, number) as probe:
            if not is_ipv4:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if claim.protocol == PROTOCOLS["tcp"]:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((format_address(claim.host_address), claim.host_port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return describe_holder(claim)
        if error.errno == errno.EADDRNOTAVAIL:
            missing = format_address(claim.host_address)
            return f"{NOBODY}this host has no address {missing}; publish at one that it has, or at all of them"
    return ""


def describe_holder(claim: Claim) -> str:
    """Say which process has a port of this namespace."""
    tables = SOCKETS[claim.protocol][1]
    inodes = {f"socket:[{inode}]" for table in tables for inode in _inodes(table, claim.host_port)}
    for process in _processes():
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            if any(_leads_to(descriptor, inodes) for descriptor in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return "a process that cannot be seen from here"


def _leads_to(descriptor: Path, inodes: Container[str]) -> bool:
    try:
        return str(descriptor.readlink()) in inodes
    except FileNotFoundError:
        return False  # closed meanwhile, as the one is by which this process lists its own


def _inodes(table: str, port: int) -> Iterator[str]:
    try:
        lines = Path("/proc/thread-self/net", table).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
            yield fields[9]


def _processes() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
