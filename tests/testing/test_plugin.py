"""The pytest plugin, as a user's test run has it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

NETLEDGER = Path(sys.executable).parent / "netledger"
IS_INSTALLED = bool(importlib.metadata.entry_points(group="pytest11", name="netledger"))
PLUGIN = () if IS_INSTALLED else ("-p", "netledger.testing.plugin")

FAILING = """
    def test_of_mine(controller):
        network = controller.create_network("n1", subnets=["10.5.0.0/24"])
        endpoint = network.create_endpoint("web")
        endpoint.join(controller.create_sandbox("c1"))
        assert endpoint.info().addresses == ("10.5.0.9/24",)
"""


def run(pytester: pytest.Pytester, text: str, *arguments: str) -> pytest.RunResult:
    """Run a test file in a process of its own, with the plugin."""
    pytester.makepyfile(text)
    return pytester.runpytest_subprocess(*PLUGIN, *arguments, timeout=60)


def commands_of(result: pytest.RunResult) -> list[list[str]]:
    """Find the commands that a report prints."""
    return [shlex.split(found[1]) for line in result.outlines if (found := re.search(r": +(netledger .*)", line))]


def test_a_failing_test_keeps_its_ledger_and_says_how_to_replay_it(pytester: pytest.Pytester) -> None:
    """Each command in the report works as printed: it shows the events, and what they call for on an empty host."""
    result = run(pytester, FAILING)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- netledger -*", "the ledger of this test, * events, is kept in *"])
    show, plan = commands_of(result)
    assert show[:3] == ["netledger", "log", "show"]
    assert plan[:2] == ["netledger", "plan"]
    shown = subprocess.run([NETLEDGER, *show[1:]], check=True, capture_output=True, text=True).stdout
    assert "network n1" in shown
    planned = subprocess.run([NETLEDGER, *plan[1:]], check=False, capture_output=True, text=True)
    assert planned.returncode == 40, planned.stderr
    assert "+ address/" in planned.stdout
    assert "10.5.0.2/24" in planned.stdout


def test_the_kept_ledger_outlasts_the_next_run(pytester: pytest.Pytester) -> None:
    """It lies in pytest's cache, and a test that fails again replaces its own and no other."""
    two = FAILING + FAILING.replace("test_of_mine", "test_another")
    run(pytester, two).assert_outcomes(failed=2)
    kept = pytester.path / ".pytest_cache" / "d" / "netledger"
    assert len(list(kept.iterdir())) == 2
    result = run(pytester, two, "-k", "test_another")
    result.assert_outcomes(failed=1, deselected=1)
    assert len(list(kept.iterdir())) == 2
    (where,) = {command[command.index("--state") + 1] for command in commands_of(result)}
    assert Path(where).parent == kept


def test_without_a_cache_the_test_s_own_directory_is_named(pytester: pytest.Pytester) -> None:
    """When pytest's cache is turned off the report names the ledger where the test had it."""
    result = run(pytester, FAILING, "-p", "no:cacheprovider", "--basetemp", "kept")
    result.assert_outcomes(failed=1)
    (where,) = {command[command.index("--state") + 1] for command in commands_of(result)}
    assert Path(where).is_relative_to(pytester.path / "kept")
    assert (Path(where) / "ledger.db").exists()


def test_a_controller_that_the_test_closed_is_kept_too(pytester: pytest.Pytester) -> None:
    """The ledger is read from its file, whoever has it open."""
    result = run(
        pytester,
        """
        def test_of_mine(controller):
            controller.create_network("n1")
            controller.close()
            assert False
        """,
    )
    result.assert_outcomes(failed=1)
    assert len(commands_of(result)) == 2


def test_a_passing_test_leaves_nothing(pytester: pytest.Pytester) -> None:
    """Neither a kept ledger nor a word; what the simulated kernel has outlasts the controller."""
    result = run(
        pytester,
        """
        import netledger

        def test_of_mine(controller, simulated_dataplane, tmp_path):
            controller.create_network("n1")
            assert any("bridge/" in key for key in simulated_dataplane.kernel.objects)
            controller.close()
            with netledger.Controller.open(tmp_path / "netledger", dataplane=simulated_dataplane) as again:
                assert again.recovery is None
                assert [network.name for network in again.networks()] == ["n1"]
        """,
    )
    result.assert_outcomes(passed=1)
    assert not (pytester.path / ".pytest_cache" / "d" / "netledger").exists()
    assert "kept in" not in str(result.stdout)


def test_a_script_gives_its_ledger(pytester: pytest.Pytester) -> None:
    """From text, indented as it stands in a test, and from a file; each has a ledger and a host of its own."""
    pytester.makefile(
        ".txt",
        shop="network create shop --subnet 10.1.0.0/24\n\nshow networks\n----\nshop bridge: 10.1.0.0/24 via 10.1.0.1\n",
    )
    result = run(
        pytester,
        """
        from pathlib import Path

        def test_of_mine(ledger_from):
            first = ledger_from(Path("shop.txt"))
            second = ledger_from(\'\'\'
                network create back
                endpoint create back db

                restart

                reboot
                ----
                ...
            \'\'\')
            assert [network.name for network in first.networks()] == ["shop"]
            assert [network.name for network in second.networks()] == ["back"]
            second.create_network("more")
            assert len(first.networks()) == 1
        """,
    )
    result.assert_outcomes(passed=1)


def test_a_script_whose_expectations_are_not_met_fails_its_test(pytester: pytest.Pytester) -> None:
    """The report shows the difference, not the interpreter's own lines, and keeps the ledger."""
    result = run(
        pytester,
        """
        def test_of_mine(ledger_from):
            ledger_from("network create shop\\n----\\nNetworkCreated shop\\n")

        def test_no_script(ledger_from):
            ledger_from("please create a network\\n")
        """,
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["script:1: network create shop", "*+PoolAllocated 172.17.0.0/16 for shop, chosen"])
    result.stdout.fnmatch_lines(["the ledger of this test, 4 events, is kept in *"])
    result.stdout.fnmatch_lines(["*script:1: there is no command 'please create'*"])
    assert "interpreter.py" not in str(result.stdout)
    assert "--accept" not in str(result.stdout), "there is no file to write into"
    show, _ = commands_of(result)
    shown = subprocess.run([NETLEDGER, *show[1:]], check=True, capture_output=True, text=True).stdout
    assert "name=shop" in shown


def test_a_failure_without_a_ledger_is_left_alone(pytester: pytest.Pytester) -> None:
    """A test that used none of the fixtures is none of the plugin's business, and costs no import."""
    result = run(
        pytester,
        """
        import sys

        def test_of_mine():
            assert "netledger.testing.plugin" in sys.modules
            assert not {"hypothesis", "eventsourcing", "msgspec", "netledger.engine"} & sys.modules.keys()

        def test_failing():
            assert False
        """,
        "-p",
        "no:hypothesispytest",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "netledger -" not in str(result.stdout)


def test_a_namespace_is_private_and_gone_afterwards(pytester: pytest.Pytester) -> None:
    """It is another than the one around it, has its loopback up and nothing else, and ends with the test."""
    result = run(
        pytester,
        """
        import json, os
        from pathlib import Path

        def test_of_mine(network_namespace, record_property):
            assert network_namespace.path.stat().st_ino != Path("/proc/self/ns/net").stat().st_ino
            network_namespace.run("ip", "link", "add", "probe", "type", "bridge")
            links = json.loads(network_namespace.run("ip", "-j", "link", "show"))
            assert {link["ifname"] for link in links if "UP" in link["flags"]} == {"lo"}
            assert "probe" in {link["ifname"] for link in links}
            Path("pid").write_text(str(network_namespace.pid))

        def test_a_command_that_fails(network_namespace):
            network_namespace.run("ip", "link", "delete", "nobody")
        """,
        "-rs",
    )
    if "no network namespace can be made here" in str(result.stdout):
        pytest.skip("no network namespace can be made here")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: ip link delete nobody: *"])
    assert not Path(f"/proc/{(pytester.path / 'pid').read_text()}").exists()


@pytest.mark.kernel
def test_the_linux_dataplane_takes_a_namespace_as_its_host(pytester: pytest.Pytester) -> None:
    """Its path serves as `Controller.open(namespace=...)`."""
    result = run(
        pytester,
        """
        import netledger

        def test_of_mine(network_namespace, tmp_path):
            host = str(network_namespace.path)
            with netledger.Controller.open(tmp_path / "state", dataplane="linux", namespace=host) as controller:
                controller.create_network("n1", options={"com.docker.network.bridge.name": "nlplugin"})
                assert "nlplugin" in network_namespace.run("ip", "link", "show")
        """,
    )
    result.assert_outcomes(passed=1)


def test_no_namespace_is_a_skip_that_says_why(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no namespace can be made the test is skipped with the reason."""
    tools = pytester.mkdir("tools")
    fake = tools / "unshare"
    fake.write_text("#!/bin/sh\necho 'unshare: not here' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    result = run(pytester, "def test_of_mine(network_namespace): assert False\n", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no network namespace can be made here: unshare: not here*"])
