"""Names of hosts are looked up within a time limit, whatever the machine's resolver does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from netledger.engine.remote import Address, Limits, PluginFault, Transport
from netledger.engine.remote.resolving import connect, resolve
from netledger.engine.remote.wire import Nothing

LIMITS = Limits(0.3, 0.3, 1.0)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give a resolver that answers nobody while the test runs; return what it was asked."""
    asked: list[str] = []
    ended = threading.Event()
    real = socket.getaddrinfo

    def hang(host: str, *arguments: Any, **others: Any) -> Any:
        if others.get("flags"):
            return real(host, *arguments, **others)
        asked.append(host)
        ended.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield asked
    ended.set()


def test_a_resolver_that_hangs_is_not_waited_for(stuck: list[str]) -> None:
    """The call ends in time, and the next one starts no further thread for the same name."""
    transport = Transport("lab", Address(host="plugins.example", port=1), LIMITS)
    begun = time.monotonic()
    for _ in range(2):
        with pytest.raises(PluginFault, match="it did not answer in time") as caught:
            transport.call("Plugin.Activate", None, Nothing)
        assert not caught.value.was_sent
    assert time.monotonic() - begun < 2 * LIMITS.total_seconds
    assert stuck == ["plugins.example"]
    with pytest.raises(TimeoutError):
        resolve("others.example", 1, 0.1)


@pytest.mark.usefixtures("stuck")
def test_an_address_needs_no_resolver() -> None:
    """Of either family."""
    assert [found[4][:2] for found in resolve("127.0.0.1", 80, 0)] == [("127.0.0.1", 80)]
    assert [found[4][:2] for found in resolve("::1", 80, 0)] == [("::1", 80)]


def test_what_is_no_host_s_name_is_a_fault() -> None:
    """As the resolver says it."""
    for host in ("x" * 70, "nobody.invalid"):
        with pytest.raises(PluginFault, match=r"no answer|did not answer"):
            Transport("lab", Address(host=host, port=1), LIMITS).call("Plugin.Activate", None, Nothing)


def test_a_host_of_several_addresses_is_tried_within_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that listens is taken; where none does, the last one's problem is told."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        free = socket.create_server(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
        free.close()

        def several(_: str, __: int, **others: Any) -> Any:
            if others.get("flags"):
                raise socket.gaierror(socket.EAI_NONAME, "a name")
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", each)) for each in ports]

        monkeypatch.setattr(socket, "getaddrinfo", several)
        ports = [nobody, port]
        connect("plugins.example", 0, 1.0).close()
        ports = [nobody, nobody]
        with pytest.raises(ConnectionRefusedError):
            connect("plugins.example", 0, 1.0)
        ports = []
        with pytest.raises(OSError, match=r"plugins.example has no address"):
            connect("plugins.example", 0, 1.0)
        ports = [port]
        with pytest.raises(TimeoutError):
            connect("plugins.example", 0, 0.0)


def test_a_thread_that_cannot_be_had_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is not taken for one that is being looked up."""

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(OSError, match="can't start new thread"):
            resolve("localhost", 1, 1.0)
    assert resolve("localhost", 1, 5.0)


def test_two_who_look_up_one_name_share_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for it as long as it may."""
    real, asked, found = socket.getaddrinfo, [], []

    def slow(host: str, *arguments: Any, **others: Any) -> Any:
        if not others.get("flags"):
            asked.append(host)
            time.sleep(0.3)
        return real(host, *arguments, **others)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    callers = [threading.Thread(target=lambda: found.append(resolve("localhost", 1, 5.0))) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 2
    assert asked == ["localhost"]
