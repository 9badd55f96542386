"""Configuration-only networks: settings under a name, which networks are made with."""

from __future__ import annotations

import pytest
from msgspec import structs

from netledger.domain.commands import (
    CreateConfigurationNetwork,
    CreateNetwork,
    DeleteNetwork,
    EndReservation,
    PoolRequest,
    ReserveAddress,
)
from netledger.domain.errors import Conflict, Forbidden, InUse, Invalid, NotFound
from netledger.domain.events import (
    AddressAllocated,
    ConfigurationNetworkCreated,
    ConfigurationNetworkDeleted,
    NetworkCreated,
    PoolAllocated,
)
from netledger.domain.facts import HostLink
from netledger.domain.networks import links_of
from netledger.domain.values import AllocationPolicy, parse_address, parse_subnet
from netledger.engine.pool_requests import check_holds_settings_only
from netledger.projections.desired import lower_everything
from tests.desk import HOST, create_endpoint, create_network, identifier, pool

MTU = "com.docker.network.driver.mtu"
BLOCK = pool(
    "10.9.0.0/24",
    "10.9.0.7",
    policy=AllocationPolicy.STICKY,
    sub_pool=parse_subnet("10.9.0.128/25"),
    auxiliary={"printer": parse_address("10.9.0.9")},
    rest_seconds=5,
    grace_seconds=60,
)
SETTINGS = CreateConfigurationNetwork(
    identifier("settings"),
    "settings",
    (BLOCK, PoolRequest(6)),
    options={MTU: "1400"},
    labels={"team": "blue"},
    ipam_options={"netledger.ipam.mac": "ipv4"},
)
MADE = CreateNetwork(identifier("n"), "n", config_from="settings")


def test_settings_are_kept_and_nothing_is_taken(desk):
    """One event has everything that was given, as it was given; no pool is taken, and nothing is in the kernel."""
    [created] = desk.do(SETTINGS)
    assert isinstance(created, ConfigurationNetworkCreated)
    assert created.options == {MTU: "1400"}
    assert created.labels == {"team": "blue"}
    assert [pool.subnet for pool in created.pools] == [parse_subnet("10.9.0.0/24"), None]
    assert lower_everything(desk.views, HOST) == {}
    desk.do(create_network("other", "10.9.0.0/24"))  # the block is free


def test_a_network_takes_all_settings_and_its_event_has_them(desk):
    """What the network is made with is in its own events: the template is never read again."""
    desk.do(SETTINGS)
    events = desk.do(structs.replace(MADE, internal=True))
    created = events[-1]
    assert isinstance(created, NetworkCreated)
    assert created.config_from == identifier("settings")
    assert f"config-from:{identifier('settings')}" in created.tags()
    assert created.internal
    assert created.options[MTU] == 1400
    assert (created.labels, created.ipam_options) == ({"team": "blue"}, {"netledger.ipam.mac": "ipv4"})
    assert created.pools[0].gateway == parse_address("10.9.0.7")
    taken = next(event for event in events if isinstance(event, PoolAllocated))
    assert (taken.policy, str(taken.sub_pool)) == (AllocationPolicy.STICKY, "10.9.0.128/25")
    assert (taken.rest_seconds, taken.grace_seconds) == (5, 60)
    assert [event.name for event in events if isinstance(event, AddressAllocated) and event.purpose == "auxiliary"] == [
        "printer"
    ]


def test_the_same_as_asking_for_it_all(desk):
    """A network made from settings is the one that has them all in its own command, but for where they came from."""
    desk.do(SETTINGS)
    made = desk.decide(MADE).events
    spelled = desk.decide(
        CreateNetwork(
            MADE.network,
            MADE.name,
            pools=SETTINGS.pools,
            options=SETTINGS.options,
            labels=SETTINGS.labels,
            ipam_options=SETTINGS.ipam_options,
        )
    ).events
    assert (*made[:-1], structs.replace(made[-1], config_from="")) == spelled


def test_several_networks_share_settings_that_leave_the_block_open(desk):
    """Each gets a block of its own, and the configuration network names the oldest of them until all are gone."""
    desk.do(CreateConfigurationNetwork(identifier("open"), "open"))
    desk.do(CreateNetwork(identifier("n1"), "n1", config_from="open"))
    desk.do(CreateNetwork(identifier("n2"), "n2", config_from="open"))
    delete = DeleteNetwork(identifier("open"), force=True)
    refusal = desk.refusal(InUse, delete)
    assert str(refusal) == (
        'delete network open: configuration network "open" is in use by 2 network(s), the first is network n1 '
        f"(position {desk.position_of(NetworkCreated, name='n1')}); delete them first"
    )
    desk.do(DeleteNetwork(identifier("n1")))
    assert "1 network(s), the first is network n2" in str(desk.refusal(InUse, delete))
    desk.do(DeleteNetwork(identifier("n2")))
    assert [type(event) for event in desk.do(delete)] == [ConfigurationNetworkDeleted]
    desk.do(create_network("open", network=identifier("open")))  # name and id are free again


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"options": {MTU: 1400}}, "network driver options are not supported if the network depends on"),
        ({"labels": {"a": "b"}}, "user-specified configurations are not supported if the network depends on"),
        ({"pools": (BLOCK,)}, "user-specified configurations are not supported"),
        ({"pools": (PoolRequest(4), PoolRequest(6))}, "user-specified configurations are not supported"),
        ({"ipam_driver": "null", "pools": ()}, "user-specified configurations are not supported"),
        ({"ipam_options": {"com.docker.network.ipam.serial": True}}, "user-specified configurations are not"),
    ],
)
def test_no_settings_beside_it(desk, given, words):
    """Whatever the configuration network has, the network may not have of its own."""
    [created] = desk.do(SETTINGS)
    refusal = desk.refusal(Forbidden, structs.replace(MADE, **given))
    assert words in str(refusal)
    assert "leave them out: settings has them" in str(refusal)
    assert refusal.position == desk.position_of(type(created))


def test_only_a_configuration_network_has_settings_for_others(desk):
    """Neither a name that nothing has nor that of a network will do."""
    desk.do(create_network("settings"))
    assert 'configuration network "settings" does not exist' in str(desk.refusal(NotFound, MADE))


def test_the_driver_checks_options_when_a_network_is_made(desk):
    """Settings know no driver: what one refuses is refused by that one, for that network."""
    desk.do(structs.replace(SETTINGS, options={"parent": "eth0"}, pools=(PoolRequest(4),)))
    assert "unknown option 'parent'" in str(desk.refusal(Invalid, MADE))
    made = desk.do(structs.replace(MADE, driver="macvlan"), links={"eth0": HostLink("device", False)})
    assert made[-1].options["parent"] == "eth0"


def test_the_host_is_asked_for_the_interfaces_that_settings_name(desk):
    """As if the command had named them itself; a command that will be refused names none."""
    desk.do(structs.replace(SETTINGS, options={"parent": "eth0"}))
    assert links_of(desk.views, HOST, structs.replace(MADE, driver="macvlan")) == links_of(
        desk.views, HOST, create_network("x", driver="macvlan", options={"parent": "eth0"})
    )
    assert links_of(desk.views, HOST, structs.replace(MADE, config_from="nowhere")) == ()


def test_names_and_ids_are_shared_with_networks(desk):
    """One name, one id, whichever kind came first."""
    desk.do(SETTINGS)
    taken = "network with name settings already exists"
    assert taken in str(desk.refusal(Conflict, create_network("settings", network=identifier("x"))))
    assert taken in str(desk.refusal(Conflict, structs.replace(SETTINGS, network=identifier("x"))))
    same_id = create_network("x", network=identifier("settings"))
    assert "is network settings" in str(desk.refusal(Conflict, same_id))
    desk.do(create_network("net"))
    assert "network with name net already exists" in str(
        desk.refusal(Conflict, structs.replace(SETTINGS, name="net", network=identifier("x")))
    )
    assert "is network net" in str(
        desk.refusal(Conflict, structs.replace(SETTINGS, name="x", network=identifier("net")))
    )


def test_it_has_no_endpoints_and_no_addresses(desk):
    """An endpoint, a reservation and the end of one are refused, and say with what a network is made."""
    desk.do(SETTINGS)
    assert str(desk.refusal(Forbidden, create_endpoint("settings", "e"))) == (
        "create endpoint 'e': cannot create endpoint on configuration-only network (settings) (position 1); "
        "create a network with --config-from settings"
    )
    network, address = identifier("settings"), parse_address("10.9.0.9")
    for command in (ReserveAddress(network, "e", address), EndReservation(network, address)):
        assert "a configuration-only network has no addresses (settings)" in str(desk.refusal(Forbidden, command))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pools": ()}, "it has neither IPv4 nor IPv6"),
        ({"pools": (PoolRequest(4),) * 65}, "it asks for 65 address pools; give 64 at most"),
        ({"pools": (PoolRequest(4, size=33),)}, "there is no IPv4 block of /33"),
        ({"ipam_driver": "null"}, "the null IPAM driver gives no addresses"),
        ({"ipam_options": {"x": 1}}, "unknown option 'x'"),
        ({"options": {f"o{number}": "" for number in range(1000)}}, "labels: there are 1000"),
        ({"name": "a b"}, "a b"),
        ({"network": "no id"}, "no id"),
    ],
)
def test_settings_that_no_network_could_have_are_refused_at_once(desk, given, words):
    """Before anything is kept."""
    assert words in str(desk.refusal(Invalid, structs.replace(SETTINGS, **given)))


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (
            ("bridge", "other", False),
            Forbidden,
            "a configuration network cannot depend on another configuration network",
        ),
        (("bridge", "", True), Forbidden, "configuration network can only contain network specific fields. Network op"),
        (("macvlan", "", False), Invalid, "it has no driver, and 'macvlan' is asked for"),
    ],
)
def test_what_belongs_to_the_network_itself_is_no_setting(given, kind, words):
    """Driver, `internal` and another configuration network are refused."""
    driver, config_from, internal = given
    with pytest.raises(kind, match="create configuration network 's'") as caught:
        check_holds_settings_only("s", driver, config_from, internal=internal)
    assert words in str(caught.value)
