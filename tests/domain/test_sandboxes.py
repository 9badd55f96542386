from __future__ import annotations

import pytest

from netledger.domain.commands import DeleteSandbox, LoseSandbox
from netledger.domain.errors import Conflict, InUse, Invalid, NotFound, Unavailable
from netledger.domain.events import (
    EndpointAbandoned,
    EndpointJoined,
    EndpointLeft,
    GatewayElected,
    SandboxCreated,
    SandboxDeleted,
    SandboxLost,
)
from netledger.domain.facts import Capabilities, NamespaceIdentity
from netledger.domain.values import SandboxKind
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join

SHORT = identifier("c")[:12]


@pytest.fixture
def full(desk):
    """Give a desk with a sandbox that two endpoints are in."""
    desk.do(create_network("n1"), create_endpoint("n1", "e", "8080:80"), create_endpoint("n1", "f"))
    desk.do(create_sandbox("c"), join("n1/e", "c"), join("n1/f", "c"))
    return desk


def test_a_container_has_one_sandbox(desk):
    """A second one for the same container is refused with the first one's id and position."""
    desk.do(create_sandbox("c", hostname="h", domainname="d", labels={"a": "b"}))
    assert str(desk.refusal(Conflict, create_sandbox("c", sandbox=identifier("other")))) == (
        f"create sandbox for container 'c': it has sandbox {SHORT} (position 1); use that one, or delete it first"
    )


def test_an_id_is_held_once(desk):
    """A second sandbox with the same id is refused with whose it is."""
    desk.do(create_sandbox("c"))
    assert str(desk.refusal(Conflict, create_sandbox("d", sandbox=identifier("c")))) == (
        f"create sandbox for container 'd': id {SHORT} is the sandbox of container c (position 1)"
    )


@pytest.mark.parametrize(("container", "others"), [("c", {"sandbox": "0"}), ("c d", {}), ("", {})])
def test_a_sandbox_that_is_ill_described_is_refused(desk, container, others):
    """Ids are 64 hex digits, container ids follow the rule for names."""
    desk.refusal(Invalid, create_sandbox(container, **others))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"path": "netns/blue"}, "path 'netns/blue' is not absolute; give the whole path, like /run/netns/NAME"),
        ({"hostname": "-h"}, "hostname '-h': not a name of 253 characters at most"),
        ({"hostname": "h" * 64}, "not a name of 253 characters at most whose parts between '.' are 1 to 63 letters"),
        ({"domainname": "d..e"}, "domainname 'd..e': not a name of 253 characters at most"),
        ({"labels": {"a": "b\n"}}, "it has characters that cannot be printed; leave them out"),
        ({"labels": {"a": "b" * 4097}}, "it has 4097 bytes; write 4096 at most"),
        ({"labels": {str(number): "" for number in range(129)}}, "labels: there are 129; give 128 at most"),
    ],
)
def test_what_is_recorded_as_it_is_has_limits(desk, others, message):
    """Paths are absolute, host names are such, labels are printable and not too many."""
    assert message in str(desk.refusal(Invalid, create_sandbox("c", **others)))


def test_an_attached_sandbox_needs_a_namespace(desk):
    """Without the identity of one at its path it is refused; with it, identity and path are in the event."""
    attached = {"kind": SandboxKind.ATTACHED, "path": "/run/netns/blue"}
    assert str(desk.refusal(Invalid, create_sandbox("c", **attached))) == (
        "create sandbox for container 'c': there is no network namespace at '/run/netns/blue'; "
        "give the path of one, like /run/netns/NAME"
    )
    identity = NamespaceIdentity("boot", 7)
    created = desk.do(create_sandbox("c", **attached, identity=identity))[0]
    assert (created.path, created.identity) == ("/run/netns/blue", identity)
    assert str(desk.refusal(Conflict, create_sandbox("d", **attached, identity=identity))) == (
        "create sandbox for container 'd': its network namespace is the sandbox of container c (position 1); "
        "use that one, or delete it first"
    )
    desk.do(create_sandbox("d", **attached, identity=NamespaceIdentity("boot", 8)))


def test_a_namespace_of_ours_needs_the_capability_to_make_one(desk):
    """A host that makes no namespaces still takes those of others."""
    capabilities = Capabilities(missing={"namespace": "no CAP_SYS_ADMIN"})
    assert str(desk.refusal(Unavailable, create_sandbox("c"), capabilities=capabilities)) == (
        "create sandbox for container 'c': this host cannot make 'namespace': no CAP_SYS_ADMIN; see `netledger doctor`"
    )
    desk.do(create_sandbox("c", kind=SandboxKind.DELEGATED), capabilities=capabilities)


def test_deleting_ends_it(desk):
    """An empty sandbox is deleted, and its container may have another."""
    events = desk.do(create_sandbox("c"), DeleteSandbox(identifier("c")), create_sandbox("c"))
    assert [type(event) for event in events] == [SandboxCreated, SandboxDeleted, SandboxCreated]
    assert events[1].forced is False


@pytest.mark.parametrize(
    ("command", "asked"),
    [(DeleteSandbox(identifier("c")), "delete"), (LoseSandbox(identifier("c"), "gone"), "lose")],
)
def test_an_unknown_sandbox_is_not_found(desk, command, asked):
    """Ending what is not there is refused."""
    assert str(desk.refusal(NotFound, command)) == (
        f"{asked} sandbox {SHORT}: there is no sandbox {SHORT}; see `netledger sandbox ls`"
    )


def test_a_joined_sandbox_is_in_use(full):
    """The refusal counts the endpoints and gives the first one's join."""
    position = full.position_of(EndpointJoined, endpoint=identifier("n1/e"))
    assert str(full.refusal(InUse, DeleteSandbox(identifier("c")))) == (
        f"delete sandbox of container c: 2 endpoint(s) are in it, the first is endpoint e "
        f"(position {position}); let them leave first, or force it"
    )


def test_force_takes_the_endpoints_out_and_leaves_them(full):
    """Each endpoint is abandoned with cause and evidence, no successor is elected, and the endpoints stay."""
    events = full.do(DeleteSandbox(identifier("c"), force=True))
    assert [type(event) for event in events] == [EndpointAbandoned, EndpointAbandoned, SandboxDeleted]
    assert {(event.cause, event.evidence) for event in events[:2]} == {("sandbox deleted", "forced by the caller")}
    assert events[-1].forced
    assert full.views.joined(identifier("n1/e")) is None
    assert full.views.endpoint(identifier("n1/e")) is not None
    assert not full.views.sandboxes.gateways
    assert not full.views.ports.published
    assert full.views.ports.by_number, "the port stays the endpoint's"


def test_a_lost_sandbox_is_left_by_its_endpoints(full):
    """Its endpoints leave with the evidence as cause, and the sandbox is no more; one of ours cannot be lost."""
    position = full.position_of(SandboxCreated)
    assert str(full.refusal(Conflict, LoseSandbox(identifier("c"), "namespace gone"))) == (
        "lose sandbox of container c: its namespace is ours and is made again where it is missing "
        f"(position {position}); delete it"
    )
    full.do(DeleteSandbox(identifier("c"), force=True), create_sandbox("c", kind=SandboxKind.DELEGATED))
    full.do(join("n1/e", "c"), join("n1/f", "c"))
    events = full.do(LoseSandbox(identifier("c"), "namespace gone"))
    assert [type(event) for event in events] == [EndpointLeft, EndpointLeft, SandboxLost]
    assert {event.cause for event in events[:2]} == {"namespace gone"}
    assert events[-1].evidence == "namespace gone"
    assert full.views.sandbox(identifier("c")) is None
    assert not any(isinstance(event, GatewayElected) for event in events)
