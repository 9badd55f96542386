"""What a host's kernel has, as `ip -j`, `nft -j` and /proc tell it, against what a log calls for.

Keeps: shares no code with the engine. Everything on the host is expected to be the log's, and nothing else is there.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .log import Fields, Log, network_of

HOST_ADDRESS = "198.51.100.1"
LABEL = "com.docker.network"
PROTOCOLS = {"tcp": 6, "udp": 17, 6: 6, 17: 17}
SETS = ("bridges", "same", "icc", "internal", "masquerade4", "masquerade6", "loopback4", "loopback6")
MAPS = ("ports4", "ports6", "ports4_at", "ports6_at")
TOOL_SECONDS = 30
Elements = dict[str, set[tuple[Any, ...]]]


SETTLE_SECONDS = 3.0
"""The kernel destroys namespaces in its own time: some 100 ms, on a busy machine more."""
PAUSE_SECONDS = 0.02


def add_address(host: Path) -> None:
    """Give a host the address at which some ports are published; on its loopback, which is nobody's concern here."""
    command = ["ip", "-n", host.name, "address", "add", f"{HOST_ADDRESS}/32", "dev", "lo"]
    subprocess.run(command, check=True, timeout=TOOL_SECONDS)


def lasting_differences(log: Log, host: Path) -> list[str]:
    """Compare until there is no difference, or the time to settle is over."""
    end = time.monotonic() + SETTLE_SECONDS
    while (found := differences(log, host)) and time.monotonic() < end:
        time.sleep(PAUSE_SECONDS)
    return found


def differences(log: Log, host: Path) -> list[str]:
    """Compare; one line for each thing that is not as the log says."""
    kernel = _read(log, host)
    return [*_host_side(log, kernel), *_firewall(log, kernel), *_namespaces(log), *_insides(log, kernel)]


class _Namespace:
    """Links, addresses and routes of one network namespace."""

    def __init__(self, links: str, addresses: str, routes: str) -> None:
        self.links = {link["ifname"]: link for link in json.loads(links) if link}
        self._addresses = {link["ifname"]: link.get("addr_info", ()) for link in json.loads(addresses) if link}
        self._routes = [route for route in json.loads(routes) if route]

    def addresses(self, device: str) -> set[str]:
        """List a device's addresses with their prefix lengths."""
        return {f"{entry['local']}/{entry['prefixlen']}" for entry in self._addresses.get(device, ()) if entry}

    def is_up(self, device: str) -> bool:
        """Whether it is up and its other end too."""
        return {"UP", "LOWER_UP"} <= set(self.links[device]["flags"])

    def defaults(self) -> set[tuple[str, str]]:
        """List default routes: gateway, device."""
        return {(route["gateway"], route["dev"]) for route in self._routes if route["dst"] == "default"}


class _Kernel:
    """One look at a host."""

    def __init__(self, host: _Namespace, elements: Elements | None, sysctls: list[str]) -> None:
        self.host = host
        self.elements = elements
        self.sysctls = sysctls
        self.sandboxes: dict[str, _Namespace] = {}


def _read(log: Log, host: Path) -> _Kernel:
    paths = {sandbox: event["path"] for sandbox, event in log.sandboxes.items() if event["kind"] != "delegated"}
    script = [
        _look(host),
        f"nsenter --net={host} nft -n -j list ruleset",
        f"nsenter --net={host} cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding",
        *(f"{_look(path)} || printf '[]\\n[]\\n[]\\n'" for path in paths.values()),
    ]
    command = ["sh", "-c", "\n".join(script)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TOOL_SECONDS)
    lines = iter(done.stdout.splitlines())
    outside = _Namespace(next(lines), next(lines), next(lines))
    kernel = _Kernel(outside, _elements(json.loads(next(lines))["nftables"], log.instance), [next(lines), next(lines)])
    for sandbox in paths:
        kernel.sandboxes[sandbox] = _Namespace(next(lines), next(lines), next(lines))
    return kernel


def _look(namespace: str | Path) -> str:
    """Write the command that prints links, addresses and routes of a namespace, a line each."""
    return f"printf 'link show\\naddress show\\nroute show table all\\n' | nsenter --net={namespace} ip -d -j -batch -"


def _elements(ruleset: list[Fields], instance: str) -> Elements | None:
    """List what is in our table's sets and maps; None when there is no table."""
    tables = [entry["table"]["name"] for entry in ruleset if "table" in entry]
    assert tables in ([], [f"netledger-{instance}"]), tables
    found: Elements = {}
    for entry in ruleset:
        listed = entry.get("set") or entry.get("map")
        if listed:
            found[listed["name"]] = {_flat(element) for element in listed.get("elem", ())}
    return found if tables else None


def _flat(element: Any) -> tuple[Any, ...]:
    """Write an element as a plain tuple: its parts, key before data."""
    if isinstance(element, dict) and "concat" in element:
        return tuple(part for inner in element["concat"] for part in _flat(inner))
    if isinstance(element, list):
        return tuple(part for inner in element for part in _flat(inner))
    return (element,)


# --- the host's namespace


def _host_side(log: Log, kernel: _Kernel) -> list[str]:
    problems: list[str] = []
    links = kernel.host.links
    wanted = {"lo"} | {network["device"] for network in log.networks.values()}
    for join in log.joins.values():
        wanted.add(join["device"])
        if log.sandboxes[join["sandbox"]]["kind"] == "delegated":
            wanted.add("np" + join["device"][2:])
    problems += [f"host: there is no {name}" for name in sorted(wanted - set(links))]
    problems += [f"host: nobody owns {name}: {links[name]}" for name in sorted(set(links) - wanted)]
    for network in log.networks.values():
        if network["device"] in links:
            problems += [f"host: bridge {network['device']}: {said}" for said in _bridge(log, network, kernel.host)]
    for join in log.joins.values():
        if join["device"] in links:
            problems += [f"host: veth {join['device']}: {said}" for said in _host_end(log, join, kernel.host)]
    families = {network_of(pool["subnet"]).version for pool in log.pools.values()}
    for family, value in zip((4, 6), kernel.sysctls, strict=True):
        if family in families and value != "1":
            problems.append(f"host: IPv{family} is not forwarded")
    return problems


def _bridge(log: Log, network: Fields, host: _Namespace) -> list[str]:
    device = network["device"]
    link = host.links[device]
    pools = [(network_of(subnet), gateway) for _, subnet, gateway in network["pools"]]
    wanted = {f"{ipaddress.ip_address(gateway)}/{subnet.prefixlen}" for subnet, gateway in pools}
    if any(subnet.version == 6 for subnet, _ in pools):
        wanted.add("fe80::1/64")
    said = _compared("addresses", host.addresses(device), wanted)
    said += _compared("kind", link["linkinfo"]["info_kind"], "bridge")
    said += _compared("addresses of its own", link.get("inet6_addr_gen_mode"), "none")
    said += _compared("alias", link.get("ifalias"), f"netledger-{log.instance} network {network['network']}")
    said += _compared("mtu", link["mtu"], network["options"][f"{LABEL}.driver.mtu"] or 1500)
    return said + ([] if "UP" in link["flags"] else ["it is down"])


def _host_end(log: Log, join: Fields, host: _Namespace) -> list[str]:
    link = host.links[join["device"]]
    network = log.networks[join["network"]]
    is_delegated = log.sandboxes[join["sandbox"]]["kind"] == "delegated"
    said = _compared("kind", link["linkinfo"]["info_kind"], "veth")
    said += _compared("bridge", link.get("master"), network["device"])
    said += _compared("mtu", link["mtu"], network["options"][f"{LABEL}.driver.mtu"] or 1500)
    isolated = link["linkinfo"].get("info_slave_data", {}).get("isolated")
    said += _compared("isolated", isolated, not network["options"][f"{LABEL}.bridge.enable_icc"])
    alias = f"netledger-{log.instance} endpoint {join['endpoint']}"
    if not link.get("ifalias", "").startswith(alias):
        said.append(f"its alias is {link.get('ifalias')}")
    if is_delegated:
        mac = host.links.get("np" + join["device"][2:], {}).get("address")
        said += _compared("MAC address of its other end", mac, log.endpoints[join["endpoint"]]["mac"].hex(":"))
    said += _compared("addresses of its own", link.get("inet6_addr_gen_mode"), "none")
    if not is_delegated and not host.is_up(join["device"]):
        said.append("it or its other end is down")
    return said + ([] if "UP" in link["flags"] else ["it is down"])


# --- the firewall


def _firewall(log: Log, kernel: _Kernel) -> list[str]:
    if not log.networks:
        return [] if kernel.elements is None else ["firewall: nobody owns the table"]
    if kernel.elements is None:
        return ["firewall: there is no table"]
    wanted: Elements = {name: set() for name in (*SETS, *MAPS)}
    for network in log.networks.values():
        for name, element in _elements_of(network):
            wanted[name].add(element)
    for (protocol, address, host_port), port in log.ports.items():
        family = 4 if len(address) == 4 else 6
        if (port["endpoint"], family) not in log.published:
            continue
        data = (str(ipaddress.ip_address(port["address"])), port["port"])
        if any(address):
            wanted[f"ports{family}_at"].add((str(ipaddress.ip_address(address)), protocol, host_port, *data))
        else:
            wanted[f"ports{family}"].add((protocol, host_port, *data))
    found = {name: set(elements) for name, elements in kernel.elements.items()}
    for name in MAPS:
        at = 1 if name.endswith("_at") else 0
        found[name] = {(*element[:at], PROTOCOLS[element[at]], *element[at + 1 :]) for element in found.get(name, ())}
    return [
        f"firewall: {said}"
        for name in sorted({*wanted, *found})
        for said in _compared(name, found.get(name, set()), wanted.get(name, set()))
    ]


def _elements_of(network: Fields) -> Iterator[tuple[str, tuple[str, ...]]]:
    """List what a network has in the sets, by the set's name."""
    device, options = network["device"], network["options"]
    versions = {network_of(subnet).version for _, subnet, _ in network["pools"]}
    yield "bridges", (device,)
    yield "same", (device, device)
    if options[f"{LABEL}.bridge.enable_icc"]:
        yield "icc", (device, device)
    if network["internal"]:
        yield "internal", (device,)
        return
    if options[f"{LABEL}.bridge.enable_ip_masquerade"]:
        yield from ((f"masquerade{version}", (device,)) for version in versions)
    for version in versions:
        if f"loopback ipv{version}" in network["abilities"]:
            yield f"loopback{version}", (device,)


# --- sandboxes


def _namespaces(log: Log) -> list[str]:
    """Compare the mounts that hold namespaces, and the files that they are mounted on, with managed sandboxes."""
    folder = Path("/run/netledger") / log.instance
    mounted = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mounts = sorted(words[4] for words in mounted if words[4].startswith(f"{folder}/"))
    wanted = sorted(event["path"] for event in log.sandboxes.values() if event["kind"] == "managed")
    files = sorted(str(path) for path in folder.iterdir()) if folder.exists() else []
    return _compared("mounts of namespaces", mounts, wanted) + _compared("files of namespaces", files, wanted)


def _insides(log: Log, kernel: _Kernel) -> list[str]:
    problems: list[str] = []
    for sandbox, inside in kernel.sandboxes.items():
        joins = {join["interface"]: join for join in log.joins.values() if join["sandbox"] == sandbox}
        said = _compared("interfaces", set(inside.links), {"lo", *joins})
        if "lo" in inside.links and "UP" not in inside.links["lo"]["flags"]:
            said.append("loopback is down")
        for interface, join in joins.items():
            if interface in inside.links:
                said += _container_end(log, join, inside, kernel.host)
        said += _compared("default routes", inside.defaults(), _ways_out(log, sandbox))
        problems += [f"sandbox {sandbox[:12]}: {what}" for what in said]
    return problems


def _container_end(log: Log, join: Fields, inside: _Namespace, host: _Namespace) -> list[str]:
    interface, endpoint = join["interface"], log.endpoints[join["endpoint"]]
    link = inside.links[interface]
    wanted = {f"{ipaddress.ip_address(address)}/{prefix}" for _, address, prefix in endpoint["addresses"]}
    found = inside.addresses(interface)
    own = {address for address in found if address.startswith("fe80:")}
    said = _compared(f"addresses of {interface}", found - own, wanted)
    said += _compared(f"link-local addresses of {interface}", len(own), int(any(":" in text for text in wanted)))
    said += _compared(f"{interface}'s addresses of its own", link.get("inet6_addr_gen_mode"), "none")
    said += _compared(f"MAC address of {interface}", link["address"], endpoint["mac"].hex(":"))
    said += _compared(
        f"other end of {interface}", link.get("link_index"), host.links.get(join["device"], {}).get("ifindex")
    )
    if not inside.is_up(interface):
        said.append(f"{interface} is down")
    return said


def _ways_out(log: Log, sandbox: str) -> set[tuple[str, str]]:
    routes: set[tuple[str, str]] = set()
    for (where, family), endpoint in log.gateways.items():
        if where == sandbox:
            join = log.joins[endpoint]
            pools = log.networks[join["network"]]["pools"]
            gateway = next(gateway for _, subnet, gateway in pools if network_of(subnet).version == family)
            routes.add((str(ipaddress.ip_address(gateway)), join["interface"]))
    return routes


def _compared(what: str, found: Any, wanted: Any) -> list[str]:
    if found == wanted:
        return []
    if isinstance(found, set) and isinstance(wanted, set):
        extra, missing = sorted(found - wanted), sorted(wanted - found)
        return [f"{what}: nobody owns {extra}, missing {missing}"]
    return [f"{what}: {found}, not {wanted}"]
