"""Signals, threads that go astray, missing permissions: the caller's own namespace is never left."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from netledger.dataplanes.contract import Status, Verb
from netledger.dataplanes.linux import namespaces

OWN = Path("/proc/thread-self/ns/net")

STORM = """if True:
    import os, signal, sys, threading
    from pathlib import Path
    sys.path.insert(0, {folder!r})
    import conftest as theatre
    stage = theatre.Stage(Path({host!r}), Path({host!r}), Path({place!r}))
    network = theatre.Network("network1", "10.5.0.0/16", "fd05::/64")
    members = [stage.member(network, f"member{{number}}") for number in range(150)]
    namespace = lambda: os.stat("/proc/thread-self/ns/net").st_ino
    own, budget, interrupted = namespace(), 0, 0

    def interrupt(*_):  # Ctrl-C held down: as Python's own handler, and up to five times for each plan
        global budget
        if budget:
            budget -= 1
            raise KeyboardInterrupt

    def attempt(verb, member):
        global budget, interrupted
        try:
            budget = 5
            stage.apply(verb, member.objects)
        except KeyboardInterrupt:
            interrupted += 1
        budget = 0

    stage.make(*stage.forwarding, *network.objects)
    signal.signal(signal.SIGINT, interrupt)
    print("ready", flush=True)
    for member in members:
        for verb in (theatre.Verb.MAKE, theatre.Verb.REMOVE):
            try:
                attempt(verb, member)
            except KeyboardInterrupt:
                interrupted += 1
            budget = 0
            assert namespace() == own, "in a foreign namespace"
    print("interrupted", interrupted, flush=True)
    observed = stage.dataplane.observe(stage.places).objects
    parts = [sum(thing.key in observed for thing in member.objects) for member in members]
    print("half", sum(0 < count < len(members[0].objects) for count in parts), flush=True)
    names = sorted(thread.name for thread in threading.enumerate())
    stage.dataplane.close()
    print("threads", *names, threading.active_count(), flush=True)
"""


def test_a_storm_of_interrupts(stage):
    """Ctrl-C at any moment leaves the caller in its namespace, no plan half done, and one worker."""
    script = STORM.format(folder=str(Path(__file__).parent), host=str(stage.host), place=str(stage.folder))
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "ready\n"
            stop = threading.Event()

            def storm():
                while not stop.wait(0.0005):
                    process.send_signal(signal.SIGINT)

            thread = threading.Thread(target=storm)
            thread.start()
            line = process.stdout.readline()
            stop.set()
            thread.join()
            said = [line.strip(), *process.stdout.read().splitlines()]
            assert process.wait(30) == 0, process.stderr.read()
        finally:
            process.kill()
    assert int(said[0].split()[1]) > 100, said
    assert said[1:] == ["half 0", "threads MainThread netledger-linux 1"]


def test_the_callers_namespace(stage):
    """Making, observing and removing never moves the calling thread."""
    own = OWN.stat().st_ino
    network = stage.network("network1", "10.5.0.0/24")
    web = stage.member(network, "web")
    stage.make(*stage.forwarding, *network.objects, *web.objects)
    stage.observed()
    stage.dataplane.identify(str(web.path))
    assert OWN.stat().st_ino == own
    stage.remove(*web.objects)
    stage.dataplane.close()
    assert OWN.stat().st_ino == own


def test_a_thread_that_cannot_return_is_replaced(stage, monkeypatch):
    """What it was asked ends in faults; the next plan is carried out by another thread."""
    network = stage.network("network1", "10.5.0.0/24")
    web = stage.member(network, "web")
    stage.make(*stage.forwarding, *network.objects)
    entered = namespaces.Home.enter
    failures = iter([True])

    def enter(home):
        if next(failures, False):
            raise namespaces.Stranded("no way back")
        entered(home)

    monkeypatch.setattr(namespaces.Home, "enter", enter)
    outcomes = stage.apply(Verb.MAKE, web.objects)
    assert {outcome.status for outcome in outcomes.values()} == {Status.FAULT}
    assert "no way back" in str(outcomes[web.pair.key].fault)
    outcomes = stage.apply(Verb.MAKE, web.objects)
    assert not [outcome for outcome in outcomes.values() if outcome.fault]
    assert set(web.objects) <= stage.observed()


POWERLESS = """if True:
    import ctypes, os, sys
    from pathlib import Path
    sys.path.insert(0, {folder!r})
    import conftest as theatre
    from netledger.domain.facts import FEATURES
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(header, data) == 0
    dataplane = theatre.LinuxDataplane(theatre.INSTANCE)
    missing = dataplane.capabilities().missing
    assert set(missing) == set(FEATURES), missing
    assert "unshare -Urnm" in missing["namespace"]
    network = theatre.Network("network1", "10.5.0.0/16")
    member = theatre.Member(network, "member", Path({place!r}))
    steps = tuple(theatre.Step(theatre.Verb.MAKE, thing) for thing in (*network.objects, *member.objects))
    outcomes = dataplane.apply(theatre.Plan(steps, {{member.sandbox: member.place}}))
    for outcome in outcomes:
        assert outcome.status is theatre.Status.FAULT, outcome
        print(outcome.fault)
    dataplane.close()
"""


def test_without_permission(stage):
    """Faults say which permission is needed; nothing is raised and nothing is left behind."""
    script = POWERLESS.format(folder=str(Path(__file__).parent), place=str(stage.folder))
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "needs CAP_NET_ADMIN" in done.stdout
    assert not list(stage.folder.glob("*"))


FORGETFUL = """if True:
    import sys
    from pathlib import Path
    sys.path.insert(0, {folder!r})
    import conftest as theatre
    stage = theatre.Stage(Path({host!r}), Path({host!r}), Path({place!r}))
    stage.make(*stage.forwarding, *theatre.Network("network1", "10.5.0.0/16").objects)
    raise SystemExit(7)
"""


def test_a_program_that_ends_without_closing(stage):
    """It ends: the worker does not keep it alive."""
    script = FORGETFUL.format(folder=str(Path(__file__).parent), host=str(stage.host), place=str(stage.folder))
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 7, done.stderr
    assert done.stderr == ""
