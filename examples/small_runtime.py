"""A container runtime in a hundred lines whose network is netledger's, embedded.

A container here is a command that runs in a network namespace of its own. The runtime keeps no state: who runs, on
which network and with which ports is in the log, and after a crash `Runtime(...)` finds it there.

    unshare --user --map-root-user --net --mount sh -c 'mount -t tmpfs tmpfs /run && python examples/small_runtime.py'

starts a web server and a client on one network, shows what they see of each other, and deletes everything.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import netledger

SERVER = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=80, bind='0.0.0.0')"
CLIENT = """
import sys, time, urllib.request
for attempt in range(50):  # the server needs a moment
    try:
        print("the server answers", urllib.request.urlopen(sys.argv[1], timeout=5).status, flush=True)
        sys.exit(0)
    except OSError:
        time.sleep(0.1)
sys.exit("the server never answered")
"""


class Runtime:
    """Containers: started, stopped and listed by name. As a context manager it lets go of the log at the end."""

    def __init__(self, state: Path, dataplane: str = "linux") -> None:
        self.engine = netledger.Controller.open(state, dataplane=dataplane, actor="small-runtime")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def ensure_network(self, name: str, subnet: str) -> None:
        """Create a network unless it is there."""
        if name not in [network.name for network in self.engine.networks()]:
            self.engine.create_network(name, subnets=[subnet])

    def start(self, name: str, network: str, command: Sequence[str], *, ports: Sequence[str] = ()) -> str:
        """Start a container; return its address. Nothing of it stays when it cannot be started."""
        why = f"start {name}"
        sandbox = self.engine.create_sandbox(name, reason=why)
        try:
            endpoint = self.engine.network(network).create_endpoint(name, ports=list(ports), reason=why)
            endpoint.join(sandbox, reason=why)
            self.processes[name] = subprocess.Popen(["nsenter", f"--net={sandbox.key}", *command])
        except Exception:
            self.stop(name)
            raise
        return endpoint.info().addresses[0].partition("/")[0]

    def stop(self, name: str) -> None:
        """Stop a container, and give its addresses and ports back."""
        process = self.processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()
        why = f"stop {name}"
        for endpoint in [endpoint for endpoint in self.engine.endpoints() if endpoint.name == name]:
            if endpoint.sandbox is not None:
                endpoint.leave(reason=why)
            endpoint.delete(reason=why)
        self.engine.sandbox(name).delete(reason=why)

    def stop_what_has_died(self) -> list[str]:
        """Stop the containers that the log has and whose process is not ours or has ended; return their names."""
        running = {name for name, process in self.processes.items() if process.poll() is None}
        dead = [box.container for box in self.engine.sandboxes() if box.container not in running]
        for name in dead:
            self.stop(name)
        return dead

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.engine.close()


def main() -> None:
    """Show it."""
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory) / "state"
        with Runtime(state) as runtime:
            runtime.ensure_network("shop", "10.20.0.0/24")
            address = runtime.start("web", "shop", [sys.executable, "-c", SERVER], ports=["8080:80/tcp"])
            client = runtime.start("client", "shop", [sys.executable, "-c", CLIENT, f"http://{address}/"])
            print(f"web has {address}, client has {client}; the client exits with", runtime.processes["client"].wait())
        with Runtime(state) as runtime:  # as after a crash: no process is ours, the log knows what was there
            print("cleaned up:", *runtime.stop_what_has_died())
            for there in runtime.engine.history():
                print(f"{there.position:3} {type(there.event).__name__:18} {there.event.reason}")


if __name__ == "__main__":
    main()
