"""Which firewall a host has: what was asked for, what was recorded, what works."""

from __future__ import annotations

import pytest

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane
from netledger.domain.errors import Invalid, LedgerError, Unavailable
from netledger.domain.facts import Capabilities
from netledger.domain.objects import Bridge, is_of_firewall
from netledger.engine.firewalls import FirewallChoice, choose_firewall, read_choice, write_choice


def works(_):
    """Lack nothing."""


def without(*names):
    """Lack some."""
    return lambda name: "no such library" if name in names else None


@pytest.mark.parametrize(
    ("recorded", "asked", "missing", "backend", "retiring", "why"),
    [
        (None, None, works, "nftables", (), "the default"),
        (None, "iptables", works, "iptables", (), "asked for"),
        (None, "auto", works, "nftables", (), "the first that works"),
        (None, "auto", without("nftables"), "iptables", (), "not nftables: no such library"),
        (None, "auto", without("nftables", "iptables"), "nftables", (), "none works"),
        (FirewallChoice("iptables", (), "asked for"), None, works, "iptables", (), "asked for"),
        (FirewallChoice("iptables"), "auto", works, "iptables", (), "the first that works"),
        (FirewallChoice("iptables"), "nftables", works, "nftables", ("iptables",), "asked for"),
        (FirewallChoice("iptables", ("nftables",)), "none", works, "none", ("nftables", "iptables"), "asked for"),
        (FirewallChoice("iptables", ("nftables",)), "nftables", works, "nftables", ("iptables",), "asked for"),
        (FirewallChoice("iptables", ("nftables",)), None, works, "iptables", ("nftables",), ""),
        (FirewallChoice("none"), "auto", works, "none", (), "the first that works"),
    ],
)
def test_a_choice(recorded, asked, missing, backend, retiring, why):
    """What is asked for by name counts before what is recorded, and that before the default."""
    choice = choose_firewall(recorded, asked, missing)
    assert (choice.backend, choice.retiring) == (backend, retiring)
    assert why in choice.why


def test_a_backend_whose_rules_cannot_be_taken_away_is_not_left():
    """They would stay for good, and nobody would know them."""
    with pytest.raises(Unavailable) as caught:
        choose_firewall(FirewallChoice("iptables"), "nftables", without("iptables"))
    assert str(caught.value) == (
        "take the firewall nftables instead of iptables: what iptables has programmed cannot be taken away here: "
        "no such library; make iptables work once more, or keep it"
    )


def test_a_choice_is_kept(tmp_path):
    """It is read as it was written; a directory from before there was a choice has nftables."""
    file = tmp_path / "firewall"
    assert read_choice(file, is_older=False) is None
    assert read_choice(file, is_older=True) == FirewallChoice("nftables", (), "the default")
    choice = FirewallChoice("none", ("iptables",), "asked for")
    write_choice(file, choice)
    assert read_choice(file, is_older=True) == choice
    assert [path.name for path in tmp_path.iterdir()] == ["firewall"]


@pytest.mark.parametrize(
    "text", ["", "{", '{"backend": 3}', '{"backend": "pf"}', '{"backend": "none", "retiring": ["x"]}']
)
def test_a_record_that_cannot_be_read(tmp_path, text):
    """It says so, with what to do, and takes no other backend for it."""
    file = tmp_path / "firewall"
    file.write_text(text)
    with pytest.raises(LedgerError, match="read the host's firewall in"):
        read_choice(file, is_older=True)


def test_a_record_that_cannot_be_written(tmp_path):
    """It says so."""
    with pytest.raises(LedgerError, match="No such file or directory"):
        write_choice(tmp_path / "nowhere" / "firewall", FirewallChoice("none"))


@pytest.mark.parametrize(
    ("dataplane", "firewall", "message"),
    [
        ("linux", "pf", "firewall 'pf': unknown; known: nftables, iptables, none, auto"),
        ("simulated", "none", "firewall 'none': only the linux dataplane has one; leave it out"),
    ],
)
def test_a_firewall_that_there_is_not(tmp_path, dataplane, firewall, message):
    """It is refused before anything is made."""
    with pytest.raises(Invalid) as caught:
        Controller.open(tmp_path / "state", dataplane=dataplane, firewall=firewall)
    assert str(caught.value) == message
    assert not (tmp_path / "state").exists()


class WithoutFirewall(SimulatedDataplane):
    """A dataplane that leaves the firewall to somebody else, and notes what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def capabilities(self):
        """Publish no ports, isolate nothing."""
        return Capabilities({"published ports": "it programs nothing", "internal networks": "nor that"}, True)

    def apply(self, plan):
        """Note what is asked for."""
        self.asked += [step.object for step in plan.steps]
        return super().apply(plan)


def test_without_a_firewall_what_it_would_do_is_refused_or_not_asked_for():
    """Published ports and internal networks are refused before any event; of the firewall's objects none is asked."""
    dataplane = WithoutFirewall()
    with Controller.open(dataplane=dataplane) as controller:
        network = controller.create_network("n1")
        head = controller.ledger.head
        with pytest.raises(Unavailable) as caught:
            network.create_endpoint("e1", ports=["8080:80"])
        assert "this host cannot make 'published ports': it programs nothing; see `netledger doctor`" in str(
            caught.value
        )
        with pytest.raises(Unavailable, match="cannot make 'internal networks': nor that"):
            controller.create_network("n2", internal=True)
        assert controller.ledger.head == head
        network.create_endpoint("e2").join(controller.create_sandbox("c"))
    assert any(isinstance(thing, Bridge) for thing in dataplane.asked)
    assert not [thing for thing in dataplane.asked if is_of_firewall(thing)]
