"""iptables' tables are replaced whole, so somebody who is faster is overwritten or ignored: neither happens here."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netledger.dataplanes.contract import Status, Verb
from netledger.dataplanes.linux import LinuxDataplane
from netledger.dataplanes.linux.firewall import iptables
from netledger.dataplanes.linux.firewall.rules import Names, rules_of
from netledger.domain.objects import Firewall, Masquerade, PortForward

from .conftest import inside

PREFIX = "NETLEDGER-0a1b2c3d"
WORKER = iptables.WORKER

RACING = """
import importlib.util, json, subprocess, sys
loaded = importlib.util.spec_from_file_location("xtables", sys.argv[1])
xtables = importlib.util.module_from_spec(loaded)
loaded.loader.exec_module(xtables)
family, theirs, tries = int(sys.argv[2]), json.loads(sys.argv[3]), []

class Racing(xtables.Xtables):
    def commit(self, table):
        if theirs:  # somebody else, who does not ask for the lock, between our reading and our committing
            subprocess.run(theirs.pop(0), check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin",
                "XTABLES_LOCKFILE": "/run/another.lock"})
        tries.append(table.name)
        super().commit(table)

racing = Racing(family, "NETLEDGER-0a1b2c3d", "netledger-0a1b2c3d ")
try:
    done = racing.answer({"do": "change", "goals": json.loads(sys.stdin.read())})
    print(json.dumps({"done": done, "tries": len(tries)}))
except xtables.Refused as refused:
    print(json.dumps({"errno": refused.number, "error": refused.text}))
"""


def strangers(count):
    """Write what somebody else adds, a command for each rule."""
    command = "iptables-legacy -t nat -A PREROUTING -s 203.0.113.{} -j ACCEPT"
    return [command.format(number).split() for number in range(count)]


def goal(*ports):
    """Ask for published ports in one chain, as the backend does."""
    names = Names("0a1b2c3d")
    rules = [rules_of(names, PortForward(6, bytes(4), port, bytes([10, 5, 0, 2]), 80))[0] for port in ports]
    wanted = [(rule.comment, rule.rank, rule.specification) for rule in rules]
    chains = {names.publish: {"wanted": wanted, "unwanted": []}}
    return [{"table": "nat", "chains": [names.publish], "rules": chains, "exact": True}]


def race(stage, theirs, *ports, family=4):
    """Ask for ports while somebody else carries out `theirs`, one command in front of each of our commits."""
    done = inside(
        stage.host,
        lambda: subprocess.run(
            [sys.executable, "-c", RACING, str(WORKER), str(family), json.dumps(theirs)],
            input=json.dumps(goal(*ports)),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        ),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def listed(stage, chain):
    """List a chain's rules as iptables prints them."""
    return [line for line in stage.run("iptables-legacy", "-t", "nat", "-S", chain).splitlines() if line[:2] == "-A"]


def test_neither_update_is_lost(stage):
    """Somebody adds a rule between our reading and our committing, twice: theirs stay, and ours is there."""
    answer = race(stage, strangers(2), 8080)
    assert answer["tries"] == 3
    assert [line.split()[3] for line in listed(stage, "PREROUTING")] == ["203.0.113.0/32", "203.0.113.1/32"]
    assert len(listed(stage, f"{PREFIX}-PUBLISH")) == 1
    assert answer["done"]["done"][0]["changed"] == ["netledger-0a1b2c3d 20 port 6 0.0.0.0 8080 = 10.5.0.2 80"]


def test_what_somebody_takes_away_is_made_again(stage):
    """Our chain is flushed while we commit: what is read back is not what was asked for, so it is made again."""
    ours = f"{PREFIX}-PUBLISH"
    race(stage, [], 8080)
    race(stage, [["iptables-legacy", "-t", "nat", "-F", ours]], 8080, 8081)
    assert len(listed(stage, ours)) == 2


def test_somebody_who_never_stops(stage):
    """After so many tries it is a fault that says so, and theirs are all there."""
    answer = race(stage, strangers(40), 8080)
    assert answer["errno"] == errno.EAGAIN
    assert len(listed(stage, "PREROUTING")) == 20


def test_the_lock_of_iptables_is_waited_for(stage, monkeypatch):
    """While somebody holds it nothing is changed; who waits too long is told who is in the way."""
    loaded = importlib.util.spec_from_file_location("xtables", WORKER)
    xtables = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(xtables)
    monkeypatch.setattr(xtables, "LOCK_SECONDS", 0.05)
    assert Path(xtables.LOCK_FILE).parent == Path("/run")
    file = os.open(xtables.LOCK_FILE, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(xtables.Refused, match=r"another process holds /run/xtables\.lock"), xtables._Lock():
            pass
    finally:
        os.close(file)
    with xtables._Lock():
        pass


def test_a_worker_that_was_killed(stage, monkeypatch):
    """The step that meets it is a fault to be tried again, and the next one has a new worker."""
    started = []
    real = subprocess.Popen

    def note(*words, **options):
        started.append(real(*words, **options))
        return started[-1]

    stage.dataplane.close()
    stage.dataplane = LinuxDataplane(stage.instance, str(stage.host), firewall="iptables")
    monkeypatch.setattr(subprocess, "Popen", note)
    stage.make(Firewall())
    for process in started:
        process.kill()
        process.wait()
    thing = Masquerade("br0", 4)
    outcome = stage.apply(Verb.MAKE, [thing])[thing.key]
    assert outcome.status is Status.MADE
    assert len(started) == 4
    stage.dataplane.close()
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17, 132])
@pytest.mark.parametrize("is_at_one_address", [True, False])
def test_copies_are_as_python_iptables_makes_them(stage, family, protocol, is_at_one_address):
    """Rules of published ports are copied from one that was made: each is what would have been made."""
    address = bytes([10, 5, 0, 2]) if family == 4 else b"\xfd" + bytes(14) + b"\2"
    hosts = [
        bytes([198, 51, 100, n]).ljust(len(address), b"\1") if is_at_one_address else bytes(len(address))
        for n in (1, 2)
    ]
    ports = [
        PortForward(protocol, host, port, address, port + 1) for host, port in zip(hosts, (80, 65534), strict=True)
    ]
    rules = [rules_of(Names("0a1b2c3d"), port)[0] for port in ports]
    program = (
        "import importlib.util, json, sys\n"
        "loaded = importlib.util.spec_from_file_location('xtables', sys.argv[1])\n"
        "xtables = importlib.util.module_from_spec(loaded)\n"
        "loaded.loader.exec_module(xtables)\n"
        "made = xtables.Xtables(int(sys.argv[2]), 'NETLEDGER-0a1b2c3d', 'netledger-0a1b2c3d ')\n"
        "for spec in json.load(sys.stdin):\n"
        "    copy = made._copy(spec)\n"
        "    both = (copy or made._make(spec), made._make(spec))\n"
        "    rules = [xtables.Rule(bytes(raw), b'', int(sys.argv[2]), b'') for raw in both]\n"
        "    print(copy is not None, rules[0].digest == rules[1].digest, rules[0].comment)\n"
    )
    done = inside(
        stage.host,
        lambda: subprocess.run(
            [sys.executable, "-c", program, str(WORKER), str(family)],
            input=json.dumps([rule.specification for rule in rules]),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ),
    )
    is_copied = protocol != 132
    assert done.stdout.splitlines() == [f"{is_copied} True {rule.comment}" for rule in rules]
