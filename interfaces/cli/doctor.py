"""`netledger doctor`: what this kernel, machine and state directory offer, what is missing, and what to do about it.

Keeps: nothing is changed; it works without root, without libnftables and without a log. Must not know: how a feature is
probed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ...domain.errors import NetledgerError
from . import machine
from .exits import DONE, UNAVAILABLE, exit_of, lacks_permission
from .options import HERE, THIS_HOST, Host, Log, plugin_directories
from .printing import clean, console, document

if TYPE_CHECKING:
    from ...engine.firewalls import FirewallState

OK, NOTE, MISSING = "ok", "note", "missing"
STYLES = {OK: "green", NOTE: "yellow", MISSING: "bold red"}

NAMESPACE_FEATURE = "namespace"
DEFAULT_DRIVER = "bridge"
"""What its networks need is needed; what only other drivers need, like the module of ipvlan, is a note."""

NO_INSTANCE = "00000000"
OPEN_FILES_ENOUGH = 4096
"""A rebuild holds a few descriptors for each sandbox of its batch."""


class Finding(NamedTuple):
    """A thing that was looked at: `ok`, `note` (worth knowing), `missing` (needed), what was found, and what to do."""

    area: str
    name: str
    state: str
    found: str
    remedy: str = ""


Check: TypeAlias = Callable[[Log, Host], Iterator[Finding]]


def doctor(*, log: Log = HERE, host: Host = THIS_HOST) -> int:
    """Tell what this machine offers, what is missing and what to do; changes nothing.

    Status 9 when something is missing that netledger needs.
    """
    checks: tuple[Check, ...] = (_machine, _state, _features, _firewalls, _limits, _settings, _plugins)
    findings = [finding for check in checks for finding in check(log, host)]
    needed = [finding for finding in findings if finding.state == MISSING]
    if log.json:
        document({"ok": not needed, "findings": [finding._asdict() for finding in findings]})
    else:
        _print(findings)
        print(f"\n{len(needed)} thing(s) missing" if needed else "\neverything needed is there")
    return (UNAVAILABLE if needed else DONE).status


def _machine(_: Log, host: Host) -> Iterator[Finding]:
    yield Finding("machine", "kernel", OK, machine.kernel())
    if host.dataplane_name != "linux":
        yield Finding("machine", "user", OK, machine.user())
        return
    lacking = machine.missing_privileges()
    if lacking:
        found = f"{machine.user()} without {' and '.join(lacking)}"
        remedy = "run as root, or under `unshare -Urnm` in a namespace of your own, with --state and a directory"
        yield Finding("machine", "user", NOTE, found, remedy)
    else:
        yield Finding("machine", "user", OK, f"{machine.user()} with {' and '.join(machine.CAPABILITY_BITS)}")
    version = machine.nft_version()
    yield Finding("machine", "nft tool", OK if version else NOTE, version or "not found", "" if version else "optional")


def _state(log: Log, _: Host) -> Iterator[Finding]:
    from ...ledger.ledger import Ledger
    from ...ledger.state import LOCK_NAME, StateDirectory, holder

    path = log.directory
    try:
        if not path.exists():
            yield Finding("state", "directory", OK, f"{path} is not there yet; the first change makes it")
            return
        state = StateDirectory.open(path, create=False)
        yield Finding("state", "directory", OK, str(path))
        is_locked = machine.is_locked(path / LOCK_NAME)
        whose = {True: holder(path / LOCK_NAME), False: "free", None: "not known: it cannot be looked into"}[is_locked]
        yield Finding("state", "lock", NOTE if is_locked else OK, whose)
        if is_locked is False:
            advice = "keep `netledger watch`, or a program with an open Controller, running"
            yield Finding("state", "published ports", NOTE, "not held: only the log keeps them for us", advice)
        if not state.ledger.exists():
            yield Finding("state", "log", OK, "not there yet; the first change makes it")
            return
        with Ledger.open(state.ledger, read_only=True, create=False) as ledger:
            if ledger.damage is None:
                size = ledger.stat().bytes
                yield Finding("state", "log", OK, f"id {ledger.id}, {ledger.head} events, {size} bytes")
            else:
                yield Finding("state", "log", MISSING, ledger.damage, "see `netledger log verify`")
    except (NetledgerError, OSError) as error:
        yield Finding("state", exit_of(error).kind, MISSING, str(error))


def _features(log: Log, host: Host) -> Iterator[Finding]:
    if host.dataplane_name != "linux":
        return
    from ...dataplanes.contract import Instance
    from ...dataplanes.linux import LinuxDataplane
    from ...dataplanes.linux.run import PERMISSION
    from ...domain.drivers import DRIVERS
    from ...domain.drivers.bridge import LOOPBACK_FEATURES
    from ...domain.facts import FEATURES

    needed = {NAMESPACE_FEATURE, *DRIVERS[DEFAULT_DRIVER].needs}
    unreached = ""
    try:
        chosen = _chosen_firewall(log)
        backend = chosen.backend if chosen is not None else _first_firewall(host)[0]
        dataplane = LinuxDataplane(Instance(NO_INSTANCE), host.namespace_path, firewall=backend)
        try:
            missing = dataplane.capabilities().missing
            unreached = dataplane.host_ports().unreached6
        finally:
            dataplane.close()
    except Exception as error:  # noqa: BLE001  # whatever ails the machine is what is to be told
        missing = dict.fromkeys(FEATURES, PERMISSION if lacks_permission(error) else str(error))
    for feature in FEATURES:
        why = missing.get(feature)
        state = OK if why is None else MISSING if feature in needed else NOTE
        reason, _, remedy = (why or "").partition("; ")
        if feature == LOOPBACK_FEATURES[6] and why is None and unreached:
            state, (reason, _, remedy) = NOTE, unreached.partition("; ")
        yield Finding("kernel", feature, state, reason or "works", remedy)


def _firewalls(log: Log, host: Host) -> Iterator[Finding]:
    """Tell which firewall is chosen and why, and what the others lack."""
    from ...domain.firewalls import FIREWALLS

    if host.dataplane_name != "linux":
        return
    try:
        chosen = _chosen_firewall(log)
    except NetledgerError as error:
        yield Finding("firewall", "chosen", MISSING, str(error))
        return
    if chosen is None:
        first, why = _first_firewall(host)
        yield Finding("firewall", "chosen", OK, f"none yet; the first change takes {first} ({why})")
    else:
        yield Finding("firewall", "chosen", OK, f"{chosen.backend} ({chosen.why}), since position {chosen.position}")
        for name in chosen.retiring:
            yield Finding("firewall", "until now", NOTE, name, "the next change takes its rules away")
    for name in FIREWALLS:
        reason, _, remedy = (_firewall_lacks(name, host) or "").partition("; ")
        found = reason or (machine.loaded_library("libnftables") if name == "nftables" else None) or "works"
        yield Finding("firewall", name, NOTE if reason else OK, found, remedy)


def _chosen_firewall(log: Log) -> FirewallState | None:
    """Read from the log which firewall the host has."""
    from ...ledger.state import LEDGER_NAME
    from .session import reading

    if not (log.directory / LEDGER_NAME).exists():
        return None
    with reading(log) as controller:
        return controller.firewall.state()


def _first_firewall(host: Host) -> tuple[str, str]:
    """Say which firewall a new host would get, and why."""
    from ...domain.firewalls import AUTOMATIC

    passed: list[str] = []
    for name in AUTOMATIC:
        lack = _firewall_lacks(name, host)
        if lack is None:
            return name, "; ".join(("the first that works", *passed))
        passed.append(f"not {name}: {lack}")
    return AUTOMATIC[0], "; ".join(("none works", *passed))


def _firewall_lacks(name: str, host: Host) -> str | None:
    """Say why a firewall cannot be used on this host; None when it can."""
    from contextlib import closing

    from ...dataplanes.contract import Instance
    from ...dataplanes.linux import LinuxDataplane

    try:
        with closing(LinuxDataplane(Instance(NO_INSTANCE), host.namespace_path, firewall=name)) as dataplane:
            return dataplane.capabilities().lacks("firewall")
    except Exception as error:  # noqa: BLE001  # whatever ails the machine is what is to be told
        return str(error)


def _limits(_: Log, host: Host) -> Iterator[Finding]:
    from ...domain.drivers.bridge import PORT_LIMIT_OF_A_BRIDGE

    if host.dataplane_name != "linux":
        return
    yield Finding("limits", "endpoints a bridge", OK, f"{PORT_LIMIT_OF_A_BRIDGE}, the kernel's own limit")
    soft, hard = machine.open_files()
    is_enough = soft < 0 or soft >= OPEN_FILES_ENOUGH
    remedy = "" if is_enough else f"`ulimit -n {OPEN_FILES_ENOUGH}` before thousands of endpoints"
    yield Finding("limits", "open files", OK if is_enough else NOTE, f"{soft} (hard limit {hard})", remedy)


def _settings(_: Log, host: Host) -> Iterator[Finding]:
    if host.dataplane_name != "linux":
        return
    where = "" if host.namespace is None else " (in this process's namespace, not the host's)"
    for name, values, remedy in (
        ("net.ipv4.ip_forward", {}, ""),  # the first network turns it on
        ("net.ipv6.conf.all.forwarding", {}, ""),
        ("net.bridge.bridge-nf-call-iptables", {"0": OK, "1": NOTE}, "frames between endpoints pass iptables, too"),
        ("net.bridge.bridge-nf-call-ip6tables", {"0": OK, "1": NOTE}, "frames between endpoints pass ip6tables, too"),
        ("user.max_net_namespaces", {"0": NOTE}, "no namespace can be made: raise it"),
        ("user.max_user_namespaces", {"0": NOTE}, "ordinary users cannot run it in namespaces of their own"),
        ("kernel.unprivileged_userns_clone", {"0": NOTE}, "ordinary users cannot run it in namespaces of their own"),
    ):
        value = machine.setting(name)
        if value is not None:
            state = values.get(value, OK)
            yield Finding("settings", name, state, f"{value}{where}", remedy if state == NOTE else "")


def _plugins(_: Log, __: Host) -> Iterator[Finding]:
    """Load the IPAM drivers of this process, and shake hands with every plugin that is where Docker looks for it."""
    from ...domain.errors import Refusal
    from ...engine.plugins import ipam_driver, ipam_drivers
    from ...engine.remote import Limits, Transport, addresses, implemented

    for name, origin in sorted(ipam_drivers().items()):
        try:
            ipam_driver(name)
            yield Finding("plugins", name, OK, f"{origin} implements IpamDriver, in this process")
        except Refusal as error:
            yield Finding("plugins", name, NOTE, error.because, error.remedy)

    for name, where in addresses(plugin_directories()):
        if isinstance(where, str):
            yield Finding("plugins", name, NOTE, where)
            continue
        try:
            implements = ", ".join(implemented(Transport(name, where, Limits(1.0, 2.0, 2.0, attempts=1))))
            yield Finding("plugins", name, OK, f"{where} implements {implements or 'nothing'}")
        except Refusal as error:
            yield Finding("plugins", name, NOTE, f"{where}: {error.because}", error.remedy)


def _print(findings: list[Finding]) -> None:
    from rich.text import Text

    out = console()
    width = max(len(finding.name) for finding in findings)
    area = ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            out.print(Text(area, "bold"))
        line = Text.assemble(
            "  ", (f"{finding.state:<7}", STYLES[finding.state]), f"  {finding.name:<{width}}  {clean(finding.found)}"
        )
        if finding.remedy:
            line.append(f"; {clean(finding.remedy)}")
        out.print(line, soft_wrap=True)
