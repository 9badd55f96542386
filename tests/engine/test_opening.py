from __future__ import annotations

import pytest

from netledger import Controller
from netledger.dataplanes.simulated import SimulatedDataplane, SimulatedKernel
from netledger.domain.errors import Forbidden, Invalid
from netledger.domain.facts import Capabilities, NamespaceIdentity
from netledger.engine.deciding import OWN_NAMESPACE


def test_a_host_that_may_not_be_configured_at_all_is_not_opened(state):
    """Where no namespace can be made the dataplane is refused at once, with what else can be done."""

    class Powerless(SimulatedDataplane):
        def capabilities(self, firewall=""):
            return Capabilities(missing={"namespace": "no CAP_SYS_ADMIN"})

    with pytest.raises(Forbidden) as caught:
        Controller.open(state, dataplane=Powerless(SimulatedKernel()))
    assert str(caught.value) == (
        f"change {state} with the simulated dataplane: no network namespace can be made here: no CAP_SYS_ADMIN; "
        "see `netledger doctor`; to append events only, take the dataplane none"
    )
    Controller.open(state, dataplane="none").close()


def test_a_managed_sandbox_lies_where_we_put_it(controller):
    """A path is refused for a namespace of ours: it would be somebody else's."""
    with pytest.raises(Invalid, match="a path is given and the sandbox is a managed one; make it an attached one"):
        controller.create_sandbox("c", path="/run/netns/blue")


def test_the_hosts_own_namespace_is_not_attached(controller, dataplane):
    """What would configure the host as if it were a container is refused."""
    own = NamespaceIdentity("boot", 1)
    dataplane.namespaces.update({OWN_NAMESPACE: own, "/proc/1/ns/net": own})
    with pytest.raises(Invalid, match="/proc/1/ns/net is the host's own network namespace; give the container's"):
        controller.create_sandbox("c", kind="attached", path="/proc/1/ns/net")
