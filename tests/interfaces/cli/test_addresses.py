"""`netledger ipam`, and the options of `network create` that are about addresses."""

from __future__ import annotations


def test_pools_are_listed_inspected_and_explained(made, cli) -> None:
    """Every option arrives; text for people, JSON for programs."""
    made(
        *("network", "create", "web", "--subnet", "10.5.0.0/28", "--ip-range", "10.5.0.8/29"),
        *("--aux-address", "printer=10.5.0.2", "--policy", "sticky", "--rest", "30", "--grace", "60"),
        *("--address-space", "red", "--ipam-opt", "netledger.ipam.mac=ipv4"),
    )
    made("endpoint create web a")
    made("endpoint create web b")
    made("endpoint rm b")
    heading, row = made("ipam ls").out.splitlines()
    assert heading.split() == ["SUBNET", "SPACE", "USER", "RANGE", "POLICY", "IN", "USE", "KEPT", "RESTING", "FREE"]
    assert row.split() == ["10.5.0.0/28", "red", "network", "web", "10.5.0.8/29", "sticky", "3", "1", "0", "10"]
    [counted] = made("ipam inspect web --json").json
    assert (counted["size"], counted["reserved"], counted["free"]) == (16, 2, 10)
    assert [counted] == made("ipam inspect 10.5.0.0/28 --json").json == made("ipam ls --json").json
    text = made("ipam inspect web").out
    assert "10.5.0.2   auxiliary  network web  caller" in text
    assert made("endpoint inspect web/a --json").json["mac"] == "02:42:0a:05:00:09"
    [explained] = made("ipam explain 10.5.0.10 --json").json
    assert (explained["state"], explained["words"]) == ("kept", "kept for endpoint b")
    assert [event["type"] for event in explained["history"]] == [
        *("AddressAllocated", "AddressReleased", "AddressReservationMade")
    ]
    assert "10.5.0.10 in 10.5.0.0/28: kept for endpoint b (position " in made("ipam explain 10.5.0.10").out
    assert "16 addresses: 2 reserved, 1 auxiliary, 1 endpoint, 1 gateway" in made("ipam explain web").out
    assert made("ipam explain web --json").json[0]["words"].startswith("16 addresses")
    assert cli("ipam explain 192.0.2.1").status == 4
    assert cli("ipam inspect 192.0.2.0/24").status == 4


def test_an_address_is_reserved_and_not(made, cli) -> None:
    """Its name gets it; nobody else until the reservation is ended."""
    made("network create n --subnet 10.0.0.0/24")
    made("ipam reserve n db 10.0.0.2")
    assert made("endpoint create n web --json").json["addresses"] == ["10.0.0.3/24"]
    assert cli("endpoint create n other --ip 10.0.0.2").status == 5
    assert made("endpoint create n db --json").json["addresses"] == ["10.0.0.2/24"]
    made("ipam unreserve n 10.0.0.2")
    assert cli("ipam unreserve n 10.0.0.2").status == 4


def test_predefined_pools_are_configured(made) -> None:
    """They are printed, used from then on, and Docker's again when that is asked for."""
    assert made("ipam configure --pool 10.64.0.0/10,24 --retention 60 --json").json == {
        "default_pools": ["10.64.0.0/10 in /24"],
        "retention_seconds": 60,
    }
    assert made("network create n --json").json["subnets"] == ["10.64.0.0/24"]
    assert made("ipam configure --docker-pools").out.split() == ["default_pools", "Docker's", "retention_seconds", "60"]
    assert made("network create m --json").json["subnets"] == ["172.17.0.0/16"]
    assert made("network create s --subnet 0.0.0.0/29 --json").json["subnets"] == ["172.18.0.0/29"]


def test_a_network_without_addresses(made, cli) -> None:
    """The null IPAM driver."""
    assert made("network create n --ipam-driver null --json").json["subnets"] == []
    assert made("endpoint create n e --json").json["addresses"] == []
    refused = cli("network create m --ipam-driver weave")
    assert refused.status == 4
    assert "find plugin 'weave'" in refused.err


def test_nothing_of_the_living_is_collected(made) -> None:
    """With nobody proven gone, the plan is empty and so is what is done."""
    made("network create n")
    made("endpoint create n e")
    assert made("ipam gc --plan --json").json == []
    assert made("ipam gc").out == ""
    assert made("endpoint ls -q").out != ""


def test_the_sandboxes_that_go_with_the_leases_are_told(made, cli, monkeypatch) -> None:
    """In the plan and when they have gone, on stderr; the help says so."""
    made("network create n")
    lost = [("c1", "its namespace is gone")]
    monkeypatch.setattr("netledger.engine.addresses.AddressManagement.lost", lambda _: lost)
    assert cli("ipam gc --plan").err == "the sandbox of container c1 goes, too: its namespace is gone\n"
    assert cli("ipam gc").err == "the sandbox of container c1 was removed, too: its namespace is gone\n"
    assert "A sandbox whose namespace is found to be gone is removed, too" in " ".join(
        made("ipam gc --help").out.split()
    )
