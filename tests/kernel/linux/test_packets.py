"""Who reaches whom: every isolation with a positive control, the same probe passing before the rule is there."""

from __future__ import annotations

import pytest

from netledger.domain.objects import Firewall, ForwardPolicy

A4, A6, B4, B6 = "10.5.0.0/24", "fd05::/64", "10.6.0.0/24", "fd06::/64"
HOST4, HOST6 = "198.51.100.1", "2001:db8::1"
OUTSIDE4, OUTSIDE6 = "198.51.100.2", "2001:db8::2"
HOSTS = {4: HOST4, 6: HOST6}
OUTSIDES = {4: OUTSIDE4, 6: OUTSIDE6}
STRANGERS = {4: "192.0.2.2", 6: "2001:db8:1::2"}
TCP, UDP = 6, 17

families = pytest.mark.parametrize("family", [4, 6])
protocols = pytest.mark.parametrize("protocol", [TCP, UDP])
bridged_frames_filtered = pytest.mark.parametrize("filtered", [True, False], ids=["br_netfilter", "plain bridge"])


def address_of(member, family):
    """Return an endpoint's address in a family."""
    return next(text for text in member.texts if (":" in text) == (family == 6))


@pytest.fixture
def networks(stage):
    """Give two networks with an endpoint each, with forwarding on and without any rule yet."""
    first, second = stage.network("first", A4, A6), stage.network("second", B4, B6)
    web, other = stage.member(first, "web"), stage.member(second, "other")
    for network in (first, second):
        stage.make(network.bridge, *network.addresses)
    stage.make(*stage.forwarding[1:], *web.objects, *other.objects)
    # The outside can answer addresses of ours, so that what is not masqueraded is seen as it is.
    for subnet, host in ((A4, HOST4), (A6, HOST6), (B4, HOST4), (B6, HOST6)):
        stage.run("ip", "route", "add", subnet, "via", host, namespace=stage.outside)
    return first, second, web, other


@families
def test_networks_are_isolated_from_each_other(stage, networks, family):
    """Once the policies are there, an endpoint no longer reaches another network's, as it did before."""
    first, second, web, other = networks
    address = address_of(web, family)
    with stage.listening(web.path, address, 80) as listener:
        assert stage.reach(other.path, address, 80, listener) == address_of(other, family)
        stage.make(Firewall(), first.policy, second.policy)
        assert stage.is_silent(other.path, address, 80, listener)


@families
def test_unpublished_ports_are_closed_to_the_outside(stage, networks, family):
    """Once the policy is there, the outside no longer reaches an endpoint's address; the endpoint reaches outside."""
    first, _, web, _ = networks
    address, outside = address_of(web, family), OUTSIDES[family]
    with stage.listening(web.path, address, 80) as listener:
        assert stage.reach(stage.outside, address, 80, listener) == outside
        stage.make(Firewall(), first.policy)
        assert stage.is_silent(stage.outside, address, 80, listener)
    with stage.listening(stage.outside, outside, 99) as listener:
        assert stage.reach(web.path, outside, 99, listener) == address


@families
@protocols
def test_what_leaves_is_masqueraded(stage, networks, family, protocol):
    """The outside sees an endpoint's address before masquerading is there, and the host's after."""
    first, _, web, _ = networks
    outside = OUTSIDES[family]
    with stage.listening(stage.outside, outside, 99, protocol) as listener:
        stage.make(Firewall(), first.policy)
        assert stage.reach(web.path, outside, 99, listener) == address_of(web, family)
        stage.make(*first.masquerades)
        assert stage.reach(web.path, outside, 99, listener) == HOSTS[family]


@families
@protocols
def test_a_published_port_is_reached_from_everywhere(stage, networks, family, protocol):
    """From outside, from another network and from the host itself: through the host's address, once it is published."""
    first, second, web, other = networks
    stage.make(Firewall(), first.policy, second.policy, *first.masquerades, *second.masquerades)
    here, address = HOSTS[family], address_of(web, family)
    callers = {stage.outside: OUTSIDES[family], other.path: address_of(other, family), stage.host: here}
    with stage.listening(web.path, address, 80, protocol) as listener:
        for caller in callers:
            assert stage.is_silent(caller, here, 8080, listener)
        stage.make(*web.publish(8080, protocol=protocol))
        for caller, seen in callers.items():
            assert stage.reach(caller, here, 8080, listener) == seen
        stage.remove(*web.publish(8080, protocol=protocol))
        for caller in callers:
            assert stage.is_silent(caller, here, 8080, listener)


@families
def test_a_port_published_at_one_address_is_not_at_others(stage, networks, family):
    """One address of the host publishes one endpoint, all others another."""
    first, second, web, other = networks
    here, extra = HOSTS[family], {4: "198.51.100.77", 6: "2001:db8::77"}[family]
    length, no_wait = (32, []) if family == 4 else (128, ["nodad"])
    stage.run("ip", "addr", "add", f"{extra}/{length}", "dev", "uplink", *no_wait)
    stage.make(Firewall(), first.policy, second.policy, *web.publish(8080, at=extra))
    with (
        stage.listening(web.path, address_of(web, family), 80) as special,
        stage.listening(other.path, address_of(other, family), 80) as general,
    ):
        assert stage.reach(stage.outside, extra, 8080, special) == OUTSIDES[family]
        assert stage.is_silent(stage.outside, here, 8080, special)
        stage.make(*other.publish(8080))
        assert stage.reach(stage.outside, extra, 8080, special) == OUTSIDES[family]
        assert stage.reach(stage.outside, here, 8080, general) == OUTSIDES[family]


@families
@bridged_frames_filtered
def test_a_published_port_is_reached_from_its_own_network(stage, networks, family, filtered):
    """An endpoint reaches its neighbour by the host's address: the answer finds the way back (hairpin)."""
    first, _, web, _ = networks
    near = stage.member(first, "near")
    stage.make(*near.objects, Firewall(), first.policy, *first.masquerades)
    filter_bridged_frames(stage, filtered)
    with stage.listening(web.path, address_of(web, family), 80) as listener:
        assert stage.is_silent(near.path, HOSTS[family], 8080, listener)
        stage.make(*web.publish(8080))
        assert stage.reach(near.path, HOSTS[family], 8080, listener) is not None


@families
@bridged_frames_filtered
def test_an_endpoint_reaches_its_own_published_port(stage, networks, family, filtered):
    """An endpoint that calls itself by the host's address gets through (hairpin)."""
    first, _, web, _ = networks
    filter_bridged_frames(stage, filtered)
    stage.make(Firewall(), first.policy, *web.publish(8080))
    with stage.listening(web.path, address_of(web, family), 80) as listener:
        assert stage.reach(web.path, HOSTS[family], 8080, listener) is not None


@families
def test_an_internal_network_is_cut_off(stage, networks, family):
    """Internal: nothing in or out, not even by a published port; its endpoints still reach each other and the host."""
    first, second, web, other = networks
    near = stage.member(first, "near")
    stage.make(*near.objects, Firewall(), second.policy)
    address, outside = address_of(web, family), OUTSIDES[family]
    internal = ForwardPolicy(first.device, icc=True, internal=True)
    with (
        stage.listening(web.path, address, 80) as inner,
        stage.listening(stage.outside, outside, 99) as outer,
        stage.listening(stage.host, str(first.subnets[family == 6][1]), 53) as gateway,
    ):
        assert stage.reach(stage.outside, address, 80, inner)
        assert stage.reach(web.path, outside, 99, outer)
        stage.make(internal, *web.publish(8080))
        assert stage.is_silent(stage.outside, address, 80, inner)
        assert stage.is_silent(stage.outside, HOSTS[family], 8080, inner)
        assert stage.is_silent(other.path, HOSTS[family], 8080, inner)
        assert stage.is_silent(web.path, outside, 99, outer)
        assert stage.reach(near.path, address, 80, inner) == address_of(near, family)
        assert stage.reach(near.path, str(first.subnets[family == 6][1]), 53, gateway) == address_of(near, family)


@families
def test_without_icc_neighbours_do_not_reach_each_other(stage, family):
    """On a network with inter-container communication off, only the gateway and the outside are reached."""
    network = stage.network("closed", A4, A6, icc=False)
    opened = stage.network("opened", B4, B6, icc=True)
    web, near = stage.member(network, "web"), stage.member(network, "near")
    control, neighbour = stage.member(opened, "control"), stage.member(opened, "neighbour")
    stage.make(*stage.forwarding, *network.objects, *opened.objects)
    stage.make(*web.objects, *near.objects, *control.objects, *neighbour.objects)
    with stage.listening(control.path, address_of(control, family), 80) as listener:
        assert stage.reach(neighbour.path, address_of(control, family), 80, listener)
    with stage.listening(web.path, address_of(web, family), 80) as listener:
        assert stage.is_silent(near.path, address_of(web, family), 80, listener)
        assert stage.reach(stage.host, address_of(web, family), 80, listener)
    with stage.listening(stage.outside, OUTSIDES[family], 99) as listener:
        assert stage.reach(web.path, OUTSIDES[family], 99, listener) == HOSTS[family]


@families
def test_packets_of_others_pass_untouched(stage, networks, stranger, family):
    """What is forwarded between links that are not ours passes our table as if it were not there."""
    first, *_ = networks
    stage.make(Firewall(), first.policy, *first.masquerades)
    with stage.listening(stranger, STRANGERS[family], 80) as listener:
        assert stage.reach(stage.outside, STRANGERS[family], 80, listener) == OUTSIDES[family]
    with stage.listening(stage.outside, OUTSIDES[family], 80) as listener:
        assert stage.reach(stranger, OUTSIDES[family], 80, listener) == STRANGERS[family]


@pytest.fixture
def stranger(stage):
    """Give a namespace that the host forwards for and that is not ours."""
    name = f"{stage.host.name}-stranger"
    stage.run("ip", "netns", "add", name)
    try:
        stage.run(
            *["ip", "link", "add", "foreign", "index", "101", "type", "veth", "peer", "name", "eth0", "netns"], name
        )
        for address, where, device in (
            ("192.0.2.1/24", stage.host, "foreign"),
            ("2001:db8:1::1/64", stage.host, "foreign"),
            ("fe80::1/64", stage.host, "foreign"),
            (f"{STRANGERS[4]}/24", f"/run/netns/{name}", "eth0"),
            (f"{STRANGERS[6]}/64", f"/run/netns/{name}", "eth0"),
            ("fe80::2/64", f"/run/netns/{name}", "eth0"),
        ):
            stage.run("ip", "link", "set", device, "addrgenmode", "none", namespace=where)
            stage.run("ip", "link", "set", device, "up", namespace=where)
            no_wait = ["nodad"] if ":" in address else []
            stage.run("ip", "addr", "add", address, "dev", device, *no_wait, namespace=where)
        for gateway, through in (("192.0.2.1", HOST4), ("2001:db8:1::1", HOST6)):
            stage.run("ip", "route", "add", "default", "via", gateway, namespace=f"/run/netns/{name}")
            stage.run("ip", "route", "add", "default", "via", through, namespace=stage.outside)
        yield f"/run/netns/{name}"
    finally:
        stage.run("ip", "netns", "delete", name)


def filter_bridged_frames(stage, filtered):
    """Set whether bridged frames pass the IP layer's hooks, as they do by default where br_netfilter is loaded."""
    value = "1" if filtered else "0"
    for name in ("iptables", "ip6tables"):
        try:
            stage.run("sh", "-c", f"echo {value} > /proc/sys/net/bridge/bridge-nf-call-{name}")
        except AssertionError:
            if filtered:
                pytest.skip("this kernel has no br_netfilter")
