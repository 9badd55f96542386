"""A delegated sandbox's namespace is handed over late; a container gets another name."""

from __future__ import annotations

import pytest

from netledger.domain.commands import RenameSandbox, SetSandboxKey
from netledger.domain.errors import Conflict, Invalid, NotFound
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.objects import Address, Route, VethPair
from netledger.domain.values import SandboxKind
from netledger.projections.desired import Pending, lower_everything
from tests.desk import HOST, create_endpoint, create_network, create_sandbox, identifier, join

HERE = NamespaceIdentity("boot", 7)


def of(desk, kind):
    """List what is called for of one kind."""
    return [thing for thing in lower_everything(desk.views, HOST).values() if isinstance(thing, kind)]


@pytest.fixture
def net(desk):
    """Give a desk with an endpoint in a delegated sandbox."""
    desk.do(
        create_network("n", "10.1.0.0/24"), create_endpoint("n", "e"), create_sandbox("c", kind=SandboxKind.DELEGATED)
    )
    desk.do(join("n/e", "c"))
    return desk


def test_from_then_on_its_interfaces_are_configured(net):
    """Before, the pair waits in the host's namespace; afterwards it is in the sandbox, with its address and route."""
    before = of(net, VethPair)
    assert [(pair.sandbox, pair.up) for pair in before] == [("", False)]
    assert [address.sandbox for address in of(net, Address)] == [""]
    pending = Pending(net.views, HOST)
    command = SetSandboxKey(identifier("c"), "/proc/7/ns/net", HERE)
    for event in net.decide(command).events:
        pending.note(event)
        net.fold(event)
    assert ("endpoint", identifier("n/e")) in pending.take()[0], "what is in it is touched"
    assert [(pair.sandbox, pair.name, pair.up) for pair in of(net, VethPair)] == [(identifier("c"), "eth0", True)]
    assert [route.sandbox for route in of(net, Route)] == [identifier("c")]
    assert {address.sandbox for address in of(net, Address)} == {"", identifier("c")}
    record = net.views.sandbox(identifier("c"))
    assert (record.event.kind, record.event.path, record.event.identity) == ("attached", "/proc/7/ns/net", HERE)
    assert net.views.sandbox_in(HOST, HERE) == identifier("c")


def test_a_key_is_set_once_and_leads_to_a_namespace(net):
    """What is no delegated sandbox, no absolute path, no namespace, or another's, is refused."""
    sandbox = identifier("c")
    assert "is not absolute" in str(net.refusal(Invalid, SetSandboxKey(sandbox, "ns/net", HERE)))
    assert "there is no network namespace" in str(net.refusal(Invalid, SetSandboxKey(sandbox, "/proc/7/ns/net")))
    net.refusal(NotFound, SetSandboxKey(identifier("x"), "/proc/7/ns/net", HERE))
    net.do(SetSandboxKey(sandbox, "/proc/7/ns/net", HERE))
    assert "its namespace is known" in str(net.refusal(Conflict, SetSandboxKey(sandbox, "/proc/7/ns/net", HERE)))
    net.do(create_sandbox("d", kind=SandboxKind.DELEGATED))
    refusal = net.refusal(Conflict, SetSandboxKey(identifier("d"), "/proc/7/ns/net", HERE))
    assert "its network namespace is the sandbox of container c" in str(refusal)


def test_a_container_gets_another_name(net):
    """Its sandbox is found by the new one alone; a name that is taken, or none, is refused."""
    net.do(create_sandbox("d"))
    assert "has that name" in str(net.refusal(Conflict, RenameSandbox(identifier("c"), "d")))
    net.refusal(Invalid, RenameSandbox(identifier("c"), "-"))
    net.do(RenameSandbox(identifier("c"), "e"))
    assert net.views.sandbox_of(HOST, "e") == identifier("c")
    assert net.views.sandbox_of(HOST, "c") is None
    net.do(create_sandbox("c", sandbox=identifier("another")))
