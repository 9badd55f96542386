"""A firewalld reload: what it does to the kernel, done as its source does it, and what is found and mended after.

With its iptables backend it flushes every table of both families, whosever the rules are, deletes all chains, and puts
its own there (src/firewall/core/ipXtables.py: build_set_policy_rules, build_flush_rules, build_default_rules). With its
nftables backend it replaces its own tables alone.
"""

from __future__ import annotations

import threading

import pytest

from netledger import Controller
from netledger.domain.events import DriftRepaired
from netledger.engine.watching import keep_watch
from netledger.replay import drift

from .conftest import HOST4, OUTSIDE4

SOON_SECONDS = 30
CHAINS = {
    "security": ("INPUT", "OUTPUT", "FORWARD"),
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "POSTROUTING", "INPUT", "OUTPUT", "FORWARD"),
    "nat": ("PREROUTING", "POSTROUTING", "OUTPUT"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


def reload_on_iptables(stage):
    """Flush as firewalld does, and set its policies; of its own rules, those that let everything be."""
    for tool in ("iptables-legacy", "ip6tables-legacy"):
        script = []
        for policy in ("DROP", "ACCEPT"):
            for table, chains in CHAINS.items():
                if policy == "DROP":
                    script += [f"{tool} -t {table} {flag}" for flag in ("-F", "-X", "-Z")]
                if table != "nat":
                    script += [f"{tool} -t {table} -P {chain} {policy}" for chain in chains]
        script += [f"{tool} -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT"]
        script += [f"{tool} -N FORWARD_direct; {tool} -A FORWARD -j FORWARD_direct"]
        # The table `security` is not in every kernel; firewalld leaves out what is not there, too.
        stage.run("sh", "-c", "\n".join(f"{line} || true" for line in script if "security" in line))
        stage.run("sh", "-ec", "\n".join(line for line in script if "security" not in line))


def reload_on_nftables(stage):
    """Replace firewalld's own table."""
    table = "table inet firewalld"
    hook = "type filter hook forward priority filter + 10; policy accept;"
    stage.run("nft", f"add {table}; delete {table}; add {table}; add chain inet firewalld filter_FORWARD {{ {hook} }}")


RELOADS = {"iptables": reload_on_iptables, "nftables": reload_on_nftables}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("iptables", "iptables"), ("iptables", "nftables"), ("nftables", "iptables"), ("nftables", "nftables")],
)
def test_a_reload(stage, tmp_path, ours, theirs):
    """Whatever it has flushed of ours comes back, as one mended difference; where it flushed nothing, none is found."""
    is_flushed = ours == theirs == "iptables"
    options = {"dataplane": "linux", "namespace": str(stage.host), "firewall": ours}
    with Controller.open(tmp_path / "state", **options) as controller:
        sandbox = controller.create_sandbox("c")
        network = controller.create_network("n1", subnets=["10.5.0.0/24"])
        network.create_endpoint("web", ports=["8080:80"]).join(sandbox)
        address = controller.endpoint("web").info().addresses[0].split("/")[0]
        with stage.listening(sandbox.key, address, 80) as listener:
            assert stage.reach(stage.outside, HOST4, 8080, listener) == OUTSIDE4
            RELOADS[theirs](stage)
            assert drift(controller).agrees is not is_flushed
            if is_flushed:
                assert stage.is_silent(stage.outside, HOST4, 8080, listener)
                stop = threading.Event()
                late = threading.Timer(SOON_SECONDS, stop.set)
                late.start()
                finding = next(iter(keep_watch(controller, stop, period_seconds=0.2)))
                late.cancel()
                assert finding.is_mended
                assert finding.comparison.lines
            assert stage.reach(stage.outside, HOST4, 8080, listener) == OUTSIDE4
        assert drift(controller).agrees
        repaired = [there for there in controller.history() if isinstance(there.event, DriftRepaired)]
        assert len(repaired) == is_flushed
        network.delete(force=True)
        sandbox.delete()
