"""Writes bags in a thread of its own behind a bounded queue: no callback waits for the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from roboalign_policy.ros.bag_writer import BagSummary, BagTopic, BagWriter

Result = BagSummary | OSError | None
"""What became of a bag: its summary, an error (the unfinished folder stays), None: discarded."""


class WriterThread:
    """Takes messages from callbacks and brings them to disk in order."""

    def __init__(self, limit_bytes: int):
        """Start the thread.

        Args:
            limit_bytes: bytes of messages that may wait; a message beyond that is refused.
        """
        self._limit = limit_bytes
        self._waiting_bytes = 0
        self._jobs: deque[tuple] = deque()
        self._changed = threading.Condition()
        self._bag: BagWriter | None = None
        self._faults: dict[BagWriter, OSError] = {}
        self._thread = threading.Thread(target=self._run, name="bag_writer", daemon=True)
        self._thread.start()

    def begin(self, root: Path, name: str, topics: Sequence[BagTopic]) -> None:
        """Open the next bag; the messages that follow belong to it.

        Raises:
            OSError: it cannot be made (see :class:`BagWriter`).
        """
        self._bag = BagWriter(root, name, topics)

    def put(self, index: int, log_ns: int, publish_ns: int, data: bytes) -> bool:
        """Hand over one message of the open bag.

        False when the queue is full and the message is lost.
        """
        with self._changed:
            if self._waiting_bytes + len(data) > self._limit:
                return False
            self._waiting_bytes += len(data)
            self._jobs.append((self._bag, index, log_ns, publish_ns, data))
            self._changed.notify()
        return True

    def end(self, custom: Mapping[str, str] | None, done: Callable[[Result], None]) -> None:
        """Close the open bag after all that was put.

        Args:
            custom: custom data for its metadata; None discards the bag.
            done: called from the writer's thread with what became of it.
        """
        with self._changed:
            self._jobs.append((self._bag, custom, done))
            self._bag = None
            self._changed.notify()

    def close(self) -> None:
        """End the thread once everything put so far is written."""
        with self._changed:
            self._jobs.append(())
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        """Work off (bag, index, log, publish, data), (bag, custom, done), or () to end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                job = self._jobs.popleft()
                if len(job) == 5:
                    self._waiting_bytes -= len(job[4])
            if not job:
                return
            bag = job[0]
            if len(job) == 5:
                self._write(bag, *job[1:])
            else:
                job[2](self._finish(bag, job[1]))

    def _write(
        self, bag: BagWriter, index: int, log_ns: int, publish_ns: int, data: bytes
    ) -> None:
        """Write one message; after the first fault of a bag the rest of it is passed over."""
        if bag in self._faults:
            return
        try:
            bag.write(index, log_ns, publish_ns, data)
        except OSError as error:
            self._faults[bag] = error

    def _finish(self, bag: BagWriter, custom: Mapping[str, str] | None) -> Result:
        """Close a bag; a fault while it was written, or now, is the result."""
        if fault := self._faults.pop(bag, None):
            return fault
        try:
            if custom is None:
                return bag.discard()
            return bag.finish(custom)
        except OSError as error:
            return error
