"""Which firewall a host has: what was asked for, what the log has, what works."""

from __future__ import annotations

import pytest

from netledger.domain.commands import ChooseFirewall, RetireFirewall
from netledger.domain.errors import Invalid, Unavailable
from netledger.domain.events import FirewallChosen, FirewallRetired
from netledger.domain.firewalls import why
from netledger.testing.desk import HOST, Desk

WORKS = {"nftables": "", "iptables": ""}
NO_NFT = {"nftables": "no such library", "iptables": ""}
NO_IPT = {"nftables": "", "iptables": "no such library"}
NEITHER = {"nftables": "no such library", "iptables": "no such tables"}


def had(*asked: str) -> Desk:
    """Give a desk at which these were chosen one after the other."""
    desk = Desk()
    desk.do(*(ChooseFirewall(name, lacking=WORKS) for name in asked))
    return desk


@pytest.mark.parametrize(
    ("before", "asked", "lacking", "backend", "retiring", "because"),
    [
        ((), "iptables", WORKS, "iptables", (), "asked for"),
        ((), "auto", WORKS, "nftables", (), "the first that works"),
        ((), "auto", NO_NFT, "iptables", (), "the first that works; not nftables: no such library"),
        ((), "none", NEITHER, "none", (), "asked for"),
        ((), "iptables", None, "iptables", (), "asked for"),
        (("iptables",), "auto", WORKS, "iptables", (), "the first that works"),
        (("none",), "auto", WORKS, "none", (), "the first that works"),
        (("iptables",), "nftables", WORKS, "nftables", ("iptables",), "asked for"),
        (("nftables", "iptables"), "none", WORKS, "none", ("nftables", "iptables"), "asked for"),
        (("nftables", "iptables"), "nftables", WORKS, "nftables", ("iptables",), "asked for"),
        (("nftables", "iptables"), "none", NO_NFT, "none", ("nftables", "iptables"), "asked for"),
    ],
)
def test_a_choice(before, asked, lacking, backend, retiring, because):
    """A name is taken as it is, `auto` stays with what the host has; what another has programmed is to go."""
    desk = had(*before)
    desk.do(ChooseFirewall(asked, lacking=lacking))
    chosen = desk.views.firewall(HOST)
    assert (chosen.event.backend, chosen.event.asked, why(chosen.event)) == (backend, asked, because)
    assert desk.views.retiring(HOST) == retiring


@pytest.mark.parametrize("asked", ["nftables", "iptables", "none", "auto"])
def test_the_same_again(asked):
    """It is no event, also when nothing works any more."""
    desk = had(asked)
    assert desk.do(ChooseFirewall(asked, lacking=WORKS)) == []
    assert desk.do(ChooseFirewall(asked, lacking=NEITHER)) == []


def test_asked_for_by_name_what_auto_had_found():
    """From then on it is what was asked for; no rules are to go."""
    desk = had("auto")
    assert desk.do(ChooseFirewall("nftables", lacking=WORKS))
    assert desk.views.retiring(HOST) == ()
    assert why(desk.views.firewall(HOST).event) == "asked for"


@pytest.mark.parametrize(
    ("before", "asked", "lacking", "kind", "message"),
    [
        ((), "pf", WORKS, Invalid, "firewall 'pf': unknown; known: nftables, iptables, none, auto"),
        (
            (),
            "iptables",
            NO_IPT,
            Unavailable,
            (
                "use the firewall iptables: it does not work here: no such library; "
                "see `netledger doctor`, or ask for another"
            ),
        ),
        (
            (),
            "auto",
            NEITHER,
            Unavailable,
            (
                "use the firewall auto: none works here: nftables: no such library; iptables: no such tables; "
                "see `netledger doctor`, or ask for another"
            ),
        ),
        (
            (),
            "auto",
            None,
            Unavailable,
            "use the firewall auto: nobody has looked which one works on this host; name one",
        ),
        (
            ("iptables",),
            "nftables",
            NO_IPT,
            Unavailable,
            (
                "take the firewall nftables instead of iptables: what iptables has programmed cannot be taken away "
                "here: no such library (position 1); make iptables work once more, or keep it; or insist "
                "(--force), where nothing of it can be left"
            ),
        ),
    ],
)
def test_a_refusal(before, asked, lacking, kind, message):
    """Before any event: what does not work here, and leaving rules behind that nobody would know."""
    assert str(had(*before).refusal(kind, ChooseFirewall(asked, lacking=lacking))) == message


def test_left_by_force():
    """What could not be taken away is on record, and nobody tries any more."""
    desk = had("iptables")
    chosen, retired = desk.do(ChooseFirewall("nftables", force=True, lacking=NO_IPT))
    assert isinstance(chosen, FirewallChosen)
    assert isinstance(retired, FirewallRetired)
    assert (retired.backend, retired.left) == ("iptables", "no such library")
    assert desk.views.retiring(HOST) == ()


def test_force_leaves_nothing_that_can_be_taken_away():
    """Insisting is no reason to leave rules behind; what is stuck from an earlier move can be given up later."""
    desk = had("iptables", "nftables")
    desk.do(ChooseFirewall("none", force=True, lacking=WORKS))
    assert desk.views.retiring(HOST) == ("iptables", "nftables")
    [retired] = desk.do(ChooseFirewall("none", force=True, lacking=NO_IPT))
    assert (retired.backend, retired.left) == ("iptables", "no such library")


def test_the_end_of_a_move():
    """What was taken away is so once; what was chosen again meanwhile is not to go."""
    desk = had("nftables", "iptables")
    [retired] = desk.do(RetireFirewall("nftables"))
    assert (retired.backend, retired.left) == ("nftables", "")
    assert desk.do(RetireFirewall("nftables"), RetireFirewall("iptables")) == []
