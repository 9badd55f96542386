"""What makes attaching quick changes nothing of what comes out, also where it does not hold."""

from __future__ import annotations

import msgspec
import pytest

from netledger.dataplanes.linux import rooms
from netledger.dataplanes.linux.dataplane import prepare_room

V4, V6 = "10.5.0.0/24", "fd05::/64"


@pytest.fixture
def network(stage):
    """Give a network, made."""
    network = stage.network("network1", V4, V6)
    stage.make(*stage.forwarding, *network.objects)
    return network


@pytest.mark.parametrize("index", [0, 2, 7], ids=["unknown", "right", "wrong"])
def test_the_index_of_the_first_link_is_known_or_looked_up(stage, network, monkeypatch, index):
    """A container end has its mark, addresses and routes whether its index was guessed right, wrong or not at all."""
    fresh = rooms._fresh_room

    def guessing(kernel):
        room = fresh(kernel)
        assert room.next_index == 2
        room.next_index = index
        return room

    monkeypatch.setattr(rooms, "_fresh_room", guessing)
    member = stage.member(network, "member1")
    stage.make(*member.objects)
    assert set(member.objects) <= stage.observed()
    (link,) = stage.ip("addr", "show", "dev", "eth0", namespace=member.path)
    assert (link["ifindex"], link["operstate"]) == (2, "UP")
    assert {address["local"] for address in link["addr_info"]} >= set(member.texts)


def test_a_guess_is_not_made_of_two_links(stage, network):
    """In a new namespace with two container ends both are looked up."""
    other = stage.network("network2", "10.6.0.0/24")
    stage.make(*other.objects)
    first, second = stage.member(network, "member1"), stage.member(other, "member2")
    change = msgspec.structs.replace
    inner = [
        change(second.pair, sandbox=first.sandbox, name="eth1"),
        *(change(address, sandbox=first.sandbox, device="eth1") for address in second.addresses),
    ]
    stage.make(*first.objects, *inner)
    assert {*first.objects, *inner} <= stage.observed()


def test_a_namespace_is_made_while_the_log_is_written(stage, network):
    """Being told to make ready makes one namespace that has no name; the next sandbox gets it."""
    stage.dataplane.make_ready()
    kernel = stage.dataplane._kernel
    for _ in range(3):
        stage.dataplane.make_ready()
    stage.dataplane.settle(1)
    stage.dataplane._work(prepare_room)  # at the latest
    spare = kernel.spare
    member = stage.member(network, "member1")
    stage.make(*member.objects)
    assert spare is not None
    assert set(member.objects) <= stage.observed()
    assert kernel.spare is not spare
