"""`netledger reach`: an answer with its trace, a matrix, and refusals."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def web(made):
    """Have a network with two containers, one of which publishes a port."""
    made("network create n --subnet 10.1.0.0/24")
    for name, *options in (("web", "--publish", "8080:80"), ("db",)):
        made("endpoint", "create", "n", name, *options)
        made("sandbox", "create", name)
        made("endpoint", "join", name, name)


def test_what_is_reached_is_told_hop_by_hop(made):
    """Verdict first, then the hops with the objects and positions that decided."""
    said = made("reach outside host tcp/8080").out
    assert said.startswith("reached at host/")
    assert "publishes the port" in said
    assert "[port/tcp/0.0.0.0:8080 @" in said


def test_what_is_not_reached_has_a_status_of_its_own(cli):
    """Status 40, and the trace says where it ended."""
    answer = cli("reach outside n/web tcp/80")
    assert answer.status == 40
    assert "no route" in answer.out


def test_a_port_at_one_address_of_the_host_is_found_there(made, cli):
    """The host has the addresses that its ports are published at, and no others."""
    made("endpoint create n api --publish 192.0.2.5:9090:80")
    made("sandbox create api")
    made("endpoint join n/api api")
    assert made("reach outside 192.0.2.5 tcp/9090").out.startswith("reached at host/")
    assert cli("reach outside host tcp/9090").status == 40
    assert cli("reach outside 192.0.2.6 tcp/9090").status == 40
    assert "192.0.2.5 tcp/9090" in made("reach --matrix").out


def test_json_has_hops_and_positions(cli):
    """One document with texts for addresses."""
    answer = cli("reach web db icmp --json")
    assert answer.status == 0
    assert (answer.json["verdict"], answer.json["seen_from"]) == ("reached", "10.1.0.2")
    assert any(hop["object"] and hop["position"] for hop in answer.json["hops"])


def test_a_matrix_asks_everybody(made):
    """A line for each place, or a JSON row for each question."""
    assert [line.split(":")[0] for line in made("reach --matrix").out.splitlines()] == ["web", "db", "host", "outside"]
    assert len(made("reach --matrix --json").out) > 1000


def test_a_matrix_of_what_is_alike(made):
    """One line for each kind of place, with how many it stands for; in JSON a row for each pair of kinds."""
    said = made("reach --matrix --alike").out.splitlines()
    assert said == [
        "web and 1 like it: reached: n/web and 1 like it, host tcp/8080",
        "host: reached: n/web and 1 like it, host tcp/8080",
        "outside: no route: n/web and 1 like it; reached: host tcp/8080",
    ]
    rows = made("reach --matrix --alike --json").json
    assert len(rows) == 3 * 2
    assert rows[0] == {
        "source": "web",
        "destination": "n/web",
        "what": "icmp",
        "family": 4,
        "sources": 2,
        "destinations": 2,
        "verdict": "reached",
        "itself": "reached",
    }


@pytest.mark.parametrize(
    "words", ["reach", "reach web", "reach web db --matrix", "reach web db --family 5", "reach web db --alike"]
)
def test_half_a_question_is_refused(cli, words):
    """Source and destination, or the matrix."""
    answer = cli(words)
    assert answer.status == 3
    assert "name SOURCE and DESTINATION" in answer.err
