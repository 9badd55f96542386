from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest import mock

import pytest

from netledger.domain.commands import DeleteEndpoint
from netledger.domain.errors import LedgerFull, Unavailable
from netledger.projections.views import Views
from netledger.testing.checkers import check_log
from tests.desk import create_endpoint, create_network, create_sandbox, identifier, join

THREADS = 8
TRIES = 100


def test_a_reader_never_sees_what_the_log_lacks(start):
    """While appends fail, a thread that reads sees the committed state alone, in every digest and every query."""
    controller = start(dataplane="simulated")
    for result in controller.execute([create_network("n1"), create_endpoint("n1", "e"), create_sandbox("c")]):
        result.check()
    with controller.reading() as views:
        committed = views.digest(), views.position
    stop = threading.Event()
    seen = set()

    def read():
        while not stop.is_set():
            with controller.reading() as views:
                seen.add((views.digest(), views.position))
            assert [endpoint.name for endpoint in controller.endpoints()] == ["e"]
            assert len(list(controller.history())) == committed[1]

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            with mock.patch.object(controller.ledger, "append", side_effect=LedgerFull("the disk is full")):
                for number in range(40):
                    with pytest.raises(LedgerFull):
                        controller.execute(
                            [
                                create_endpoint("n1", f"x{number}", "80"),
                                join("n1/e", "c"),
                                DeleteEndpoint(identifier("n1/e"), force=True),
                            ]
                        )
        finally:
            stop.set()
        for reader in readers:
            reader.result()
    assert seen <= {committed}
    assert controller.execute([join("n1/e", "c")])[0].error is None


def test_threads_that_create_at_once_share_nothing(start):
    """Eight threads create endpoints, ports and sandboxes at once: nothing is held twice, nothing is lost."""
    controller = start(dataplane="simulated")
    controller.create_network("n1")
    barrier = threading.Barrier(THREADS)

    def create(thread):
        barrier.wait()
        for number in range(10):
            endpoint = controller.network("n1").create_endpoint(f"e{thread}-{number}", ports=["80"])
            endpoint.join(controller.create_sandbox(f"c{thread}-{number}"))

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(create, thread) for thread in range(THREADS)]:
            done.result()
    infos = [endpoint.info() for endpoint in controller.endpoints()]
    assert len(infos) == len({info.addresses for info in infos}) == len({info.device for info in infos}) == 80
    assert len({info.port_map["80/tcp"] for info in infos}) == 80
    check_log(controller.history())


def test_threads_with_controllers_of_their_own_share_nothing(start, state):
    """The same from eight writers of one file, in batches."""
    start(state).do(create_network("n1"))
    controllers = [start(state) for _ in range(THREADS)]
    barrier = threading.Barrier(THREADS)

    def create(thread):
        barrier.wait()
        for number in range(4):
            commands = [create_endpoint("n1", f"e{thread}-{number}-{index}", "80") for index in range(3)]
            for _ in range(TRIES):
                with suppress(Unavailable):
                    for result in controllers[thread].execute(commands):
                        result.check()
                    break

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(create, thread) for thread in range(THREADS)]:
            done.result()
    check_log(controllers[0].history())
    scratch = Views()
    for record in controllers[0].history():
        scratch.fold(record.position, record.event)
    assert len(scratch.endpoints.endpoints) == THREADS * 4 * 3
    for controller in controllers:
        with controller.reading() as views:
            assert views.digest() == scratch.digest()
