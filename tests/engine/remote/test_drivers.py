"""Networks whose addresses another process gives: asked first, recorded, given back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from netledger import Controller
from netledger.dataplanes.contract import Step, Verb
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.commands import CreateEndpoint, CreateNetwork, PoolRequest, RequestAddress
from netledger.domain.errors import Conflict, DataplaneFault, Invalid, NotFound, Unavailable
from netledger.domain.events import (
    AddressAllocated,
    DriftDetected,
    NetworkCreated,
    PoolAllocated,
    ReturnEnded,
    ReturnOwed,
)
from netledger.domain.objects import Bridge
from netledger.domain.values import EndpointId, NetworkId, parse_address, parse_port
from netledger.engine import opening
from netledger.engine.remote import Limits, PluginFault, PluginRefused, asking
from netledger.ledger.ledger import Ledger
from netledger.projections.views import Views
from netledger.testing.checkers import check_log
from tests.desk import identifier
from tests.engine.remote.conftest import PluginProcess

Opened = Callable[..., Controller]
SUBNET = "10.9.0.0/24"
POOL = f"testLocal/{SUBNET}"


def events(controller: Controller, *kinds: type) -> list[Any]:
    """List the events of some kinds, the oldest first."""
    return [record.event for record in controller.history() if isinstance(record.event, kinds)]


def create(controller: Controller, name: str = "n", **others: Any) -> Any:
    """Create a network of the plugin's."""
    others.setdefault("subnets", [SUBNET])
    return controller.create_network(name, ipam_driver="lab", **others)


def test_a_plugin_is_asked_what_the_configuration_network_says(plugin: PluginProcess, opened: Opened) -> None:
    """Nothing is asked for the settings themselves, and a network made with them has the plugin's addresses."""
    controller = opened()
    create(controller, "settings", config_only=True)
    assert not plugin.calls("RequestPool")
    network = controller.create_network("n", config_from="settings")
    endpoint = network.create_endpoint("web")
    assert [call["Pool"] for call in plugin.calls("RequestPool")] == [SUBNET]
    assert plugin.pools == {POOL: ["10.9.0.1", "10.9.0.2"]}
    assert [str(pool.space) for pool in events(controller, PoolAllocated)] == ["testLocal"]
    endpoint.delete()
    network.delete()
    assert plugin.pools == {}


def test_a_plugin_gives_a_network_its_addresses_and_has_them_back(plugin: PluginProcess, opened: Opened) -> None:
    """What dockerd asks a plugin, in its order; each answer is in the log with who decided."""
    controller = opened()
    network = create(
        controller,
        subnets=[SUBNET, "fd00:9::/64"],
        ip_ranges=["10.9.0.128/25"],
        gateways=["10.9.0.1"],
        auxiliary={"printer": "10.9.0.5"},
        ipam_options={"foo": "bar"},
    )
    endpoint = network.create_endpoint("web")
    fixed = network.create_endpoint("db", addresses=["10.9.0.77"])
    assert plugin.pools == {
        POOL: ["10.9.0.1", "10.9.0.128", "10.9.0.5", "10.9.0.77"],
        "testLocal/fd00:9::/64": ["fd00:9::1", "fd00:9::2", "fd00:9::3"],
    }
    assert plugin.calls("RequestPool")[0] == {
        "AddressSpace": "testLocal",
        "Pool": SUBNET,
        "SubPool": "10.9.0.128/25",
        "Options": {"foo": "bar"},
        "V6": False,
    }
    assert plugin.calls("RequestAddress")[:3] == [
        {"PoolID": POOL, "Address": "10.9.0.1", "Options": {"RequestAddressType": "com.docker.network.gateway"}},
        {"PoolID": POOL, "Address": "10.9.0.5", "Options": None},
        {
            "PoolID": "testLocal/fd00:9::/64",
            "Address": "",
            "Options": {"RequestAddressType": "com.docker.network.gateway"},
        },
    ]
    assert plugin.calls("RequestAddress")[3]["Options"] == {"com.docker.network.endpoint.name": "web"}
    pools = events(controller, PoolAllocated)
    assert [(pool.ipam_driver, pool.driver_pool, pool.space) for pool in pools] == [
        ("lab", POOL, "testLocal"),
        ("lab", "testLocal/fd00:9::/64", "testLocal"),
    ]
    decided = {event.address: event.decided_by for event in events(controller, AddressAllocated)}
    assert decided[parse_address("10.9.0.128")] == "driver"
    assert decided[parse_address("10.9.0.77")] == "caller"
    assert decided[parse_address("fd00:9::1")] == "driver"
    endpoint.delete()
    fixed.delete()
    assert plugin.pools[POOL] == ["10.9.0.1", "10.9.0.5"]
    network.delete()
    assert plugin.pools == {}
    assert [call["method"] for call in plugin.calls()][-2:] == ["IpamDriver.ReleasePool"] * 2, "after their addresses"
    assert not controller.views.driver_pools.owed
    check_log(list(controller.history()))
    assert all(event.refused == "" for event in events(controller, ReturnEnded))


@pytest.mark.parametrize("gives_gateway", [False, True])
@pytest.mark.parametrize(
    "others",
    [
        {"driver": "macvlan", "options": {"parent": "eth0"}},
        {"options": {"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}, "internal": True},
    ],
)
def test_a_gateway_that_nobody_needs_is_not_kept(
    start_plugin: Callable[..., PluginProcess], opened: Opened, others: dict[str, Any], gives_gateway: bool
) -> None:
    """It is not asked for; one that comes with the pool goes back at once. One that is asked for is had."""
    plugin = start_plugin(*["--gateway"] * gives_gateway)
    controller = opened()
    network = create(controller, **others)
    assert plugin.pools == {POOL: []}
    assert events(controller, AddressAllocated) == []
    network.delete()
    create(controller, gateways=["10.9.0.9"], **others)
    assert "10.9.0.9" in plugin.pools[POOL]


def test_a_network_without_addresses_asks_for_none(plugin: PluginProcess, opened: Opened) -> None:
    """A pool that nobody uses would never go back."""
    create(opened(), driver="null", subnets=[])
    assert plugin.calls() == []


def test_an_endpoint_without_ipv6_asks_for_none(plugin: PluginProcess, opened: Opened) -> None:
    """And an IPv6 address of its own is refused, as with our own addresses."""
    network = create(opened(), subnets=[SUBNET, "fd00:9::/64"])
    options = {"com.docker.network.endpoint.sysctls": "net.ipv6.conf.IFNAME.disable_ipv6=1"}
    network.create_endpoint("web", options=options)
    assert plugin.pools == {POOL: ["10.9.0.1", "10.9.0.2"], "testLocal/fd00:9::/64": ["fd00:9::1"]}
    with pytest.raises(Invalid, match="has no IPv6"):
        network.create_endpoint("db", options=options, addresses=["fd00:9::7"])


def test_calls_without_arguments_have_an_empty_body(plugin: PluginProcess, opened: Opened) -> None:
    """As dockerd's, and with its content type."""
    create(opened())
    calls = plugin.calls()
    assert [(call["method"], call["raw"]) for call in calls[:3]] == [
        ("Plugin.Activate", 0),
        ("IpamDriver.GetCapabilities", 0),
        ("IpamDriver.GetDefaultAddressSpaces", 0),
    ]
    assert {call["type"] for call in calls} == {"application/vnd.docker.plugins.v1.1+json"}


def test_replay_asks_no_plugin(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """The log alone says what a network has, whether the plugin runs or not."""
    controller = opened(state)
    create(controller).create_endpoint("web")
    before = len(plugin.calls())
    views = Views()
    for record in controller.history():
        views.fold(record.position, record.event)
    assert views.digest() == controller.views.digest()
    assert len(plugin.calls()) == before


def test_a_plugin_chooses_the_block(start_plugin: Callable[..., PluginProcess], opened: Opened) -> None:
    """One over TCP, which supplies the gateway with the pool; the host's own blocks are its affair."""
    plugin = start_plugin("--gateway", tcp=True)
    network = create(opened(), subnets=[])
    assert plugin.pools == {"testLocal/10.240.0.0/24": ["10.240.0.1"]}
    assert plugin.calls("RequestAddress") == []
    network.delete()
    assert plugin.pools == {}


@pytest.mark.parametrize(
    ("size", "given", "endpoint"),
    [("0.0.0.0/28", "10.240.0.0/28", "10.240.0.2/28"), ("::/80", "fd77::/80", "fd77::2/80")],
)
def test_a_plugin_chooses_a_block_of_a_size(
    plugin: PluginProcess, opened: Opened, size: str, given: str, endpoint: str
) -> None:
    """It is asked as libnetwork asks, with an address that is all zero, and its answer is recorded."""
    controller = opened()
    network = create(controller, subnets=[size], ipv4=":" not in size)
    assert [call["Pool"] for call in plugin.calls("RequestPool")] == [size]
    assert [str(event.subnet) for event in events(controller, PoolAllocated)] == [given]
    assert [str(address) for address in network.create_endpoint("e").info().addresses] == [endpoint]
    network.delete(force=True)
    assert plugin.pools == {}


@pytest.mark.parametrize(
    ("answer", "because"),
    [("10.3.0.0/25", "is not of the size that was asked for, /24"), ("0.0.0.0/24", "is what a size is asked for with")],
)
def test_a_block_of_another_size_is_given_back(
    plugin: PluginProcess, opened: Opened, answer: str, because: str
) -> None:
    """Also what a plugin gives that takes the question for a block's name."""
    controller = opened()
    plugin.misbehave("RequestPool", "answer", {"PoolID": "p", "Pool": answer})
    with pytest.raises(PluginFault, match=because):
        create(controller, subnets=["0.0.0.0/24"])
    assert {call["PoolID"] for call in plugin.calls("ReleasePool")} == {"p"}
    assert events(controller, PoolAllocated) == []


def test_a_plugin_that_wants_it_is_told_the_mac_address(
    start_plugin: Callable[..., PluginProcess], opened: Opened
) -> None:
    """The one that the endpoint then has, whoever chose it."""
    plugin = start_plugin("--mac")
    network = create(opened())
    endpoints = [network.create_endpoint("a"), network.create_endpoint("b", mac="02:42:00:00:00:07")]
    told = [call["Options"].get("com.docker.network.endpoint.macaddress") for call in plugin.calls("RequestAddress")]
    assert told == [None, endpoints[0].info().mac, "02:42:00:00:00:07"]


def test_an_address_that_is_kept_for_a_name_is_asked_for(plugin: PluginProcess, opened: Opened) -> None:
    """A reservation of ours is honoured by asking the plugin for that very address."""
    network = create(controller := opened())
    controller.ipam.reserve(network, "db", "10.9.0.50")
    network.create_endpoint("db")
    assert "10.9.0.50" in plugin.pools[POOL]


# --- refusals


def test_what_the_plugin_refuses_is_told_in_its_words(plugin: PluginProcess, opened: Opened) -> None:
    """And what it had given by then, the pool, is given back."""
    controller = opened()
    plugin.misbehave("RequestAddress", "answer", {"Error": "the moon is full"})
    with pytest.raises(PluginRefused, match=r"plugin 'lab' .*RequestAddress: it refuses: the moon is full"):
        create(controller)
    assert plugin.pools == {}
    assert events(controller, NetworkCreated, ReturnOwed) == []


def test_what_we_refuse_is_given_back(plugin: PluginProcess, opened: Opened) -> None:
    """A command may be refused after the plugin was asked, by its ports here."""
    network = create(controller := opened())
    network.create_endpoint("a", ports=["8080:80"])
    held = plugin.pools[POOL]
    with pytest.raises(Conflict, match="port"):
        network.create_endpoint("b", ports=["8080:80"])
    assert plugin.pools[POOL] == held
    assert not controller.views.driver_pools.owed


def test_what_need_not_be_asked_is_not(plugin: PluginProcess, opened: Opened) -> None:
    """An overlap, a name that is taken, an address that is held: the log knows."""
    network = create(controller := opened())
    network.create_endpoint("a", addresses=["10.9.0.7"])
    count = len(plugin.calls())
    with pytest.raises(Conflict, match=r"10\.9\.0\.0/25 overlaps 10\.9\.0\.0/24 of network n"):
        create(controller, "m", subnets=["10.9.0.0/25"])
    with pytest.raises(Conflict, match="name"):
        network.create_endpoint("a")
    with pytest.raises(Conflict, match=r"10\.9\.0\.7 is held by endpoint a"):
        network.create_endpoint("b", addresses=["10.9.0.7"])
    with pytest.raises(Invalid, match="none of this network's subnets"):
        network.create_endpoint("b", addresses=["10.8.0.7"])
    pool = next(iter(controller.views.driver_pools.pools))
    with pytest.raises(Invalid, match="gives its addresses, to endpoints alone"):
        controller.do(RequestAddress(pool, "a" * 64))
    assert len(plugin.calls()) == count


def test_a_plugin_that_is_not_there_is_named(opened: Opened, plugins: Path) -> None:
    """With the places where it was looked for."""
    with pytest.raises(NotFound, match=rf"find plugin 'lab': no lab\.sock, \.spec or \.json in {plugins}"):
        create(opened())


@pytest.mark.parametrize(
    ("method", "answer", "because"),
    [
        ("RequestPool", {"PoolID": "p", "Pool": "nonsense"}, "'nonsense' is no block of addresses"),
        ("RequestPool", {"PoolID": "p", "Pool": "10.9.0.1/24"}, "is no block of addresses"),
        ("RequestPool", {"PoolID": "p", "Pool": "10.8.0.0/24"}, "is not the block that was asked for"),
        ("RequestPool", {"PoolID": "", "Pool": SUBNET}, "a pool id of 0 characters"),
        ("RequestPool", {"Pool": SUBNET}, "its answer cannot be read .*missing required field"),
        ("RequestPool", "{", "its answer cannot be read"),
        ("RequestPool", '"text"', "its answer cannot be read"),
        (
            "RequestPool",
            {"PoolID": "p", "Pool": SUBNET, "Data": {"com.docker.network.gateway": "10.8.0.1/24"}},
            "its gateway 10.8.0.1/24 is outside its pool",
        ),
        ("RequestAddress", {"Address": "10.8.0.1/24"}, r"10\.8\.0\.1/24 is outside its pool 10\.9\.0\.0/24"),
        ("RequestAddress", {"Address": "10.9.0.9/16"}, "has not the prefix length of its pool"),
        ("RequestAddress", {"Address": "10.9.0.9"}, "has not the prefix length of its pool"),
        ("RequestAddress", {"Address": "fd00::9/24"}, "is not an IPv4 address"),
        ("RequestAddress", {"Address": "10.9.0.255/24"}, "is reserved in"),
        ("RequestAddress", {"Address": ""}, "'' is no address"),
        ("RequestAddress", {"Address": "\x1b[31m" + "x" * 5000}, r"x{100}\.\.\.' is no address"),
    ],
)
def test_a_wrong_answer_is_refused_and_given_back(
    plugin: PluginProcess, opened: Opened, method: str, answer: object, because: str
) -> None:
    """Before anything is recorded; the refusal names the plugin and what it said."""
    controller = opened()
    plugin.misbehave(method, "answer", answer)
    with pytest.raises(PluginFault, match=because) as caught:
        create(controller)
    assert "plugin 'lab'" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert events(controller, NetworkCreated, PoolAllocated) == []
    assert plugin.pools == {}
    create(controller)  # it can be had as soon as the plugin answers rightly


def test_an_address_that_is_given_twice_stays_its_holders(plugin: PluginProcess, opened: Opened) -> None:
    """A duplicate is refused, and not given back: that would take it from the endpoint that has it."""
    network = create(opened())
    network.create_endpoint("a", addresses=["10.9.0.7"])
    plugin.misbehave("RequestAddress", "answer", {"Address": "10.9.0.7/24"})
    with pytest.raises(PluginFault, match=r"wrong answer: 10\.9\.0\.7 is held by endpoint a already \(position \d+\)"):
        network.create_endpoint("b")
    assert "10.9.0.7" in plugin.pools[POOL]
    assert plugin.calls("ReleaseAddress") == []


def test_a_pool_that_is_given_twice_stays_its_holders(plugin: PluginProcess, opened: Opened) -> None:
    """The same of pools."""
    create(controller := opened())
    plugin.misbehave("RequestPool", "answer", {"PoolID": POOL, "Pool": SUBNET})
    with pytest.raises(PluginFault, match="is held already"):
        create(controller, "m", subnets=[])
    assert POOL in plugin.pools


# --- what does not answer


@pytest.mark.parametrize(
    ("how", "value", "because"),
    [
        ("close", None, "no answer: Remote end closed connection"),
        ("die", None, "its answer broke off"),
        ("status", [500, "database is locked"], "HTTP status 500: database is locked"),
        ("huge", 2_000_000, "longer than 1048576 bytes"),
    ],
)
def test_a_plugin_that_fails_is_told_as_a_fault(
    plugin: PluginProcess, opened: Opened, how: str, value: object, because: str
) -> None:
    """Nothing is recorded of the endpoint; what is already there is not touched."""
    network = create(controller := opened())
    plugin.misbehave("RequestAddress", how, value)
    with pytest.raises(PluginFault, match=because):
        network.create_endpoint("a")
    assert [endpoint.name for endpoint in controller.endpoints()] == []
    assert len(plugin.calls("RequestAddress")) == 2 if how != "die" else True, "what was sent is not sent again"


def test_what_cannot_be_given_back_is_owed_until_it_can(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """The delete stands, the fault is in the log, and the next start that finds the plugin settles it."""
    controller = opened(state)
    network = create(controller)
    endpoint = network.create_endpoint("a")
    plugin.misbehave("ReleaseAddress", "status", [500, "database is locked"])
    endpoint.delete()
    assert controller.endpoints() == []
    owed = events(controller, ReturnOwed)
    assert [(event.driver_pool, event.address) for event in owed] == [(POOL, parse_address("10.9.0.2"))]
    assert "database is locked" in owed[0].message
    network.delete()  # the plugin is left alone for a while; its pool waits for the address
    assert plugin.pools == {POOL: ["10.9.0.1", "10.9.0.2"]}
    controller.close()
    again = opened(state)
    assert plugin.pools == {}
    assert not again.views.driver_pools.owed
    assert len(events(again, ReturnOwed)) == 1


def test_an_owed_address_that_is_given_anew_is_not_given_back(plugin: PluginProcess, opened: Opened) -> None:
    """An endpoint has it again, so there is nothing to return."""
    network = create(controller := opened())
    endpoint = network.create_endpoint("a")
    plugin.misbehave("ReleaseAddress", "close", after=True)
    endpoint.delete()
    assert len(controller.views.driver_pools.owed) == 1
    network.create_endpoint("b")
    assert controller.views.driver_pools.owed == {}
    assert plugin.pools[POOL] == ["10.9.0.1", "10.9.0.2"]


def test_what_another_writer_is_given_is_not_given_back(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """The plugin took an address back, but its answer was lost: another writer has it before that is recorded."""
    one, other = opened(state), opened(state)
    network = create(one)
    one.create_network("o").create_endpoint("o", ports=["8080:80"])
    plugin.misbehave("ReleaseAddress", "status", [500, "{}"], after=True)
    give_back = asking._return
    calls = []

    def late(*arguments: Any) -> None:
        try:
            give_back(*arguments)
        finally:
            if not calls:
                calls.append(1)
                network.create_endpoint("mine")

    with mock.patch.object(asking, "_return", late), pytest.raises(Conflict):
        other.network("n").create_endpoint("theirs", ports=["8080:80"])
    assert len(events(one, ReturnOwed)) == 1
    one.create_sandbox("x")
    assert plugin.pools[POOL] == ["10.9.0.1", "10.9.0.2"]
    assert one.views.driver_pools.owed == {}


@pytest.mark.parametrize("moment", ["before the call", "in the call"])
def test_what_another_writer_gave_back_and_was_given_is_left_to_it(
    plugin: PluginProcess, opened: Opened, state: Path, moment: str
) -> None:
    """One deletes an endpoint; before it calls, another gives its address back for it, and is given it anew."""
    one, other = opened(state), opened(state)
    create(one).create_endpoint("a", addresses=["10.9.0.2"])
    calls = []

    def meanwhile(work: Callable[..., Any]) -> Callable[..., Any]:
        def late(*arguments: Any) -> Any:
            if not calls:
                calls.append(1)
                other.create_sandbox("x")  # with which it gives back what is owed
                other.network("n").create_endpoint("theirs", addresses=["10.9.0.2"])
            return work(*arguments)

        return late

    place: tuple[Any, str] = (asking.RemoteDrivers, "ready") if moment == "before the call" else (asking, "_return")
    with mock.patch.object(*place, meanwhile(getattr(*place))):
        one.endpoint("a").delete()
    assert plugin.pools == {POOL: ["10.9.0.1", "10.9.0.2"]}, "theirs is not taken from them"
    assert len(plugin.calls("ReleaseAddress")) == (1 if moment == "before the call" else 2)
    told = [line for event in events(one, DriftDetected) for line in event.differences]
    assert bool(told) == (moment == "in the call")
    other.endpoint("theirs").delete()
    assert plugin.pools == {POOL: ["10.9.0.1"]}
    assert one.views.driver_pools.owed == {}


def test_what_another_writer_owes_anew_is_owed_until_it_went_back(
    plugin: PluginProcess, opened: Opened, state: Path
) -> None:
    """It went back, was given to another, deleted and not taken: the first debt's end is not that of the second."""
    one, other = opened(state), opened(state)
    create(one).create_endpoint("a")
    give_back = asking._return
    calls = []

    def late(*arguments: Any) -> None:
        give_back(*arguments)
        if not calls:
            calls.append(1)
            theirs = other.network("n").create_endpoint("theirs", addresses=["10.9.0.2"])
            plugin.misbehave("ReleaseAddress", "status", [500, "{}"])
            theirs.delete()

    with mock.patch.object(asking, "_return", late):
        one.endpoint("a").delete()
    with one.reading() as views:
        assert [key[3] for key in views.driver_pools.owed] == [parse_address("10.9.0.2")]
    one.create_sandbox("y")
    assert plugin.pools == {POOL: ["10.9.0.1"]}


def test_a_debt_of_what_is_held_ends_without_a_call(plugin: PluginProcess, opened: Opened) -> None:
    """However it came to be owed."""
    controller = opened()
    create(controller).create_endpoint("a")
    address = parse_address("10.9.0.2")
    views = controller.views
    released = next(record for record in controller.history() if isinstance(record.event, AddressAllocated))
    views.driver_pools.owed[released.event.host, "lab", POOL, address] = released
    controller.create_sandbox("x")
    assert [event.address for event in events(controller, ReturnEnded)] == [address]
    assert plugin.calls("ReleaseAddress") == []


def test_a_return_that_is_refused_ends_with_what_was_said(plugin: PluginProcess, opened: Opened) -> None:
    """The plugin keeps its own books: what it does not know, it need not have back."""
    network = create(controller := opened())
    endpoint = network.create_endpoint("a")
    plugin.misbehave("ReleaseAddress", "answer", {"Error": "not mine"})
    endpoint.delete()
    ended = events(controller, ReturnEnded)
    assert ["not mine" in event.refused for event in ended] == [True]
    assert controller.views.driver_pools.owed == {}


def test_a_handshake_that_is_refused_ends_no_debt(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """Only the plugin's answer to the return itself does."""
    controller = opened(state)
    network = create(controller)
    plugin.misbehave("ReleaseAddress", "close")
    network.create_endpoint("a").delete()
    controller.close()
    plugin.misbehave("GetDefaultAddressSpaces", "answer", {"Error": "not yet"}, times=2)
    again = opened(state)
    assert "it refuses: not yet" in str(again.recovery)
    assert len(again.views.driver_pools.owed) == 1
    again.close()
    assert opened(state).views.driver_pools.owed == {}
    assert plugin.pools == {POOL: ["10.9.0.1"]}


def test_what_a_failed_command_cannot_give_back_is_owed(plugin: PluginProcess, opened: Opened) -> None:
    """Compensation fails, too: the log says so, and it is tried again."""
    controller = opened()
    plugin.misbehave("RequestAddress", "answer", {"Error": "no"})
    plugin.misbehave("ReleasePool", "status", [500, "busy"])
    with pytest.raises(PluginRefused):
        create(controller)
    (owed,) = events(controller, ReturnOwed)
    assert (owed.driver_pool, owed.address) == (POOL, b"")
    assert "busy" in owed.message
    create(controller, "m", subnets=["10.8.0.0/24"])
    assert list(plugin.pools) == ["testLocal/10.8.0.0/24"]


# --- other writers, crashes, restarts


def test_an_answer_outlasts_a_refused_append(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """Another writer is first: the command is decided again with the same answers, and nothing leaks."""
    one, other = opened(state), opened(state)
    network = create(one)
    append = Ledger.append
    calls = []

    def late(ledger: Ledger, *arguments: Any, **others: Any) -> Any:
        if not calls:
            calls.append(1)
            other.network("n").create_endpoint("first")
        return append(ledger, *arguments, **others)

    with mock.patch.object(Ledger, "append", late):
        network.create_endpoint("second")
    held = {str(address) for endpoint in one.endpoints() for address in endpoint.info().addresses}
    assert plugin.pools[POOL] == ["10.9.0.1", "10.9.0.2", "10.9.0.3"]
    assert len(held) == 2
    assert len(plugin.calls("RequestAddress")) == 3, "the gateway, and one for each endpoint"


def test_what_a_lost_race_makes_useless_is_given_back(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """Another writer takes the name: the command is refused in the end."""
    one, other = opened(state), opened(state)
    network = create(one)
    append = Ledger.append
    calls = []

    def late(ledger: Ledger, *arguments: Any, **others: Any) -> Any:
        if not calls:
            calls.append(1)
            other.network("n").create_endpoint("same")
        return append(ledger, *arguments, **others)

    with mock.patch.object(Ledger, "append", late), pytest.raises(Conflict):
        network.create_endpoint("same")
    assert len(plugin.pools[POOL]) == 2


def test_what_another_writer_was_given_meanwhile_is_its_own(
    start_plugin: Callable[..., PluginProcess], opened: Opened, state: Path
) -> None:
    """A plugin that gives the same block to both: who loses the race does not give the winner's back."""
    plugin = start_plugin("--replay")
    one, other = opened(state), opened(state)
    append = Ledger.append
    calls = []

    def late(ledger: Ledger, *arguments: Any, **others: Any) -> Any:
        if not calls:
            calls.append(1)
            create(other, "winner")
        return append(ledger, *arguments, **others)

    with mock.patch.object(Ledger, "append", late), pytest.raises(Conflict, match="winner"):
        create(one, "loser")
    assert plugin.pools == {POOL: ["10.9.0.2"]}, "the winner's gateway; the loser's went back, and the pool did not"
    assert plugin.calls("ReleasePool") == []


def test_a_fault_of_the_dataplane_gives_everything_back(plugin: PluginProcess, opened: Opened) -> None:
    """What is taken back by an event goes back to the plugin, too."""

    def busy(step: Step) -> int:
        return 16 * (step.verb is not Verb.REMOVE and isinstance(step.object, Bridge))

    failing = SimulatedDataplane(SimulatedKernel(), faults=busy)
    controller = opened(dataplane=failing)
    with pytest.raises(DataplaneFault):
        create(controller)
    assert controller.networks() == []
    assert plugin.pools == {}


def test_a_batch_asks_for_each_of_its_commands(plugin: PluginProcess, opened: Opened) -> None:
    """A network and its endpoints in one append; the command that is refused gives back its own alone."""
    controller = opened()
    network = NetworkId("a" * 64)
    commands = [
        CreateNetwork(network, "n", pools=(PoolRequest(4),), ipam_driver="lab"),
        CreateEndpoint(EndpointId("b" * 64), network, "one"),
        CreateEndpoint(EndpointId("c" * 64), network, "bad", mac=b"\xff" * 6),
        CreateEndpoint(EndpointId("d" * 64), network, "two"),
    ]
    results = controller.execute(commands)
    assert [result.error is None for result in results] == [True, True, False, True]
    assert plugin.pools == {"testLocal/10.240.0.0/24": ["10.240.0.1", "10.240.0.2", "10.240.0.4"]}


def test_a_plugin_that_forgets_is_told_again(
    start_plugin: Callable[..., PluginProcess], opened: Opened, state: Path
) -> None:
    """At the next start: pool, gateway, auxiliary and endpoint addresses, before any command."""
    plugin = start_plugin("--replay")
    controller = opened(state)
    network = create(controller, auxiliary={"printer": "10.9.0.5"})
    network.create_endpoint("a")
    held = plugin.pools
    controller.close()
    plugin.kill()
    plugin.start()
    assert plugin.pools == {}
    again = opened(state)
    assert plugin.pools == held
    assert [call["Options"] for call in plugin.calls("RequestAddress")] == [
        {"RequestAddressType": "com.docker.network.gateway"},
        None,
        None,
    ]
    assert events(again, DriftDetected) == []
    assert again.recovery is None


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Let all plugins together have a moment at a start."""
    limits = Limits(1.0, 2.0, 2.0, together_seconds=0.5)
    monkeypatch.setattr(opening, "RemoteDrivers", partial(asking.RemoteDrivers, limits=limits))
    return limits


@pytest.mark.usefixtures("hurry")
def test_a_start_waits_for_all_plugins_together_no_longer_than_its_time(
    start_plugin: Callable[..., PluginProcess], opened: Opened, state: Path
) -> None:
    """A slow one that forgets is told the rest the next time, and what was answered not twice."""
    plugins = [start_plugin("--replay", name=name) for name in ("lab", "slow")]
    controller = opened(state)
    network = create(controller)
    for number in range(6):
        network.create_endpoint(f"e{number}")
    controller.create_network("m", ipam_driver="slow", subnets=["10.8.0.0/24"]).create_endpoint("other")
    controller.close()
    for plugin in plugins:
        plugin.kill()
        plugin.start()
        plugin.misbehave("RequestAddress", "late", 0.2, times=3, after=True)
    begun = time.monotonic()
    controller = opened(state)
    assert time.monotonic() - begun < 1.5
    assert controller.recovery is not None
    assert "the time" in " ".join(controller.recovery.warnings)
    first = len(plugins[0].calls("RequestAddress"))
    assert 1 <= first <= 3, "the gateway and an endpoint or two of seven"
    assert plugins[1].calls("RequestAddress") == []
    controller.network("n").create_endpoint("late")  # which goes on where the start has stopped
    asked = [call["Address"] for call in plugins[0].calls("RequestAddress") if call["Address"]]
    assert sorted(set(asked)) == [f"10.9.0.{number}" for number in range(1, 8)]
    assert len(asked) <= len(set(asked)) + 1, "what was cut short is asked for twice, and no more"
    assert len(plugins[0].pools[POOL]) == 8


@pytest.mark.usefixtures("hurry")
def test_one_on_tcp_is_told_from_the_beginning(
    start_plugin: Callable[..., PluginProcess], opened: Opened, state: Path
) -> None:
    """It may have been started anew since the time was over: nothing tells one process there from the next."""
    plugin = start_plugin("--replay", tcp=True)
    controller = opened(state)
    network = create(controller)
    for number in range(6):
        network.create_endpoint(f"e{number}")
    controller.close()
    plugin.kill()
    plugin.start()
    plugin.misbehave("RequestAddress", "late", 0.2, times=9, after=True)
    controller = opened(state)
    assert controller.recovery is not None
    assert len(controller.recovery.warnings) == 1
    plugin.kill()
    plugin.start()
    controller.network("n").create_endpoint("late")
    assert len(plugin.pools[POOL]) == 8


@pytest.mark.usefixtures("hurry")
def test_what_is_owed_is_given_back_as_far_as_the_time_goes(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """The rest stays owed, a start says so, and the next one goes on."""
    controller = opened(state)
    network = create(controller)
    endpoints = [network.create_endpoint(f"e{number}") for number in range(6)]
    plugin.kill()
    for endpoint in endpoints:
        endpoint.delete()
    controller.close()
    plugin.start()
    plugin.misbehave("ReleaseAddress", "late", 0.2, times=9, after=True)
    begun = time.monotonic()
    controller = opened(state)
    assert time.monotonic() - begun < 1.5
    assert controller.recovery is not None
    assert "is to get something of its pool" in " ".join(controller.recovery.warnings)
    assert 1 <= len(plugin.calls("ReleaseAddress")) <= 3
    assert len(controller.views.driver_pools.owed) >= 3


@pytest.mark.usefixtures("hurry")
def test_a_batch_waits_no_longer_for_what_it_gives_back(plugin: PluginProcess, opened: Opened) -> None:
    """Of ten addresses that no command kept, a slow plugin has some back at once, and the rest later."""
    network = create(controller := opened())
    network.create_endpoint("taken", ports=["8080:80"])
    plugin.misbehave("ReleaseAddress", "late", 0.2, times=20, after=True)
    port = (parse_port("8080:80"),)
    commands = [CreateEndpoint(identifier(f"e{n}"), network.id, f"e{n}", ports=port) for n in range(10)]
    begun = time.monotonic()
    assert all(result.error is not None for result in controller.execute(commands))
    assert time.monotonic() - begun < 3  # half a second at the end of the batch, and again for what is owed
    assert 1 <= len(plugin.calls("ReleaseAddress")) <= 6
    assert len(events(controller, ReturnOwed)) >= 5


def test_a_plugin_that_crashed_meanwhile_is_told_again_before_it_is_asked(
    start_plugin: Callable[..., PluginProcess], opened: Opened
) -> None:
    """It is noticed when it does not answer; the next command tells it all it had given."""
    plugin = start_plugin("--replay")
    network = create(opened())
    network.create_endpoint("a")
    plugin.kill()
    with pytest.raises(PluginFault, match="no answer"):
        network.create_endpoint("b")
    plugin.start()
    network.create_endpoint("b")
    assert plugin.pools == {POOL: ["10.9.0.1", "10.9.0.2", "10.9.0.3"]}


def test_a_plugin_that_was_replaced_meanwhile_is_told_before_it_is_asked(
    start_plugin: Callable[..., PluginProcess], opened: Opened
) -> None:
    """Between two commands: another process has made the socket's file."""
    plugin = start_plugin("--replay")
    network = create(opened())
    plugin.kill()
    plugin.start()
    network.create_endpoint("b")
    assert plugin.pools == {POOL: ["10.9.0.1", "10.9.0.2"]}


def test_a_plugin_that_answers_otherwise_than_before_is_drift(
    start_plugin: Callable[..., PluginProcess], opened: Opened, state: Path
) -> None:
    """It is recorded and told, and everything else works."""
    plugin = start_plugin("--replay")
    controller = opened(state)
    create(controller)
    controller.close()
    plugin.misbehave("RequestAddress", "answer", {"Error": "somebody else has it"})
    again = opened(state)
    (drift,) = events(again, DriftDetected)
    assert len(drift.differences) == 1
    assert "IPAM plugin lab, pool 10.9.0.0/24, gateway address 10.9.0.1: it refuses: somebody" in drift.differences[0]
    assert again.recovery is not None
    assert "somebody else has it" in str(again.recovery)


def test_a_plugin_that_is_gone_does_not_stop_a_start(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """Its networks stand; only what needs it is refused."""
    controller = opened(state)
    create(controller).create_endpoint("a")
    controller.close()
    plugin.kill()
    again = opened(state)
    assert "no answer" in str(again.recovery)
    again.create_network("ours")
    with pytest.raises(Unavailable, match="no answer"):
        again.network("n").create_endpoint("b")
    again.network("n").endpoints()[0].delete()
    assert len(again.views.driver_pools.owed) == 1
    again.close()
    last = opened(state)
    assert f"IPAM plugin lab is to get something of its pool {POOL} back" in str(last.recovery)
    assert len(events(last, ReturnOwed)) == 1, "the same is not told twice"


def test_the_kernel_is_made_good_before_a_plugin_is_met(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """A plugin may take long to answer."""
    controller = opened(state)
    create(controller)
    controller.close()
    before = len(plugin.calls())
    counts = []
    make_good = opening._make_good

    def counted(*arguments: Any, **others: Any) -> Any:
        made = make_good(*arguments, **others)
        counts.append(len(plugin.calls()))
        return made

    with mock.patch.object(opening, "_make_good", counted):
        opened(state)
    assert counts == [before]
    assert len(plugin.calls()) > before


def test_a_crash_between_deletion_and_return_is_made_good(plugin: PluginProcess, opened: Opened, state: Path) -> None:
    """What is released in the log is owed from then on, whatever becomes of the process."""
    controller = opened(state)
    create(controller).create_endpoint("a")
    interrupted = mock.patch("netledger.engine.machine.return_owed", side_effect=KeyboardInterrupt)
    with interrupted, pytest.raises(KeyboardInterrupt):
        controller.endpoints()[0].delete()
    assert plugin.pools[POOL] == ["10.9.0.1", "10.9.0.2"]
    controller.close()
    opened(state)
    assert plugin.pools[POOL] == ["10.9.0.1"]


DIES = """
import os, signal, sys
from unittest import mock
from netledger import Controller
from netledger.ledger.ledger import Ledger
from netledger.testing.checkers import check_log

state, plugins = sys.argv[1:]
controller = Controller.open(state, dataplane="none", plugin_directories=[plugins])
network = controller.network("n")
with mock.patch.object(Ledger, "append", lambda *_: os.kill(os.getpid(), signal.SIGKILL)):
    network.create_endpoint("a")
"""


@pytest.mark.parametrize("keeps_books", [True, False])
def test_a_crash_between_an_answer_and_its_append_leaks_one_address(
    start_plugin: Callable[..., PluginProcess],
    opened: Opened,
    state: Path,
    plugins: Path,
    keeps_books: bool,
) -> None:
    """Only the plugin knows what it answered; nothing of it is in the log, and nobody gets it twice.

    A plugin that keeps no books has lost it at its next start; another keeps it until the network is deleted.
    """
    plugin = start_plugin(*([] if keeps_books else ["--replay"]))
    controller = opened(state)
    network = create(controller)
    controller.close()
    killed = subprocess.run([sys.executable, "-c", DIES, str(state), str(plugins)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert plugin.pools == {POOL: ["10.9.0.1", "10.9.0.2"]}
    if not keeps_books:
        plugin.kill()
        plugin.start()
    again = opened(state)
    network = again.network("n")
    assert again.endpoints() == []
    network.create_endpoint("a")
    assert plugin.pools == {
        POOL: ["10.9.0.1", *(["10.9.0.2"] if keeps_books else []), f"10.9.0.{3 if keeps_books else 2}"]
    }
    network.endpoints()[0].delete()
    network.delete()
    assert plugin.pools == {}
