"""Networks, endpoints and sandboxes from the command line: what each command prints, as text and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from netledger.interfaces.cli import options


def test_a_network_is_created_listed_inspected_and_removed(made, cli, state: Path) -> None:
    """The id is printed; every option arrives; names, ids and prefixes find it; rm prints what is gone."""
    created = made(
        *("network", "create", "front", "--subnet", "10.1.0.0/16", "--gateway", "10.1.0.9", "--subnet", "fd00:1::/64"),
        *("--internal", "--opt", "com.docker.network.driver.mtu=1400", "--label", "team=a=b", "--label", "x="),
    )
    identity = created.out.strip()
    info = made(f"network inspect {identity[:8]} --json").json
    assert info["id"] == identity
    assert info["subnets"] == ["10.1.0.0/16", "fd00:1::/64"]
    assert info["gateways"] == ["10.1.0.9", "fd00:1::1"]
    assert info["internal"] is True
    assert info["options"]["com.docker.network.driver.mtu"] == 1400
    assert info["labels"] == {"team": "a=b", "x": ""}
    assert made(f"network inspect {identity} --json").json == info
    assert made("network inspect front --json").json == info
    assert made("network ls --json").json == [info]
    assert made("network ls -q").out == f"{identity}\n"
    heading, row = made("network ls").out.splitlines()
    assert heading.split() == ["ID", "NAME", "DRIVER", "SUBNETS", "DEVICE", "ENDPOINTS"]
    assert row.split() == [identity[:12], "front", "bridge", "10.1.0.0/16,", "fd00:1::/64", f"br-{identity[:12]}", "0"]
    text = made("network inspect front").out
    assert "gateways  10.1.0.9\n          fd00:1::1\n" in text
    assert made("network rm front").out == "front\n"
    assert made("network ls --json").json == []
    assert cli("network inspect front").status == 4


def test_a_configuration_network_is_kept_and_networks_are_made_with_it(made, cli) -> None:
    """It is listed as a network of driver null; it stays while a network depends on it, which says so."""
    made("network create office --config-only --subnet 10.1.0.0/24 --opt com.docker.network.driver.mtu=1400 --ipv6")
    office = made("network inspect office --json").json
    assert (office["driver"], office["config_only"], office["config_from"]) == ("null", True, "")
    assert office["subnets"] == ["10.1.0.0/24", "::/0"]
    assert made("network create shop --config-from office --internal --json").json["config_from"] == "office"
    assert [network["name"] for network in made("network ls --json").json] == ["office", "shop"]
    answer = cli("network rm office --force")
    assert answer.status != 0
    assert 'configuration network "office" is in use by 1 network(s), the first is network shop' in answer.err
    answer = cli("network create lab --config-from office --label a=b")
    assert "user-specified configurations are not supported if the network depends on a configuration" in answer.err
    assert "cannot create endpoint on configuration-only network" in cli("endpoint create office e").err
    assert "Network operator fields like" in cli("network create x --config-only --internal").err
    made("network rm shop")
    assert made("network rm office").out == "office\n"


def test_create_prints_with_json_what_inspect_prints(made) -> None:
    """For all three kinds; a network with an id of the caller's, IPv6 alone, lowest first."""
    wanted = "ab" * 32
    network = made(f"network create n --id {wanted} --ipv6 --no-ipv4 --allocation lowest --json").json
    assert network["id"] == wanted
    assert [":" in subnet for subnet in network["subnets"]] == [True]
    assert network == made("network inspect n --json").json
    endpoint = made("endpoint create n e --json").json
    assert endpoint == made("endpoint inspect n/e --json").json == made("endpoint ls --json").json[0]
    sandbox = made("sandbox create c --hostname h --domainname d.example --json").json
    assert sandbox == made("sandbox inspect c --json").json == made("sandbox ls --json").json[0]
    assert (sandbox["hostname"], sandbox["domainname"], sandbox["kind"]) == ("h", "d.example", "managed")
    assert Path(sandbox["key"]).name.startswith(sandbox["id"][:12])
    assert f"key         {sandbox['key']}\n" in made("sandbox inspect c").out


def test_an_endpoint_joins_and_leaves_a_sandbox(made) -> None:
    """Addresses, ports and aliases as asked; where it is joined; then it is out again and everything is gone."""
    made("network create n --subnet 10.0.0.0/24")
    made("sandbox create c1")
    asked = "--ip 10.0.0.7 --mac 02:42:00:00:00:01 -p 8080:80 -p 192.0.2.1:53:53/udp --alias www --label a=b"
    made(f"endpoint create n web {asked}")
    assert made("endpoint join web c1 --priority 5 --interface wan0").out == ""
    info = made("endpoint inspect web --json").json
    assert info["addresses"] == ["10.0.0.7/24"]
    assert info["mac"] == "02:42:00:00:00:01"
    assert info["port_map"] == {"80/tcp": ["0.0.0.0:8080"], "53/udp": ["192.0.2.1:53"]}
    assert (info["aliases"], info["interface"], info["published"]) == (["www"], "wan0", True)
    sandbox = made("sandbox inspect c1 --json").json
    assert sandbox["gateways"] == {"ipv4": info["id"]}
    assert f"n/web ({info['id'][:12]})" in made("sandbox inspect c1").out
    assert f"web ({info['id'][:12]})" in made("network inspect n").out
    _, row = made("endpoint ls --network n").out.splitlines()
    assert row.split() == [
        *(info["id"][:12], "n", "web", "10.0.0.7/24", "192.0.2.1:53->53/udp,", "0.0.0.0:8080->80/tcp"),
        sandbox["id"][:12],
    ]
    assert "port_map      192.0.2.1:53->53/udp\n" in made("endpoint inspect web").out
    left = made("endpoint leave n/web --json").json
    assert (left["sandbox"], left["joined"], left["published"]) == ("", 0, False)
    made("endpoint rm web")
    assert made("sandbox rm c1").out == "c1\n"
    assert made("sandbox ls -q").out == made("endpoint ls -q").out == ""


def test_aliases_come_and_go(made, cli) -> None:
    """One of an endpoint's other names is added once and removed once."""
    made("network create n")
    made("endpoint create n e")
    assert made("endpoint alias add e www --json").json["aliases"] == ["www"]
    again = cli("endpoint alias add e www")
    assert (again.status, "endpoint e has it already" in again.err) == (5, True)
    made("endpoint alias rm e www")
    assert cli("endpoint alias rm e www").status == 4


def test_rm_goes_on_with_the_others_and_fails_with_the_first(made, cli) -> None:
    """One batch: what can be removed is, what cannot is told."""
    for name in ("a", "b", "c"):
        made(f"network create {name}")
    made("endpoint create b e")
    answer = cli("network rm a nowhere b c")
    assert answer.out == "a\nc\n"
    assert answer.status == 4
    assert answer.err.splitlines()[0].startswith("error: network 'nowhere': there is none")
    assert answer.err.splitlines()[1].startswith("error: delete network b: it has 1 endpoint(s), the first is e")
    assert cli("network rm b").status == 6
    as_json = cli("network rm b --json")
    assert as_json.error["kind"] == "in use"
    assert as_json.error["remedy"] == "delete them first, or force it"
    assert as_json.json == []
    forced = made("network rm -f b --json").json
    assert [gone["name"] for gone in forced] == ["b"]
    assert made("endpoint ls --json").json == []


def test_force_takes_what_is_joined(made, cli) -> None:
    """An endpoint from its sandbox, a sandbox from its endpoints."""
    made("network create n")
    made("sandbox create c")
    for name in ("one", "two"):
        made(f"endpoint create n {name}")
        made(f"endpoint join {name} c")
    assert cli("endpoint rm one").status == 6
    made("endpoint rm one --force")
    assert cli("sandbox rm c").status == 6
    made("sandbox rm --force c")
    assert made("endpoint inspect two --json").json["sandbox"] == ""


def test_a_repeated_request_changes_nothing_and_answers_the_same(made, cli) -> None:
    """The same id with the same command is the same; with another it is a conflict that names the position."""
    first = made("network create n --request r1")
    events = len(made("log show --json").out.splitlines())
    assert made("network create n --request r1") == first
    assert len(made("log show --json").out.splitlines()) == events
    assert made(f"network rm {first.out.strip()} --request r2") == made(f"network rm {first.out.strip()} --request r2")
    other = cli("network create other --request r1 --json")
    assert (other.status, other.error["position"]) == (5, 2)
    assert "request id 'r1' was another command's" in other.error["because"]


def test_who_and_why_are_in_the_log(made) -> None:
    """Actor, reason and request of the command line are those of the event."""
    made("network", "create", "n", "--actor", "alice", "--reason", "ticket 7", "--request", "r7")
    last = made("log tail -n 1").out
    assert " alice " in last
    assert last.endswith("# ticket 7\n")


@pytest.mark.parametrize(
    ("environment", "user", "expected"),
    [
        ({"NETLEDGER_STATE": "/given", "XDG_STATE_HOME": "/xdg"}, 0, "/given"),
        ({"XDG_STATE_HOME": "/xdg"}, 0, "/var/lib/netledger"),
        ({"XDG_STATE_HOME": "/xdg"}, 1000, "/xdg/netledger"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/u"}, 1000, "/home/u/.local/state/netledger"),
        ({"HOME": "/home/u", "NETLEDGER_STATE": ""}, 1000, "/home/u/.local/state/netledger"),
    ],
)
def test_the_default_state_directory(monkeypatch: pytest.MonkeyPatch, environment, user, expected) -> None:
    """The environment's, else root's, else the user's own by the XDG rules (a relative base counts as none)."""
    for name in ("NETLEDGER_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.geteuid", lambda: user)
    assert options.Log().directory == Path(expected)
    assert options.Log(state=Path("/x")).directory == Path("/x")


def test_a_namespace_is_a_path_or_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name without a slash is one of `ip netns`; with the Linux dataplane it has to be there."""
    monkeypatch.setattr(options, "NAMED_NAMESPACES", tmp_path)
    (tmp_path / "blue").touch()
    assert options.Host("linux", "blue").namespace_path == str(tmp_path / "blue")
    assert options.Host("linux", str(tmp_path / "blue")).namespace_path == str(tmp_path / "blue")
    assert options.Host("simulated", "red").namespace_path == str(tmp_path / "red")
    assert options.Host("linux").namespace_path is None
    with pytest.raises(options.NotFound, match=r"there is no .*/red; see `ip netns`"):
        _ = options.Host("linux", "red").namespace_path
