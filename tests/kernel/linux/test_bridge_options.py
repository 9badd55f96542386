"""What bridge networks and their endpoints can be told, with real packets: other people's bridges, routes, settings."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time

import pytest

from netledger import Controller
from netledger.dataplanes.linux import announcing
from netledger.replay import drift, rebuild, repair

from .conftest import inside, shell

BRIDGE = "com.docker.network.bridge"
NAME = f"{BRIDGE}.name"
TIMES, INTERVAL = "com.docker.network.advertise_addr_nmsgs", "com.docker.network.advertise_addr_ms"
V4, V6 = "10.5.0.0/24", "fd05::/64"
ETH_P_ALL = 3


@pytest.fixture
def controller(stage, tmp_path):
    """Give a controller whose host the stage's is."""
    with Controller.open(tmp_path / "state", namespace=str(stage.host)) as opened:
        yield opened


def attach(controller, network, name, **options):
    """Create an endpoint and a sandbox of the same name, join them, and return both."""
    endpoint = network.create_endpoint(name, **options)
    sandbox = controller.create_sandbox(name)
    endpoint.join(sandbox)
    return endpoint, sandbox


def addresses_on(stage, device, namespace=None):
    """List the addresses of an interface."""
    [link] = stage.ip("addr", "show", device, namespace=namespace)
    return {f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"]}


def settings_of(link):
    """List a bridge's own settings, without what changes by itself."""
    data = link["linkinfo"]["info_data"]
    return {name: value for name, value in data.items() if "timer" not in name}


def named(stage, *names):
    """List which of these interfaces are there."""
    return {link["ifname"] for link in stage.ip("link")} & set(names)


class TestABridgeOfSomebodyElse:
    """A network on a bridge that its user made."""

    @pytest.fixture
    def bridge(self, stage):
        """Make a bridge with an address of its owner's."""
        stage.run("ip", "link", "add", "lan0", "address", "02:00:00:00:00:77", "type", "bridge")
        stage.run("ip", "addr", "add", "10.77.0.1/24", "dev", "lan0")
        stage.run("ip", "link", "set", "lan0", "mtu", "1400", "up")
        [before] = stage.ip("-d", "link", "show", "lan0")
        return before

    def test_it_is_used_and_kept(self, stage, controller, bridge):
        """Packets go through it; when the network goes, the bridge, its settings and its owner's address stay."""
        network = controller.create_network("lan", subnets=(V4, V6), ipv6=True, options={NAME: "lan0"})
        _, sandbox = attach(controller, network, "web")
        assert {"10.77.0.1/24", "10.5.0.1/24", "fd05::1/64"} <= addresses_on(stage, "lan0")
        with stage.listening(sandbox.key, "10.5.0.2", 80) as listener:
            assert stage.reach(stage.host, "10.5.0.2", 80, listener) == "10.5.0.1"
        with stage.listening(sandbox.key, "fd05::2", 80) as listener:
            assert stage.reach(stage.host, "fd05::2", 80, listener) == "fd05::1"
        assert drift(controller).lines == ()
        network.delete(force=True)
        [after] = stage.ip("-d", "link", "show", "lan0")
        for field in ("address", "mtu", "group", "ifindex"):
            assert after[field] == bridge[field], field
        assert settings_of(after) == settings_of(bridge)
        assert "ifalias" not in after
        assert addresses_on(stage, "lan0") >= {"10.77.0.1/24"}
        assert not {"10.5.0.1/24", "fd05::1/64"} & addresses_on(stage, "lan0")

    @pytest.mark.usefixtures("bridge")
    def test_a_new_process_knows_it_again(self, stage, tmp_path):
        """What was made by another process is neither drift nor made twice."""
        for _ in range(2):
            with Controller.open(tmp_path / "state", namespace=str(stage.host)) as controller:
                if not controller.networks():
                    attach(controller, controller.create_network("lan", subnets=(V4,), options={NAME: "lan0"}), "web")
                assert drift(controller).lines == ()

    @pytest.mark.usefixtures("bridge")
    def test_its_owner_deletes_it(self, stage, controller):
        """It is not made in the owner's place: repair says what is missing, and goes on when it is there again."""
        network = controller.create_network("lan", subnets=(V4,), options={NAME: "lan0"})
        _, sandbox = attach(controller, network, "web")
        stage.run("ip", "link", "delete", "lan0")
        faults = repair(controller).faults
        assert any("there is no bridge named lan0 to adopt" in str(fault) for fault in faults)
        assert named(stage, "lan0") == set()
        stage.run("ip", "link", "add", "lan0", "type", "bridge")
        stage.run("ip", "link", "set", "lan0", "up")
        assert not repair(controller).faults
        with stage.listening(sandbox.key, "10.5.0.2", 80) as listener:
            assert stage.reach(stage.host, "10.5.0.2", 80, listener) == "10.5.0.1"


def test_a_bridge_without_an_ipv4_address(stage, controller):
    """With inhibit_ipv4 endpoints reach each other; the gateway is whoever has that address: here, nobody."""
    options = {"com.docker.network.bridge.inhibit_ipv4": True}
    network = controller.create_network("n", subnets=(V4,), options=options)
    _, web = attach(controller, network, "web")
    _, db = attach(controller, network, "db")
    assert not {text for text in addresses_on(stage, network.info().device) if "." in text}
    with stage.listening(web.key, "10.5.0.2", 80) as listener:
        assert stage.reach(db.key, "10.5.0.2", 80, listener) == "10.5.0.3"
        assert stage.is_silent(stage.host, "10.5.0.2", 80, listener)
    assert drift(controller).lines == ()


def test_static_routes(stage, controller):
    """A packet goes to a destination on the link and to one behind a neighbour, in both families."""
    network = controller.create_network("n", subnets=(V4, V6), ipv6=True)
    endpoint = network.create_endpoint("web")
    _, router = attach(controller, network, "router")
    sandbox = controller.create_sandbox("web")
    endpoint.join(sandbox, routes=("10.90.0.0/16=10.5.0.3", "fd90::/64=fd05::3", "10.91.0.0/24", "fd91::/64"))
    shown = {
        (entry["dst"], entry.get("gateway", ""))
        for family in ("-4", "-6")
        for entry in stage.ip(family, "route", namespace=sandbox.key)
    }
    wanted = {("10.90.0.0/16", "10.5.0.3"), ("fd90::/64", "fd05::3"), ("10.91.0.0/24", ""), ("fd91::/64", "")}
    assert wanted <= shown
    for address, length in (("10.90.0.7", 32), ("10.91.0.7", 24), ("fd90::7", 128), ("fd91::7", 64)):
        nodad = ["nodad"] if ":" in address else []
        stage.run("ip", "addr", "add", f"{address}/{length}", "dev", "eth0", *nodad, namespace=router.key)
        with stage.listening(router.key, address, 80) as listener:
            seen = stage.reach(sandbox.key, address, 80, listener)
            assert seen == ("fd05::2" if ":" in address else "10.5.0.2"), address
    assert drift(controller).lines == ()
    stage.run("ip", "route", "delete", "10.90.0.0/16", namespace=sandbox.key)
    assert list(drift(controller).lines) == [f"+ route/{sandbox.id[:12]}/10.90.0.0/16 via 10.5.0.3 dev eth0"]
    assert not repair(controller).faults
    assert drift(controller).lines == ()


def test_settings_of_an_interface(stage, controller, tmp_path):
    """They are as asked for, an altered one is drift, also to another process, and disable_ipv6 leaves no IPv6."""
    network = controller.create_network("n", subnets=(V4, V6), ipv6=True)
    sysctls = [f"net.ipv4.conf.IFNAME.{name}=1" for name in ("log_martians", "arp_ignore")]
    _, web = attach(controller, network, "web", sysctls=[*sysctls, "net.ipv6.conf.IFNAME.accept_ra=0"])
    _, plain = attach(controller, network, "plain", sysctls=["net.ipv6.conf.IFNAME.disable_ipv6=1"])
    read = ("cat", "/proc/sys/net/ipv4/conf/eth0/arp_ignore")
    assert in_sandbox(web, *read).strip() == "1"
    assert in_sandbox(plain, *read).strip() == "0"
    assert stage.ip("-6", "addr", "show", "eth0", namespace=plain.key) == []
    with stage.listening(web.key, "fd05::2", 80) as listener:
        assert stage.reach(stage.host, "fd05::2", 80, listener) == "fd05::1"
    key = web.key
    controller.close()
    shell("nsenter", f"--net={key}", "sysctl", "-qw", "net.ipv4.conf.eth0.arp_ignore=2")
    with Controller.open(tmp_path / "state", namespace=str(stage.host)) as later:
        [line] = drift(later).lines
        assert "net.ipv4.conf.eth0.arp_ignore = 1 (was: " in line
        assert not repair(later).faults
        assert drift(later).lines == ()
    assert shell("nsenter", f"--net={key}", *read).strip() == "1"


def in_sandbox(sandbox, *words):
    """Run a command in a sandbox's namespace."""
    return shell("nsenter", f"--net={sandbox.key}", *words)


class TestAnnouncements:
    """What the link hears of a new interface."""

    def hear(self, stage, seconds):
        """Open a packet socket in the host that hears every frame of every interface."""
        made = inside(stage.host, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        made.settimeout(seconds)
        return made

    def frames(self, heard, device, seconds):
        """Collect for some time the frames that came in at a device, each with the time of its coming."""
        found = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            heard.settimeout(left)
            try:
                data, (name, _, kind, *_) = heard.recvfrom(2048)
            except TimeoutError:
                break
            if name == device and kind != socket.PACKET_OUTGOING:
                found.append((time.monotonic(), data))
        return found

    @pytest.fixture(params=["kernel", "frames"])
    def way(self, request, monkeypatch):
        """Have the kernel asked to announce, as it should suffice; or have it refuse, so that frames are sent."""
        sent = []
        send = announcing._send_frames
        monkeypatch.setattr(announcing, "_send_frames", lambda *given: sent.append(given) or send(*given))
        if request.param == "frames":
            monkeypatch.setattr(announcing, "_ask_for_own", lambda room, link, addresses: addresses)
            monkeypatch.setattr(announcing, "_advertise", lambda kernel, room, link, addresses: addresses)
        yield request.param
        assert bool(sent) == (request.param == "frames"), "closing a packet socket is what the others wait for"

    @pytest.mark.usefixtures("way")
    def test_count_and_interval(self, stage, controller):
        """Twice, 200 ms apart, a gratuitous ARP request and a neighbour advertisement of the endpoint's addresses.

        Whether the kernel sends them or a packet socket, they are the same, and no neighbour is left behind.
        """
        network = controller.create_network("n", subnets=(V4, V6), ipv6=True, options={TIMES: 2, INTERVAL: 200})
        endpoint = network.create_endpoint("web")
        sandbox = controller.create_sandbox("web")
        with self.hear(stage, 2) as heard:
            begin = time.monotonic()
            endpoint.join(sandbox)
            frames = self.frames(heard, endpoint.info().device, 1.2)
        mac = bytes.fromhex(endpoint.info().mac.replace(":", ""))
        arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes([10, 5, 0, 2]) + bytes(6) + bytes([10, 5, 0, 2])
        requests = [at for at, data in frames if data[:14] == b"\xff" * 6 + mac + b"\x08\x06" and data[14:42] == arp]
        address = socket.inet_pton(socket.AF_INET6, "fd05::2")
        told = [
            at
            for at, data in frames
            if data[:14] == b"\x33\x33\x00\x00\x00\x01" + mac + b"\x86\xdd"
            and data[22:38] == address
            and (data[54], data[58] >> 5, data[62:78], data[78:86]) == (136, 1, address, b"\x02\x01" + mac)
        ]
        for heard_at in (requests, told):
            assert len(heard_at) == 2, frames
            assert heard_at[0] - begin < 0.5
            assert 0.15 < heard_at[1] - heard_at[0] < 0.6
        assert "10.5.0.2" not in {entry["dst"] for entry in stage.ip("neigh", "show", namespace=sandbox.key)}

    def test_a_neighbour_learns_from_them(self, stage, controller):
        """A stale entry of the host for the address, of each family, names the new MAC address at once."""
        network = controller.create_network("n", subnets=(V4, V6), ipv6=True, options={TIMES: 1})
        endpoint = network.create_endpoint("web")
        device = network.info().device
        for address in ("10.5.0.2", "fd05::2"):
            stage.run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "dev", device, "nud", "stale")
        endpoint.join(controller.create_sandbox("web"))
        deadline = time.monotonic() + 3
        wanted = {(address, endpoint.info().mac) for address in ("10.5.0.2", "fd05::2")}
        while True:
            found = {(entry["dst"], entry.get("lladdr")) for entry in stage.ip("neigh", "show", "dev", device)}
            if wanted <= found or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        assert wanted <= found

    def test_none(self, stage, controller):
        """With a count of 0 nothing is said: the positive control is the test above."""
        network = controller.create_network("n", subnets=(V4,), options={TIMES: 0})
        endpoint = network.create_endpoint("web")
        sandbox = controller.create_sandbox("web")
        with self.hear(stage, 1) as heard:
            endpoint.join(sandbox)
            frames = self.frames(heard, endpoint.info().device, 0.4)
        assert [data for _, data in frames if data[12:14] == b"\x08\x06"] == []

    def test_closing_does_not_wait(self, stage, tmp_path):
        """What was still to be announced is given up; the namespace of a sandbox that goes is not held."""
        with Controller.open(tmp_path / "state", namespace=str(stage.host)) as controller:
            network = controller.create_network("n", subnets=(V4,), options={TIMES: 3, INTERVAL: 2000})
            attach(controller, network, "web")
            begin = time.monotonic()
        assert time.monotonic() - begin < 1.5

    def test_closing_announces_what_was_not_yet(self, stage, tmp_path):
        """A process that ends at once after an attach has announced it once all the same."""
        with self.hear(stage, 2) as heard:
            with Controller.open(tmp_path / "state", namespace=str(stage.host)) as controller:
                network = controller.create_network("n", subnets=(V4,), options={TIMES: 3, INTERVAL: 2000})
                endpoint, _ = attach(controller, network, "web")
                device = endpoint.info().device
            frames = self.frames(heard, device, 0.5)
        assert len([data for _, data in frames if data[12:14] == b"\x08\x06"]) == 1


@pytest.mark.parametrize("driver", ["bridge", "macvlan"])
@pytest.mark.parametrize("form", ["command", "hook"])
def test_a_namespace_that_is_handed_over_late(stage, tmp_path, driver, form):
    """A runtime hands over its container's namespace: its interface is configured in it and reached from outside it."""
    state = tmp_path / "state"
    options = {"parent": "uplink"} if driver == "macvlan" else {}
    subnets, target = ((V4,), "10.5.0.2") if driver == "bridge" else (("198.51.100.0/24",), "198.51.100.20")
    with Controller.open(state, namespace=str(stage.host)) as controller:
        if driver == "macvlan" and (reason := stage.dataplane.capabilities().lacks("macvlan")):
            pytest.skip(f"macvlan: {reason}")
        network = controller.create_network("n", driver, subnets=subnets, options=options)
        endpoint = network.create_endpoint("web", addresses=[target])
        endpoint.join(controller.create_sandbox("web", kind="delegated"))
        assert drift(controller).lines == ()
    with container() as process:
        path = f"/proc/{process.pid}/ns/net"
        if form == "command":
            netledger(stage, state, "sandbox", "setkey", "web", path)
        else:
            document = {"ociVersion": "1.0.2", "id": "web", "status": "created", "pid": process.pid, "bundle": "/"}
            netledger(stage, state, "setkey", text=json.dumps(document))
        caller = stage.host if driver == "bridge" else stage.outside
        with stage.listening(path, target, 80) as listener:
            assert stage.reach(caller, target, 80, listener)
        assert "eth0" in {link["ifname"] for link in stage.ip("link", namespace=path)}
        with Controller.open(state, namespace=str(stage.host)) as controller:
            assert drift(controller).lines == ()
            assert not rebuild(controller).faults
            endpoint = controller.sandbox("web").endpoints()[0]
            endpoint.leave()
        assert "eth0" not in {link["ifname"] for link in stage.ip("link", namespace=path)}


def container():
    """Start a process in a network namespace of its own."""
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return _Ended(process)


class _Ended:
    """A process that is ended with the block."""

    def __init__(self, process):
        self.process = process

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def netledger(stage, state, *words, text=""):
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "netledger", *words, "--state", str(state), "--namespace", str(stage.host)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, input=text)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_hook_is_told_what_is_wrong(stage, tmp_path):
    """What is no state of a container, or of one that nobody knows, is refused in one line."""
    state = tmp_path / "state"
    with Controller.open(state, namespace=str(stage.host)):
        pass
    for text, said in (
        ("", "no OCI state"),
        ('{"id": "web"}', "pid"),
        ('{"id": "web", "pid": 1}', "sandbox 'web': there is none"),
    ):
        command = [sys.executable, "-m", "netledger", "setkey", "--state", str(state), "--namespace", str(stage.host)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, input=text)
        assert done.returncode != 0
        assert said in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1


class TestNarrowNetworks:
    """Networks of two addresses (RFC 3021, RFC 6164) and of one."""

    def test_the_host_reaches_the_endpoint_beside_its_gateway(self, stage, controller):
        """The bridge has the first address of each family, the endpoint the second."""
        network = controller.create_network("link", subnets=("10.5.0.0/31", "fd05::/127"), ipv6=True)
        _, sandbox = attach(controller, network, "web")
        assert {"10.5.0.0/31", "fd05::/127"} <= addresses_on(stage, f"br-{network.id[:12]}")
        for address, gateway in (("10.5.0.1", "10.5.0.0"), ("fd05::1", "fd05::")):
            with stage.listening(sandbox.key, address, 80) as listener:
                assert stage.reach(stage.host, address, 80, listener) == gateway
        assert drift(controller).lines == ()

    def test_two_endpoints_have_both_addresses_where_the_bridge_has_none(self, stage, controller):
        """An internal network whose bridge is not to have an address, or is isolated: they reach each other."""
        options = {f"{BRIDGE}.inhibit_ipv4": True, f"{BRIDGE}.gateway_mode_ipv6": "isolated"}
        subnets = ("10.5.0.0/31", "fd05::/127")
        network = controller.create_network("pair", subnets=subnets, ipv6=True, internal=True, options=options)
        _, one = attach(controller, network, "one")
        _, other = attach(controller, network, "other")
        for address, source in (("10.5.0.1", "10.5.0.0"), ("fd05::1", "fd05::")):
            with stage.listening(other.key, address, 80) as listener:
                assert stage.reach(one.key, address, 80, listener) == source
        assert drift(controller).lines == ()
        rebuild(controller)
        assert drift(controller).lines == ()

    def test_an_endpoint_has_the_only_address_of_its_network(self, stage, controller):
        """With its whole length; it is the endpoint's own, and nobody else is there."""
        options = {f"{BRIDGE}.gateway_mode_ipv{family}": "isolated" for family in (4, 6)}
        subnets = ("10.5.0.7/32", "fd05::7/128")
        network = controller.create_network("one", subnets=subnets, ipv6=True, internal=True, options=options)
        _, sandbox = attach(controller, network, "web")
        assert {"10.5.0.7/32", "fd05::7/128"} <= addresses_on(stage, "eth0", sandbox.key)
        for address in ("10.5.0.7", "fd05::7"):
            with stage.listening(sandbox.key, address, 80) as listener:
                assert stage.reach(sandbox.key, address, 80, listener) == address
        assert drift(controller).lines == ()
