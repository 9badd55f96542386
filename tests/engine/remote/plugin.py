"""An IPAM plugin as a process of its own, which also misbehaves on demand.

    python plugin.py --socket PATH | --port 0 [--tls CERTIFICATE [--clients AUTHORITY]]
                     [--state FILE] [--replay] [--mac] [--gateway]

Prints where it listens. It keeps its books in `--state`, or forgets them when it ends. `POST /Misbehave` with
`{"method": "RequestAddress", "how": "slow", "value": ..., "times": 1}` makes it answer the next such calls wrongly;
`POST /Tell` answers with its books and the calls that it had. It shares no code with what it tests.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import socket
import socketserver
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

GATEWAY = "com.docker.network.gateway"
SUBNETS = {4: "10.240.0.0/12", 6: "fd77::/48"}
SIZES = {4: 24, 6: 64}


class Refused(Exception):
    """What the plugin says no to."""


class Books:
    """The pools and addresses that were given."""

    def __init__(self, path: Path | None, gives_gateway: bool) -> None:
        self.path = path
        self.gives_gateway = gives_gateway
        self.pools: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            self.pools = json.loads(path.read_text())

    def keep(self) -> None:
        if self.path is not None:
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(self.pools))
            new.replace(self.path)

    def request_pool(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            block = ipaddress.ip_network(asked["Pool"]) if asked["Pool"] else self.choose(asked, 0)
            if not int(block.network_address):
                block = self.choose(asked, block.prefixlen)
            part = ipaddress.ip_network(asked["SubPool"]) if asked["SubPool"] else None
        except ValueError as error:
            raise Refused(str(error)) from None
        identity = f"{asked['AddressSpace']}/{block}"
        for other, pool in self.pools.items():
            its = ipaddress.ip_network(pool["block"])
            if pool["space"] != asked["AddressSpace"] or its.version != block.version or not its.overlaps(block):
                continue
            if REPLAY and other == identity:
                return {"PoolID": identity, "Pool": str(block), "Data": {}}
            raise Refused(f"{block} overlaps {its}")
        self.pools[identity] = {
            "space": asked["AddressSpace"],
            "block": str(block),
            "part": str(part or ""),
            "options": asked["Options"],
            "held": [],
        }
        data = {}
        if self.gives_gateway:
            gateway = self.take(self.pools[identity], "")
            data = {GATEWAY: gateway}
        return {"PoolID": identity, "Pool": str(block), "Data": data}

    def choose(self, asked: dict[str, Any], size: int) -> Any:
        version = 6 if asked["V6"] else 4
        taken = [ipaddress.ip_network(pool["block"]) for pool in self.pools.values()]
        for block in ipaddress.ip_network(SUBNETS[version]).subnets(new_prefix=size or SIZES[version]):
            if not any(other.version == version and other.overlaps(block) for other in taken):
                return block
        raise Refused("no pool is left")

    def release_pool(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self.pools.pop(asked["PoolID"], None) is None:
            raise Refused("no such pool")
        return {}

    def request_address(self, asked: dict[str, Any]) -> dict[str, Any]:
        pool = self.pools.get(asked["PoolID"])
        if pool is None:
            raise Refused("no such pool")
        return {"Address": self.take(pool, asked["Address"]), "Data": None}

    def take(self, pool: dict[str, Any], wanted: str) -> str:
        block = ipaddress.ip_network(pool["block"])
        reserved = set()
        if block.num_addresses > 2:
            reserved = {block[0], *([block[-1]] if block.version == 4 else [])}
        if wanted:
            address = ipaddress.ip_address(wanted)
            if address.version != block.version or address not in block or address in reserved:
                raise Refused(f"Requested address is out of range: {wanted}")
            if wanted in pool["held"] and not REPLAY:
                raise Refused(f"Address already in use: {wanted}")
        else:
            part = ipaddress.ip_network(pool["part"]) if pool["part"] else block
            address = next((each for each in part if each not in reserved and str(each) not in pool["held"]), None)
            if address is None:
                raise Refused("No available addresses on this pool")
        if str(address) not in pool["held"]:
            pool["held"].append(str(address))
        return f"{address}/{block.prefixlen}"

    def release_address(self, asked: dict[str, Any]) -> dict[str, Any]:
        pool = self.pools.get(asked["PoolID"])
        if pool is None or asked["Address"] not in pool["held"]:
            raise Refused(f"{asked['Address']} is not held")
        pool["held"].remove(asked["Address"])
        return {}


class Handler(BaseHTTPRequestHandler):
    """One call."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length)
        asked = json.loads(text) if text else {}
        method = self.path.strip("/")
        with LOCK:
            if method in {"Misbehave", "Tell"}:
                if method == "Misbehave":
                    TRICKS.append(asked)
                self.answer(200, json.dumps({"pools": BOOKS.pools, "calls": CALLS}))
                return
            CALLS.append({"method": method, "asked": asked, "type": self.headers.get("Content-Type"), "raw": len(text)})
            trick = self.next_trick(method)
            status, answer = 200, ""
            if trick is None or trick.get("after"):
                status, answer = self.work(method, asked)
                BOOKS.keep()
        if trick is not None and trick["how"] == "late":
            time.sleep(trick["value"])
            self.answer(status, answer)
        elif trick is not None:
            self.misbehave(trick["how"], trick.get("value"))
        else:
            self.answer(status, answer)

    def next_trick(self, method: str) -> dict[str, Any] | None:
        trick = next((trick for trick in TRICKS if trick["method"] == method.rpartition(".")[2]), None)
        if trick is not None:
            trick["times"] -= 1
            if trick["times"] <= 0:
                TRICKS.remove(trick)
        return trick

    def work(self, method: str, asked: dict[str, Any]) -> tuple[int, str]:
        workers = {
            "Plugin.Activate": lambda _: {"Implements": ["NetworkDriver", "IpamDriver"]},
            "IpamDriver.GetCapabilities": lambda _: {"RequiresMACAddress": MAC, "RequiresRequestReplay": REPLAY},
            "IpamDriver.GetDefaultAddressSpaces": lambda _: {
                "LocalDefaultAddressSpace": "testLocal",
                "GlobalDefaultAddressSpace": "testGlobal",
            },
            "IpamDriver.RequestPool": BOOKS.request_pool,
            "IpamDriver.ReleasePool": BOOKS.release_pool,
            "IpamDriver.RequestAddress": BOOKS.request_address,
            "IpamDriver.ReleaseAddress": BOOKS.release_address,
        }
        if method not in workers:
            return 404, "404 page not found"
        try:
            return 200, json.dumps(workers[method](asked))
        except Refused as refusal:
            return 200, json.dumps({"Error": str(refusal)})

    def misbehave(self, how: str, value: Any) -> None:
        match how:
            case "slow":
                time.sleep(value)
                self.answer(200, "{}")
            case "trickle":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(1000):
                    self.wfile.write(b" ")
                    time.sleep(value)
            case "die":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                self.wfile.flush()
                os._exit(1)
            case "close":
                self.connection.shutdown(socket.SHUT_RDWR)
            case "status":
                self.answer(*value)
            case "answer":
                self.answer(200, value if isinstance(value, str) else json.dumps(value))
            case "huge":
                self.answer(200, json.dumps({"Address": "x" * value}))

    def answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "client"


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def finish_request(self, request: Any, client_address: Any) -> None:
        if options.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(options.tls, Path(options.tls).with_suffix(".key"))
            if options.clients:
                context.load_verify_locations(options.clients)
                context.verify_mode = ssl.CERT_REQUIRED
            request = context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, *_: object) -> None:
        pass


def main() -> None:
    """Listen, and serve for ever."""
    if options.socket:
        Path(options.socket).unlink(missing_ok=True)
        server: socketserver.BaseServer = UnixServer(options.socket, Handler)
        sys.stdout.write(f"unix://{options.socket}\n")
    else:
        server = TcpServer(("127.0.0.1", options.port), Handler)
        sys.stdout.write(f"{'https' if options.tls else 'tcp'}://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls")
    parser.add_argument("--clients")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--mac", action="store_true")
    parser.add_argument("--gateway", action="store_true")
    options = parser.parse_args()
    REPLAY, MAC = options.replay, options.mac
    LOCK = threading.Lock()
    CALLS: list[dict[str, Any]] = []
    TRICKS: list[dict[str, Any]] = []
    BOOKS = Books(options.state, options.gateway)
    main()
