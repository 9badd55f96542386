"""The one thread that enters namespaces.

Keeps: no thread but this one ever calls `setns` or `unshare`; it stands in the host's namespace whenever it takes a
job; a thread that cannot return is replaced by a new one; a caller that is interrupted waits for its job all the same.
Must not know: what the jobs do.
"""

from __future__ import annotations

import atexit
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from .namespaces import Home, Stranded

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class Worker:
    """Run jobs one after the other in a thread that is started by the first and joined by `close`, or at exit."""

    def __init__(self, path: str | None = None) -> None:
        """Name the host's namespace by its path; None is the one that the first caller is in."""
        self._path = path
        self._home: Home | None = None
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._later: dict[str, tuple[float, Callable[[], object]]] = {}
        self._callers = threading.Lock()
        self._role = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._is_home = False

    @property
    def home(self) -> Home:
        """The host's namespace; for jobs."""
        assert self._home is not None, "the worker has not started"
        return self._home

    def run(self, work: Callable[[], T]) -> T:
        """Have the thread do something and return its result, or raise what it raised.

        A caller that gets a KeyboardInterrupt (or any other exception of a signal handler) gets it after the job's
        end: what was begun is never left halfway.
        """
        job = _Job(work)
        interruption: BaseException | None = None
        with self._callers:
            assert not self._is_closed, "the dataplane is closed"
            while not job.is_done:
                try:
                    if not job.is_queued:
                        self._start()
                        self._jobs.put(cast("_Job[object]", job))
                        job.is_queued = True
                    job.ended.acquire()
                except BaseException as error:
                    if not job.is_queued and isinstance(error, Exception):
                        raise
                    interruption = error  # a signal handler's: raised again below
        if interruption is not None:
            raise interruption
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    def later(self, name: str, seconds: float, work: Callable[[], object], *, postpones: bool = True) -> None:
        """Have the thread do something after some time, when nobody waits; for jobs. Of a name only the last counts.

        What `postpones` begins its time anew with each call; the other keeps that of the first, so that it is done
        even where calls never cease.
        """
        due = time.monotonic() + seconds
        if not postpones and name in self._later:
            due = min(due, self._later[name][0])
        self._later[name] = (due, work)

    def soon(self, name: str, work: Callable[[], object]) -> None:
        """Have the thread, where there is one, do something next, before that of the same name that was put off."""
        if self._thread is not None:
            self._jobs.put(_Job(lambda: self.later(name, 0.0, work)))

    def close(self) -> None:
        """End the thread and let go of the namespace; what was put off is not done any more."""
        with self._callers:
            self._is_closed = True
            with self._role:
                thread = self._thread
            if thread is not None:
                self._jobs.put(None)
                thread.join()
            if self._home is not None:
                self._home.close()
                self._home = None
        atexit.unregister(self.close)

    def _start(self) -> None:
        """Start the thread if there is none.

        The thread itself takes the role: one that an interruption kept us from hearing of is found here all the same.
        """
        if self._thread is None:
            if self._home is None:
                self._home = Home(self._path)
            # A program that ends without closing must not wait for this thread for ever: it is closed for it.
            atexit.register(self.close)
            threading.Thread(target=self._live, name="netledger-linux", daemon=True).start()

    def _live(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with self._role:
            if self._thread is not None or self._is_closed:
                return None
            self._thread = threading.current_thread()
        self._is_home = False
        while (job := self._next()) is not None:
            if job.is_taken:
                continue
            job.is_taken = True
            try:
                if not self._is_home:
                    self.home.arrive()
                    self._is_home = True
                job.result = job.work()
            except Stranded as error:
                job.error = error
                with self._role:
                    self._thread = None  # the next caller starts another one, from where it stands itself
                return job.end()
            except BaseException as error:  # noqa: BLE001 - the caller's to handle
                job.error = error
            job.end()
            del job
        return None

    def _next(self) -> _Job[object] | None:
        while self._later:
            name = min(self._later, key=lambda name: self._later[name][0])
            due, work = self._later[name]
            try:
                return self._jobs.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                del self._later[name]
            try:
                work()
            except Stranded as error:
                self._is_home = False  # the next job begins with bringing it back
                _logger.warning("work that was put off failed: %s: %s", name, error)
            except OSError as error:
                _logger.warning("work that was put off failed: %s: %s", name, error)
            except Exception:
                _logger.exception("work that was put off failed: %s", name)
        return self._jobs.get()


class _Job(Generic[T]):
    """A piece of work, and how it ended."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.result: T | None = None
        self.error: BaseException | None = None
        self.is_queued = self.is_taken = self.is_done = False
        self.ended = threading.Lock()
        self.ended.acquire()

    def end(self) -> None:
        """Let the caller go on."""
        self.is_done = True
        self.ended.release()
