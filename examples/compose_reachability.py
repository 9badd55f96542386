"""A reachability test for a compose-like file: who is to reach whom, checked before anything is deployed.

The file says which services are on which networks, what they publish, and what is to be so. The networks are made on
netledger's simulated dataplane, so neither root nor containers are needed; where something is not as it should be, the
way of the packet is shown, with the object that decided about it.

    python examples/compose_reachability.py             # the file below
    python examples/compose_reachability.py shop.toml   # one of your own; exits with 1 when something is not so
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netledger
from netledger.replay.simulation import Simulation

SHOP = """
[networks.front]
[networks.back]
internal = true

[services.web]
networks = ["front", "back"]
ports = ["8080:80"]

[services.db]
networks = ["back"]

[services.mailer]
networks = ["front"]

[reached]
"web -> db tcp/5432" = true
"outside -> host tcp/8080" = true
"mailer -> web tcp/80" = true
"web -> outside tcp/443" = true
"outside -> db tcp/5432" = false
"mailer -> db tcp/5432" = false
"db -> outside tcp/443" = false
"""


def build(controller: netledger.Controller, file: dict[str, Any]) -> None:
    """Create what the file describes: a container for each service, an endpoint for each network that it is on."""
    for name, settings in file["networks"].items():
        controller.create_network(name, **settings)
    for name, settings in file["services"].items():
        sandbox = controller.create_sandbox(name)
        ways_out = [each for each in settings["networks"] if not file["networks"][each].get("internal", False)]
        for network in settings["networks"]:
            publishes = network in ways_out[:1]  # the first network that leads anywhere is the way out, and publishes
            ports = settings.get("ports", []) if publishes else []
            controller.network(network).create_endpoint(name, ports=ports).join(sandbox, priority=int(publishes))


def check(file: dict[str, Any]) -> Iterator[tuple[str, bool, str]]:
    """Yield each expectation, whether it is met, and what became of the packet."""
    with netledger.Controller.open(dataplane="simulated", actor="compose") as controller:
        build(controller, file)
        with controller.reading() as views:
            simulation = Simulation(views, controller.host)
            for expectation, wanted in file["reached"].items():
                source, _, rest = expectation.partition(" -> ")
                destination, _, what = rest.partition(" ")
                found = simulation.reach(source, destination, what)
                yield expectation, found.is_reached == wanted, str(found)


def main(arguments: list[str]) -> int:
    """Print a line for each expectation, and the packet's way where one is not met."""
    text = Path(arguments[0]).read_text(encoding="utf-8") if arguments else SHOP
    failures = 0
    for expectation, is_met, story in check(tomllib.loads(text)):
        verdict = story.partition("\n")[0]
        print(f"ok   {expectation}: {verdict}" if is_met else f"FAIL {expectation}: {story}")
        failures += not is_met
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
