"""A writer that takes and gives addresses at random, and tells what it was answered. Run as a process or in a thread.

It tells one line a batch, after the answer: a JSON list of `[position, type, pool, address]` for each event of address
management that the batch was answered with, and how many commands were refused.

    python -m tests.engine.address_storm STATE NAME SEED      until its standard input ends
"""

from __future__ import annotations

import json
import random
import select
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netledger import Controller
from netledger.domain.commands import (
    Command,
    DeleteEndpoint,
    EndReservation,
    ReleaseAddress,
    RequestAddress,
    RequestPool,
    ReserveAddress,
)
from netledger.domain.errors import Conflict, Exhausted, Unavailable
from netledger.domain.events import (
    AddressAllocated,
    AddressReleased,
    AddressReservationEnded,
    AddressReservationMade,
    Event,
    Recorded,
)
from netledger.domain.values import AllocationPolicy, EndpointId, Position, format_address, parse_address
from tests.desk import create_endpoint, create_network, identifier, pool

Told = tuple[list[tuple[int, str, str, str]], dict[str, int]]
"""The events of one answer, and how many of its commands were refused, by the kind of refusal."""

MOVES = (AddressAllocated, AddressReleased, AddressReservationMade, AddressReservationEnded)
NETWORKS = ("wide", "narrow", "sticky", "six", "resting")
LEASED = "10.4.0.0/24"
MOST_OF_A_BATCH = 8
MOST_HELD = 60
LATE_SECONDS = 0.004


def lay_ground(controller: Controller) -> None:
    """Make a network of each policy, two of them too narrow for everybody, and a pool that nobody has claimed."""
    sticky, serial = AllocationPolicy.STICKY, AllocationPolicy.SERIAL
    ground: list[Command] = [
        create_network("wide", "10.1.0.0/16"),
        create_network("narrow", pool("10.2.0.0/26", policy=AllocationPolicy.LOWEST)),
        create_network("sticky", pool("10.3.0.0/25", policy=sticky, grace_seconds=1)),
        create_network("six", "fd00:6::/64"),
        create_network("resting", pool("10.5.0.0/26", policy=serial, rest_seconds=1)),
        RequestPool(pool(LEASED), identifier("leased")),
    ]
    for result in controller.execute(ground):
        result.check()


class Writer:
    """Asks for what it does not have and gives back what it has, in batches of up to eight commands.

    Named LINE.NUMBER: what earlier ones of the line have left behind is its own.
    """

    def __init__(self, controller: Controller, name: str, seed: str) -> None:
        self._controller = controller
        self._name = name
        self._chance = random.Random(seed)
        self._made = 0
        self._endpoints: list[EndpointId] = []
        self._addresses: list[bytes] = []
        self._kept: list[bytes] = []
        with controller.reading() as views:
            self._leased = next(key for key in views.ipam.pools if key.endswith(LEASED))
            line = name.partition(".")[0]
            for holder in views.ipam.holders.values():
                if holder.event.actor.partition(".")[0] == line:
                    self._note(holder.event)
            for reserved in views.ipam.reservations.values():
                for made in reserved.values():
                    if made.event.actor.partition(".")[0] == line:
                        self._note(made.event)

    def answer(self) -> Told:
        """Have one batch carried out; return what was answered."""
        commands = [self._command() for _ in range(self._chance.randint(1, MOST_OF_A_BATCH))]
        try:
            results = self._controller.execute(commands, actor=self._name)
        except Unavailable:  # others were first every time: nothing was done
            return [], {"Unavailable": 1}
        refused: Counter[str] = Counter()
        for result in results:
            if result.error is None:
                for record in result.events:
                    self._note(record.event)
                continue
            assert isinstance(result.error, Conflict | Exhausted), result.error
            refused[type(result.error).__name__] += 1
        return [move for result in results for move in map(told, result.events) if move is not None], refused

    def _command(self) -> Command:  # noqa: PLR0911  # one for each kind of command
        chance = self._chance
        self._made += 1
        name = f"{self._name}-{self._made}"
        match chance.randrange(12):
            case 0 | 1 | 2 if self._endpoints:
                return DeleteEndpoint(self._endpoints.pop(chance.randrange(len(self._endpoints))))
            case 3 if self._addresses:
                return ReleaseAddress(self._leased, self._addresses.pop())
            case 4:
                return RequestAddress(self._leased, identifier(name))
            case 5:
                wanted = parse_address(f"10.4.0.{chance.randint(1, 254)}")
                return RequestAddress(self._leased, identifier(name), wanted)
            case 6 if self._kept:
                return EndReservation(identifier("wide"), self._kept.pop())
            case 7:
                wanted = parse_address(f"10.1.0.{chance.randint(1, 254)}")
                return ReserveAddress(identifier("wide"), name, wanted)
            case 8:
                return create_endpoint("narrow", name, addresses=[f"10.2.0.{chance.randint(2, 62)}"])
            case 9:  # a name that others have as well, and had
                return create_endpoint(
                    "sticky", f"n{chance.randrange(40)}", endpoint=EndpointId(identifier(f"sticky/{name}"))
                )
            case _ if len(self._endpoints) > MOST_HELD:
                return DeleteEndpoint(self._endpoints.pop(0))
            case _:
                return create_endpoint(chance.choice(NETWORKS), name)

    def _note(self, event: Event) -> None:
        """Remember what is ours now."""
        match event:
            case AddressAllocated(owner=("endpoint", endpoint)):
                self._endpoints.append(EndpointId(endpoint))
            case AddressAllocated(owner=("unclaimed", _), address=address):
                self._addresses.append(address)
            case AddressReservationMade(until=0, address=address):
                self._kept.append(address)


def told(record: Recorded[Event]) -> tuple[int, str, str, str] | None:
    """Tell an event of address management, as the log has it."""
    event = record.event
    if not isinstance(event, MOVES):
        return None
    return record.position, type(event).__name__, event.pool, format_address(event.address)


def work(writer: Writer, tell: Callable[[Told], None], is_over: Callable[[], bool]) -> None:
    """Have batches carried out until it is over."""
    while not is_over():
        tell(writer.answer())


def main(state: str, name: str, seed: str) -> None:
    """Work as a process of its own; a line is written at once, so that a kill cuts off the last one at most."""

    def tell(answer: Told) -> None:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    chance = random.Random(seed)
    with Controller.open(Path(state), dataplane="none", synchronous="NORMAL") as controller:
        append = controller.ledger.append

        def append_late(*batch: Any) -> Position:
            """Let others in between deciding and appending: left to chance that is rare on few processors."""
            time.sleep(chance.uniform(0, LATE_SECONDS))
            return append(*batch)

        controller.ledger.append = append_late  # type: ignore[method-assign]
        work(Writer(controller, name, seed), tell, lambda: bool(select.select([sys.stdin], [], [], 0)[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
