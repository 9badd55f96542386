"""The contract's part about firewalls and ports: a dataplane of several firewalls keeps it, wrong ones do not."""

from __future__ import annotations

import pytest

from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.facts import Capabilities, HostPorts
from netledger.domain.objects import Bridge, is_of_firewall
from netledger.testing.contracts.dataplane import DataplaneContract, World
from netledger.testing.contracts.firewalls import FirewallContract
from tests.dataplanes.test_simulated import Others

WITHOUT = dict.fromkeys(("published ports", "internal networks"), "nothing is programmed")
GOES_OVER = FirewallContract.test_a_firewall_takes_over_from_another
GOES_WITHOUT = FirewallContract.test_no_firewall_takes_over
LACKS = FirewallContract.test_it_says_what_it_lacks_with_each_firewall


class Plane(SimulatedDataplane):
    """A dataplane whose firewalls have rules of their own, of which the kernel in memory shows one's at a time."""

    def __init__(self) -> None:
        super().__init__(SimulatedKernel())
        self.firewall = "nftables"
        self.aside = {}

    def capabilities(self, firewall=""):
        """Publish nothing with none."""
        return Capabilities(WITHOUT, True) if (firewall or self.firewall) == "none" else Capabilities({})

    def use_firewall(self, backend):
        """Put the rules of the one in use aside, and go on with the other's."""
        mine = [thing for thing in self.kernel.objects.values() if is_of_firewall(thing)]
        for thing in reversed(mine):
            self.kernel.remove(thing)
        self.aside[self.firewall] = mine
        for thing in self.aside.pop(backend, []):
            self.kernel.make(thing)
        self.firewall = backend

    def retire(self, backend):
        """Take away what was put aside."""
        return bool(self.aside.pop(backend, []))


class TestPlane(DataplaneContract):
    """A dataplane of several firewalls keeps the whole contract."""

    @pytest.fixture
    def dataplane(self):
        return Plane()

    @pytest.fixture
    def others(self, dataplane):
        return Others(dataplane)


class Forgetful(Plane):
    """Takes away at once what the one before has programmed."""

    def use_firewall(self, backend):
        super().use_firewall(backend)
        self.aside.clear()


class Deaf(Plane):
    """Goes on with the one that it has."""

    def use_firewall(self, backend):
        """Do nothing."""


class Thorough(Plane):
    """Makes a bridge once more when it takes up another firewall."""

    def use_firewall(self, backend):
        super().use_firewall(backend)
        bridge = next(thing for thing in self.kernel.objects.values() if isinstance(thing, Bridge))
        self.kernel.remove(bridge)


class Hoarder(Plane):
    """Takes nothing away, and says that it did."""

    def retire(self, backend):
        return bool(self.aside.get(backend))


class Boaster(Plane):
    """Says each time that there was something."""

    def retire(self, backend):
        super().retire(backend)
        return True


class Silent(Plane):
    """Takes away, and never says that there was anything."""

    def retire(self, backend):
        super().retire(backend)
        return False


class Sweeper(Plane):
    """Takes away what the one in use has programmed, too."""

    def retire(self, backend):
        retired = super().retire(backend)
        if retired:
            super().use_firewall("none")
            self.firewall = "nftables" if backend == "iptables" else "iptables"
        return retired


class Stale(Plane):
    """Answers for ever what it could do at first."""

    def capabilities(self, firewall=""):
        return super().capabilities(firewall or "nftables")


class Curious(Plane):
    """Takes up what it is asked about."""

    def capabilities(self, firewall=""):
        if firewall:
            self.use_firewall(firewall)
        return super().capabilities()


class Indifferent(Plane):
    """Says of another firewall what it says of its own, in words of its own."""

    def capabilities(self, firewall=""):
        return Capabilities({"packets": "with a firewall"} if firewall == "iptables" else {})


class Mute(Plane):
    """Lacks something without a reason."""

    def capabilities(self, firewall=""):
        return Capabilities({"firewall": ""} if firewall == "iptables" else {})


class Careless(Plane):
    """Would publish without a firewall."""

    def capabilities(self, firewall=""):
        return Capabilities({}, (firewall or self.firewall) == "none")


class TwoFaced(Plane):
    """Says otherwise of the one in use when it is asked by its name."""

    def capabilities(self, firewall=""):
        return Capabilities({"snat address": "not with this one"}) if firewall == self.firewall else Capabilities({})


class Unheard(Plane):
    """Programs what nobody knows."""

    def __init__(self):
        super().__init__()
        self.firewall = "ebtables"


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (Forgetful, GOES_OVER),
        (Deaf, GOES_OVER),
        (Thorough, GOES_OVER),
        (Hoarder, GOES_OVER),
        (Boaster, GOES_OVER),
        (Silent, GOES_OVER),
        (Sweeper, GOES_OVER),
        (Stale, GOES_WITHOUT),
        (Deaf, GOES_WITHOUT),
        (Silent, GOES_WITHOUT),
        (Thorough, GOES_WITHOUT),
        (Boaster, GOES_WITHOUT),
        (Curious, LACKS),
        (Indifferent, LACKS),
        (Mute, LACKS),
        (Careless, LACKS),
        (TwoFaced, LACKS),
        (Unheard, LACKS),
    ],
    ids=lambda given: given.__name__,
)
def test_a_wrong_dataplane_fails(wrong, test, tmp_path):
    """Each breaks one rule about firewalls."""
    with pytest.raises(AssertionError):
        test(DataplaneContract(), World(wrong(), tmp_path))


class FromMemory(Plane):
    """Reads what the host says about its ports once."""

    def __init__(self):
        super().__init__()
        self.known = None

    def host_ports(self):
        self.known = self.known or super().host_ports()
        return self.known


class Constant(Plane):
    """Never asks the host."""

    def host_ports(self):
        return HostPorts(chosen_from=(40000, 40100))


class Confused(Plane):
    """Takes its range for reserved."""

    def host_ports(self):
        found = super().host_ports()
        return HostPorts((*found.reserved, found.chosen_from or (49153, 65535)), chosen_from=found.chosen_from)


class Backwards(Plane):
    """Gives ranges from their ends."""

    def host_ports(self):
        return HostPorts(((90, 80),))


@pytest.mark.parametrize("wrong", [FromMemory, Constant, Confused, Backwards], ids=lambda given: given.__name__)
def test_a_dataplane_that_is_wrong_about_ports_fails(wrong, tmp_path):
    """Each breaks one rule about the host's ports."""
    dataplane = wrong()
    with pytest.raises(AssertionError):
        DataplaneContract().test_the_hosts_ports_are_as_they_are_set_now(World(dataplane, tmp_path), Others(dataplane))
