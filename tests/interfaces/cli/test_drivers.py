"""The command line gives every driver and option to the engine, and prints what came of it."""

from __future__ import annotations


def test_endpoints_have_options_routes_and_ranges(made):
    """What was asked for is what `inspect` tells."""
    made("network create n --subnet 10.1.0.0/24")
    made("sandbox create c")
    asked = "-o com.docker.network.endpoint.ifname=lan0 --sysctl net.ipv4.conf.IFNAME.log_martians=1"
    made(f"endpoint create n web -p 8000-8010:80 -p 9000-9001:90-91 {asked} --link-local 169.254.0.7")
    made("endpoint join web c --gw-priority 3 --route 10.9.0.0/16=10.1.0.9 --route 10.8.0.0/16")
    info = made("endpoint inspect web --json").json
    assert info["port_map"] == {"90/tcp": ["0.0.0.0:9000"], "91/tcp": ["0.0.0.0:9001"], "80/tcp": ["0.0.0.0:8000"]}
    assert info["interface"] == "lan0"
    assert info["link_local"] == ["169.254.0.7"]
    assert info["routes"] == ["10.9.0.0/16 via 10.1.0.9", "10.8.0.0/16"]
    assert info["options"]["com.docker.network.endpoint.sysctls"] == "net.ipv4.conf.IFNAME.log_martians=1"


def test_networks_of_every_driver(made):
    """Each is created with its options, and endpoints join; a routed port is told at the endpoint's own address."""
    made("network create v --driver macvlan -o parent=eth0.10 -o macvlan_mode=private")
    made("network create h --driver host")
    mode = "com.docker.network.bridge.gateway_mode_ipv4=routed"
    made(f"network create r --subnet 10.3.0.0/24 -o {mode}")
    for network, kind in (("v", "managed"), ("h", "host"), ("r", "managed")):
        made(f"sandbox create {network} --kind {kind}")
        made(f"endpoint create {network} web {'-p 80' if network == 'r' else ''}")
        made(f"endpoint join {network}/web {network}")
    info = made("endpoint inspect r/web --json").json
    assert (info["port_map"], info["published"]) == ({"80/tcp": ["10.3.0.2:80"]}, True)
    assert made("network inspect v --json").json["gateways"] == [""]
    assert made("endpoint inspect h/web --json").json["interface"] == ""
    names = [row.split()[1] for row in made("network ls").out.splitlines()[1:]]
    assert names == ["v", "h", "r", "docker_gwbridge"], "macvlan without a gateway leads out by the gateway bridge"


def test_a_sandbox_is_renamed_and_needs_a_namespace_to_be_handed_over(made, cli):
    """The new name finds it; a path that leads to no namespace is refused."""
    made("sandbox create c --kind delegated")
    made("sandbox rename c d")
    assert made("sandbox inspect d --json").json["container"] == "d"
    refused = cli("sandbox setkey d /run/netns/nowhere")
    assert refused.status != 0
    assert "there is no network namespace at '/run/netns/nowhere'" in refused.err
