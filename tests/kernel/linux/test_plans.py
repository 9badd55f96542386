"""What plans do to a kernel, and what is read back."""

from __future__ import annotations

import pytest

from netledger.dataplanes.contract import Status, Verb

V4, V6 = "10.5.0.0/24", "fd05::/64"


@pytest.fixture
def pair_of_members(stage):
    """Give a network with two endpoints in sandboxes of their own, made."""
    network = stage.network("network1", V4, V6)
    web, db = stage.member(network, "web"), stage.member(network, "db")
    stage.make(*stage.forwarding, *network.objects, *web.objects, *db.objects, *web.publish(8080))
    return network, web, db


def test_endpoints_of_a_network_reach_each_other(stage, pair_of_members):
    """Two sandboxes on one bridge exchange packets, in both families, over both protocols."""
    _, web, db = pair_of_members
    for address in web.texts:
        for protocol in (6, 17):
            with stage.listening(web.path, address, 80, protocol) as listener:
                assert stage.reach(db.path, address, 80, listener) in db.texts


def test_what_is_observed_is_what_was_asked_for(stage, pair_of_members):
    """After apply, observe gives the very objects."""
    network, web, db = pair_of_members
    wanted = {*stage.forwarding, *network.objects, *web.objects, *db.objects, *web.publish(8080)}
    assert stage.observed() == wanted


def test_applying_twice_changes_nothing(stage, pair_of_members):
    """The same plan again finds everything already so, and leaves everything as it was."""
    network, web, db = pair_of_members
    wanted = [*stage.forwarding, *network.objects, *web.objects, *db.objects, *web.publish(8080)]
    before = stage.ip("addr"), stage.ip("addr", namespace=web.path), stage.run("nft", "list", "ruleset")
    outcomes = stage.apply(Verb.MAKE, wanted)
    assert {outcome.status for outcome in outcomes.values()} == {Status.ALREADY}, outcomes
    after = stage.ip("addr"), stage.ip("addr", namespace=web.path), stage.run("nft", "list", "ruleset")
    assert before == after


def test_what_is_removed_is_gone(stage, pair_of_members):
    """After everything is removed and settled nothing of ours is left, and a second removal finds it so."""
    network, web, db = pair_of_members
    everything = [*stage.forwarding, *network.objects, *web.objects, *db.objects, *web.publish(8080)]
    stage.remove(*everything)
    assert stage.observed() == set()
    assert {link["ifname"] for link in stage.ip("link")} == {"lo", "uplink"}
    assert stage.run("nft", "list", "ruleset") == ""
    assert not web.path.exists()
    outcomes = stage.apply(Verb.REMOVE, everything)
    assert {outcome.status for outcome in outcomes.values()} <= {Status.ALREADY, Status.REMOVED}, outcomes
