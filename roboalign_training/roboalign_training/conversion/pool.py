"""Jobs done here or by other processes; results come in the order of the jobs."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import connection, get_context, parent_process
from typing import Protocol, TypeVar

from roboalign_training.bags.errors import DataError
from roboalign_training.conversion.allocation import keep_freed_memory

Result = TypeVar("Result", covariant=True)
_AHEAD = 2  # jobs that wait for each process


class WorkerLostError(DataError):
    """A process was killed; no bag is to blame, and what was finished is kept."""

    def __init__(self) -> None:
        super().__init__(
            "conversion",
            "a process was killed, perhaps for want of memory: the same command goes on where "
            "this one ended; fewer --workers take less",
        )

    def __reduce__(self) -> tuple:
        return (type(self), ())


class Job(Protocol[Result]):
    """Something to do in any process."""

    def run(self) -> Result:
        """Does it."""


class Pool:
    """Does jobs in the present process, or in spawned ones.

    Spawned, not forked: Arrow and a node's middleware have threads that a fork would break. They
    are started when there is a job for them, and end with the process that started them, however
    that ends.
    """

    def __init__(self, processes: int) -> None:
        """With `processes` processes; one is the present one."""
        self.processes = processes
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._executor is None:
            return
        if kind is not None:  # what they are at would be thrown away
            for process in list((self._executor._processes or {}).values()):
                process.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def warm_up(self) -> None:
        """Starts the processes, so that they are ready when there is something to do.

        Meanwhile this process loads what it writes with: it has nothing else to do then.
        """
        if self.processes > 1:
            threading.Thread(target=import_module, args=("datasets",), daemon=True).start()
            for _ in range(self.processes):
                self._submit(_WarmUp())

    def results(
        self, jobs: Iterable[Job[Result]], processes: int | None = None
    ) -> Iterator[Result]:
        """Does jobs, a few ahead of what is asked for.

        Args:
            jobs: Taken from the iterable as processes become free.
            processes: Jobs at once, at most; None for all processes.

        Yields:
            The results in the order of the jobs.

        Raises:
            WorkerLostError: When a process was killed.
        """
        count = min(self.processes, processes or self.processes)
        if count <= 1:
            for job in jobs:
                yield job.run()
            return
        waiting: deque[Future] = deque()
        room = count * _AHEAD if count == self.processes else count
        try:
            for job in jobs:
                waiting.append(self._submit(job))
                if len(waiting) >= room:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise WorkerLostError from error
        finally:
            for future in waiting:
                future.cancel()

    def _submit(self, job: Job) -> Future:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self.processes, mp_context=get_context("spawn"), initializer=_begin
            )
        try:
            return self._executor.submit(_run, job)
        except BrokenProcessPool as error:
            raise WorkerLostError from error


class _WarmUp:
    """Loads what the jobs of a bag need."""

    def run(self) -> None:
        from roboalign_training.conversion import pictures, scanning  # noqa: F401


def _run(job: Job) -> object:
    return job.run()


def _begin() -> None:
    """Makes a process leave ctrl-C to its parent, and end when that has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    connection.wait([parent_process().sentinel])
    os._exit(1)
