"""`netledger reach`: who reaches whom in the network that the log calls for, and because of which events.

Must not know: how a packet finds its way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from ...domain.errors import Invalid
from ...domain.values import format_address
from .exits import DIFFERENT, DONE
from .options import HERE, Log
from .printing import clean, document
from .session import reading

if TYPE_CHECKING:
    from ...dataplanes.simulated.packets import Hop, Reach
    from ...replay.reachability import Reachability

Family: TypeAlias = Annotated[
    int, Parameter(name="--family", help="4 or 6: the addresses of which family; else 4 first.")
]
WholeMatrix: TypeAlias = Annotated[
    bool, Parameter(name="--matrix", help="Ask everybody for every endpoint and every published port.")
]
Alike: TypeAlias = Annotated[
    bool,
    Parameter(
        name="--alike",
        help="With --matrix: ask once for what is alike (containers that differ in nothing but their addresses, their "
        "ports), and tell how many it stands for. For hosts with hundreds of endpoints.",
    ),
]


def reach(
    source: str = "",
    destination: str = "",
    what: str = "icmp",
    /,
    *,
    family: Family = 0,
    matrix: WholeMatrix = False,
    alike: Alike = False,
    log: Log = HERE,
) -> int:
    """Say whether SOURCE reaches DESTINATION, hop by hop, and because of which position of the log.

    A place is `host`, `outside` (a machine on the host's link), a container or NETWORK/ENDPOINT; DESTINATION may be an
    address. WHAT is `icmp` or PROTOCOL/PORT, as tcp/80. It is asked of a simulation of what the log calls for, where
    every port of a container answers: no kernel is touched. The host has the addresses that ports are published at and
    that packets leave as; others of its own are not in the log. Status 40 when it does not reach.
    """
    from ...replay.simulation import HOST, Simulation, describe

    is_half = bool(source) != bool(destination) or (alike and not matrix)
    if matrix == bool(source) or is_half or family not in (0, 4, 6):
        remedy = "name SOURCE and DESTINATION (with --family 4 or 6), or --matrix alone"
        raise Invalid("ask who reaches whom", "it takes a source and a destination, or --matrix", remedy)
    with reading(log) as controller:
        if alike:
            from ...replay.reachability import Reachability, describe_alike

            with controller.reading() as views:
                whole = Reachability({HOST: (views, controller.host)})
                if log.json:
                    document(_kinds(whole))
                else:
                    print(_cleaned(describe_alike(whole)))
            return DONE.status
        with controller.reading() as views:
            simulation = Simulation(views, controller.host)
        if matrix:
            found = simulation.matrix()
            if log.json:
                document([{**question._asdict(), "verdict": verdict} for question, verdict in found.items()])
            else:
                print(_cleaned(describe(found)))
            return DONE.status
        asked = simulation.reach(source, destination, what, family=family)
        if log.json:
            document(_built(asked))
        else:
            print(_cleaned(str(asked)))
        return (DONE if asked.is_reached else DIFFERENT).status


def _kinds(whole: Reachability) -> list[dict[str, object]]:
    return [
        {
            **whole.question(answer.askers[0], answer.offers[0])._asdict(),
            "sources": len(answer.askers),
            "destinations": len(answer.offers),
            "verdict": answer.verdict,
            "itself": answer.itself,
        }
        for answer in whole.answers
    ]


def _built(asked: Reach) -> dict[str, object]:
    return {
        "verdict": asked.verdict,
        "at": str(asked.at) if asked.at else None,
        "seen_from": format_address(asked.seen_from) if asked.seen_from else None,
        "port": asked.port,
        "hops": [_hop(hop) for hop in asked.hops],
        "reply": [_hop(hop) for hop in asked.reply],
    }


def _hop(hop: Hop) -> dict[str, object]:
    return {
        "host": hop.host,
        "sandbox": hop.sandbox or None,
        "what": hop.what,
        "object": hop.key,
        "position": hop.position or None,
    }


def _cleaned(text: str) -> str:
    """Make each line printable."""
    return "\n".join(map(clean, text.splitlines()))
