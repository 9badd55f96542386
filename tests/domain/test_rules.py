from __future__ import annotations

from typing import get_args

from netledger.domain.commands import Command
from netledger.domain.events import EVENT_TYPES, Event, tags_of
from netledger.domain.rules import RULES
from tests.desk import ORIGIN, Desk, create_endpoint, create_network, create_sandbox, join


def test_every_command_has_one_rule():
    """No command is without a rule, and no rule without a command."""
    assert set(RULES) == set(get_args(Command))


def test_every_event_starts_with_the_same_fields():
    """`at`, actor, request, reason and host come first, and no event type is missing from the catalogue."""
    assert Event.__struct_fields__ == ORIGIN._fields
    for name, kind in EVENT_TYPES.items():
        assert kind.__name__ == name
        assert kind.__struct_fields__[:5] == ORIGIN._fields
        assert kind.__doc__


def test_every_event_of_a_request_is_found_by_its_tag():
    """All events of a decision carry the request's tag, without the digest, and their host's or their entity's."""
    desk = Desk()
    desk.do(create_network("n"), create_endpoint("n", "e", "80"), create_sandbox("c"), join("n/e", "c"))
    for record in desk.log:
        tags = tags_of(record.event)
        assert "request:request/0" in tags
        assert len(tags) == len(set(tags))


def test_a_rule_changes_nothing():
    """Deciding leaves the views as they are, and deciding again gives the same decision."""
    desk = Desk()
    desk.do(create_network("n"))
    before = desk.views.digest()
    command = create_endpoint("n", "e", "80", aliases=("a",))
    assert desk.decide(command) == desk.decide(command)
    assert desk.views.digest() == before
