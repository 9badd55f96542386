"""The worker's thread: one, lazy, joined; no job is left halfway."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from netledger.dataplanes.linux.namespaces import Stranded
from netledger.dataplanes.linux.worker import Worker


@pytest.fixture
def worker():
    """Give a worker, closed afterwards."""
    made = Worker()
    yield made
    made.close()


def test_it_is_lazy_and_joined():
    """There is no thread before the first job and none after `close`."""
    before = threading.active_count()
    worker = Worker()
    assert threading.active_count() == before
    names = {worker.run(lambda: threading.current_thread().name) for _ in range(3)}
    assert names == {"netledger-linux"}
    assert threading.active_count() == before + 1
    worker.close()
    assert threading.active_count() == before
    worker.close()


def test_what_a_job_raises_is_raised(worker):
    """And the next job is done."""
    with pytest.raises(ZeroDivisionError):
        worker.run(lambda: 1 / 0)
    assert worker.run(lambda: 7) == 7


def test_an_interrupted_caller_waits_for_the_end(worker):
    """The job ends, then the caller gets its KeyboardInterrupt."""
    ended = []

    def job():
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.02)
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        worker.run(job)
    assert ended == [True]
    assert worker.run(lambda: 7) == 7


def test_what_is_put_off_is_done_when_nobody_waits(worker):
    """In the order of its time, once for each name, after jobs that come before; what fails does not end the thread."""
    done = []

    def job():
        worker.later("a", 0.03, lambda: done.append("a, never"))
        worker.later("b", 0.01, lambda: 1 / 0)
        worker.later("c", 0.02, lambda: done.append("c"))
        worker.later("a", 0.03, lambda: done.append("a"))

    worker.run(job)
    assert done == []
    time.sleep(0.2)
    assert done == ["c", "a"]
    assert worker.run(lambda: 7) == 7


def test_what_does_not_postpone_is_done_while_calls_never_cease(worker):
    """Calls that come closer together than its time do not put it off for ever."""
    done: list[str] = []
    end = time.monotonic() + 1.0
    while not done and time.monotonic() < end:
        worker.run(lambda: worker.later("reap", 0.05, lambda: done.append("reaped"), postpones=False))
        time.sleep(0.005)
    assert done == ["reaped"]


def test_what_the_kernel_refuses_later_is_one_line_in_the_log(worker, caplog):
    """Without a trace: there is nothing to mend in the program."""

    def refused():
        raise PermissionError(1, "Operation not permitted")

    worker.run(lambda: worker.later("reap", 0, refused))
    time.sleep(0.1)
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("WARNING", None)]
    assert "reap: [Errno 1] Operation not permitted" in caplog.text


def test_a_stranded_thread_is_replaced(worker):
    """Its job raises, and another thread does the next."""

    def strand():
        raise Stranded("far away")

    first = worker.run(threading.current_thread)
    with pytest.raises(Stranded):
        worker.run(strand)
    second = worker.run(threading.current_thread)
    assert first is not second
    first.join(5)
    assert not first.is_alive()


def test_what_is_put_off_strands_the_thread(worker):
    """It is brought back before the next job."""

    def strand():
        raise Stranded("far away")

    worker.run(lambda: worker.later("strand", 0, strand))
    time.sleep(0.1)
    assert not worker._is_home
    assert worker.run(lambda: 7) == 7
    assert worker._is_home


def test_callers_of_several_threads(worker):
    """They take turns."""
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(worker.run(lambda: n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(20))


def test_a_closed_worker_does_nothing():
    """It says so instead of starting anew."""
    worker = Worker()
    worker.close()
    with pytest.raises(AssertionError, match="closed"):
        worker.run(lambda: 7)
