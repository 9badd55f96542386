"""`netledger firewall`: show and use."""

from __future__ import annotations

import pytest

from netledger.interfaces.cli import options


def test_a_host_that_has_none_yet(made, cli, state) -> None:
    """It says what is going to be taken; without a log there is nothing to tell of."""
    assert cli("firewall").status == 4
    made("network create n")
    assert made("firewall").out == (
        "none yet: the first command that changes the host takes the first of nftables and iptables that works\n"
    )
    assert made("firewall show --json").json is None
    assert not (state / "firewall").exists()


def test_it_is_chosen_and_shown(made) -> None:
    """As text and as JSON: which one, why, since which position, by whom; the same again changes nothing."""
    text = made("firewall", "use", "iptables", "--actor", "op", "--reason", "as the others have").out
    assert [line.split() for line in text.splitlines()[:2]] == [["firewall", "iptables"], ["why", "asked", "for"]]
    shown = made("firewall show --json").json
    assert shown == made("firewall --json").json == made("firewall use iptables --json").json
    assert {name: shown[name] for name in ("backend", "asked", "why", "retiring", "position", "actor", "reason")} == {
        "backend": "iptables",
        "asked": "iptables",
        "why": "asked for",
        "retiring": [],
        "position": 2,
        "actor": "op",
        "reason": "as the others have",
    }
    assert ", by op (as the others have)" in made("firewall").out
    [event] = list(made("log show --type FirewallChosen").out.splitlines())
    assert event.endswith("FirewallChosen     backend=iptables asked=iptables  # as the others have")
    assert made("check").status == 0


def test_auto_is_told_with_what_was_found(made) -> None:
    """What decided is in the log."""
    assert made("firewall use auto --json").json["why"] == "the first that works"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("firewall use pf", 3, "error: firewall 'pf': unknown; known: nftables, iptables, none, auto\n"),
        ("firewall use none", 9, "error: use the firewall none: it does not work here: a simulated network always has"),
        ("firewall use auto --dataplane none", 9, "error: use the firewall auto: nobody has looked which one works on"),
        ("network create n --firewall none", 2, "error: Unknown option: --firewall"),
    ],
)
def test_what_is_refused(cli, words, status, said) -> None:
    """It says what is known, or what is in the way."""
    answer = cli(words)
    assert answer.status == status
    assert answer.err.startswith(said)


def test_a_request_is_answered_once(made) -> None:
    """Given again, it does not move the host back."""
    made("firewall use iptables --request r1")
    made("firewall use nftables --request r2")
    assert made("firewall use iptables --request r1 --json").json["backend"] == "nftables"


def test_the_environment_chooses_nothing(made, monkeypatch) -> None:
    """Only the log says which one a host has."""
    monkeypatch.setenv("NETLEDGER_FIREWALL", "none")
    made("network create n")
    assert made("firewall --json").json is None
    assert not hasattr(options, "FIREWALL_VARIABLE")
