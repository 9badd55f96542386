from __future__ import annotations

import pytest

from netledger.dataplanes.contract import Verb
from netledger.dataplanes.simulated import SimulatedDataplane
from netledger.domain.commands import AddAlias, DeleteNetwork, LeaveEndpoint
from netledger.domain.errors import Conflict, DataplaneFault, Invalid, NotFound
from netledger.domain.events import EndpointCreated, EndpointLeft, NetworkCreated
from netledger.domain.facts import NamespaceIdentity
from netledger.domain.objects import Bridge
from netledger.domain.values import SandboxKind
from netledger.engine.requests import author, digest_of, new_id
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join


def no_bridge(step):
    """Answer ENOSPC to every bridge that is to be made."""
    return 28 if isinstance(step.object, Bridge) and step.verb is Verb.MAKE else 0


def test_the_same_request_changes_nothing_and_answers_the_same(controller):
    """A batch given again with its request id appends nothing and returns the events of the first time."""
    commands = [create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c")]
    first = controller.execute(commands, request="r")
    head = controller.ledger.head
    again = controller.execute(commands, request="r", actor="somebody else", reason="a retry")
    assert controller.ledger.head == head
    assert [result.events for result in again] == [result.events for result in first]
    assert all(result.is_repetition for result in again)
    assert not any(result.is_repetition for result in first)


def test_another_command_with_the_same_request_is_a_conflict(controller):
    """The id stands for one command: another is refused, naming where the first one is in the log."""
    controller.execute([create_network("n1")], request="r")
    position = next(r.position for r in controller.history() if r.event.request.startswith("r/0#"))
    result = controller.execute([create_network("n2")], request="r")[0]
    assert isinstance(result.error, Conflict)
    assert str(result.error) == (
        f"CreateNetwork: request id 'r' was another command's (position {position}); use a new request id"
    )


def test_each_place_in_a_batch_stands_for_itself(controller):
    """A batch that was cut short is completed: what was done is repeated, what was not is carried out."""
    controller.execute([create_network("n1")], request="r")
    results = controller.execute([create_network("n1"), create_network("n2")], request="r")
    assert [result.is_repetition for result in results] == [True, False]
    swapped = controller.execute([create_network("n2"), create_network("n1")], request="r")
    assert [type(result.error) for result in swapped] == [Conflict, Conflict]


def test_without_a_request_id_nothing_is_remembered(controller):
    """The same command twice without an id is carried out twice, or refused."""
    controller.do(create_network("n1"))
    with pytest.raises(Conflict, match="is network n1"):
        controller.do(create_network("n1"))


def test_a_refused_request_may_be_tried_again(controller):
    """What was refused is not remembered: the same id is decided anew."""
    command = create_endpoint("n1", "e")
    assert isinstance(controller.execute([command], request="r")[0].error, NotFound)
    controller.do(create_network("n1"))
    assert controller.execute([command], request="r")[0].error is None


def test_what_was_refused_is_decided_in_the_state_that_its_batch_has_made(controller):
    """A leave in front of the join that makes it possible is refused first, and carried out when it comes again."""
    controller.execute([create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c")])
    batch = [LeaveEndpoint(identifier("n1/e")), join("n1/e", "c")]
    first = controller.execute(batch, request="r")
    assert [type(result.error) for result in first] == [Conflict, type(None)]
    again = controller.execute(batch, request="r")
    assert [result.is_repetition for result in again] == [False, True]
    assert [type(each.event) for each in again[0].events] == [EndpointLeft]
    assert not controller.views.endpoints.joined


def test_a_compensated_request_may_be_tried_again(start, kernel):
    """What was taken back is not remembered as done; once it has succeeded it is."""
    failing = [True]
    dataplane = SimulatedDataplane(kernel, faults=lambda step: no_bridge(step) if failing[0] else 0)
    controller = start(dataplane=dataplane)
    command = create_network("n1")
    for _ in range(2):
        result = controller.execute([command], request="r")[0]
        assert isinstance(result.error, DataplaneFault)
        assert not result.is_repetition
    failing[0] = False
    done = controller.execute([command], request="r")[0]
    assert done.error is None
    again = controller.execute([command], request="r")[0]
    assert again.is_repetition
    assert again.events == done.events


def test_what_depended_on_a_compensated_command_may_be_tried_again(start, kernel):
    """A whole batch whose network failed is carried out when it is given again, aliases and all."""
    failing = [True]
    dataplane = SimulatedDataplane(kernel, faults=lambda step: no_bridge(step) if failing[0] else 0)
    controller = start(dataplane=dataplane)
    commands = [
        create_network("n1"),
        create_endpoint("n1", "e"),
        AddAlias(identifier("n1/e"), "db"),
        create_sandbox("c"),
    ]
    results = controller.execute(commands, request="r")
    assert [type(result.error) for result in results] == [DataplaneFault] * 3 + [type(None)]
    failing[0] = False
    results = controller.execute(commands, request="r")
    assert [result.is_repetition for result in results] == [False, False, False, True]
    assert list(controller.endpoint("n1/e").info().aliases) == ["db"]


def test_calls_with_a_request_id_are_idempotent(controller):
    """Every call of the object model that is repeated with its request id gives the same object and no event."""

    def run():
        network = controller.create_network("n1", request="r1")
        endpoint = network.create_endpoint("e", ports=["80"], request="r2")
        sandbox = controller.create_sandbox("c", request="r3")
        endpoint.join(sandbox, request="r4")
        endpoint.add_alias("db", request="r5")
        return network.id, endpoint.id, sandbox.id, endpoint.info()

    first = run()
    head = controller.ledger.head
    assert run() == first
    assert controller.ledger.head == head
    endpoint = controller.endpoint("e")

    def undo():
        endpoint.remove_alias("db", request="r6")
        endpoint.leave(request="r7")
        endpoint.delete(request="r8")
        controller.do(DeleteNetwork(first[0]), request="r9")

    undo()
    head = controller.ledger.head
    undo()
    assert controller.ledger.head == head


def test_a_request_is_the_same_whatever_the_host_says(start, dataplane):
    """A namespace that was replaced between two tries does not make another command of it."""
    controller = start(dataplane=dataplane)
    dataplane.namespaces["/run/netns/blue"] = NamespaceIdentity("boot", 1)
    command = create_sandbox("c", kind=SandboxKind.ATTACHED, path="/run/netns/blue")
    first = controller.execute([command], request="r")[0]
    dataplane.namespaces["/run/netns/blue"] = NamespaceIdentity("boot", 2)
    again = controller.execute([command], request="r")[0]
    assert again.is_repetition
    assert again.events == first.events


def test_ids_are_derived_from_a_request():
    """With a request id the same subject gets the same 64-hex id, another one another; without, a random one."""
    assert new_id("r", "network/n") == new_id("r", "network/n")
    assert new_id("r", "network/n") != new_id("r", "network/m") != new_id("s", "network/m")
    assert new_id(None, "x") != new_id(None, "x")
    assert len(new_id(None, "x")) == len(new_id("r", "x")) == 64


def test_a_commands_digest_ignores_the_order_of_options():
    """The same options in another order are the same command; another value is another."""
    one = create_network("n", options={"a": "1", "b": "2"})
    same = create_network("n", options={"b": "2", "a": "1"})
    other = create_network("n", options={"a": "1", "b": "3"})
    assert digest_of(one) == digest_of(same) != digest_of(other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, "", ""), "request id '': not 1 to 128 printable characters without '#' and '/'"),
        ((None, "", "a#b"), "request id 'a#b': not 1 to 128 printable characters without '#' and '/'"),
        ((None, "", "a\nb"), "request id 'a\\nb': not 1 to 128 printable characters without '#' and '/'"),
        ((None, "x" * 1025, None), "reason: not at most 1024 printable characters"),
        (("", "", None), "actor '': not 1 to 256 printable characters"),
    ],
)
def test_who_asks_is_checked(arguments, message):
    """Request ids, reasons and actors have limits."""
    with pytest.raises(Invalid) as caught:
        author(*arguments)
    assert str(caught.value) == message


def test_a_request_id_has_its_limit():
    """128 characters are taken, 129 are not."""
    assert author("a", "", "x" * 128).is_named
    with pytest.raises(Invalid):
        author("a", "", "x" * 129)


def test_an_ephemeral_choice_is_repeated_and_not_made_again(controller):
    """The repeated request tells the port and address that were chosen the first time."""
    controller.do(create_network("n1"), request="a")
    first = controller.do(create_endpoint("n1", "e", "80"), request="b")
    controller.do(create_endpoint("n1", "f", "80"))
    again = controller.do(create_endpoint("n1", "e", "80"), request="b")
    assert again.events == first.events
    assert any(isinstance(record.event, EndpointCreated) for record in again.events)
    assert not any(isinstance(record.event, NetworkCreated) for record in again.events)
