"""Writes bags in a thread of its own behind a bounded queue: no callback waits for the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from roboalign_policy.ros.recording.bag_writer import (
    BagSummary,
    BagTopic,
    BagWriter,
    partial_folder,
)

Result = BagSummary | OSError | None
"""What became of a bag: its summary, an error (the unfinished folder stays), None: discarded."""

_TICK_S = 0.25  # an open bag is flushed and synced in time although nothing comes


class WriterThread:
    """Takes messages from callbacks and brings them to disk in order.

    Attributes:
        limit_bytes: bytes of messages that may wait.
        waiting_bytes: bytes that wait now.
        peak_bytes: most that waited since the last `begin`.
    """

    def __init__(self, limit_bytes: int):
        """Start the thread.

        Args:
            limit_bytes: bytes of messages that may wait; a message beyond that is refused.
        """
        self.limit_bytes = limit_bytes
        self.waiting_bytes = self.peak_bytes = 0
        self._jobs: deque[tuple] = deque()
        self._changed = threading.Condition()
        self._bag: BagWriter | None = None
        self._faults: dict[BagWriter, OSError] = {}
        self._thread = threading.Thread(target=self._run, name="bag_writer", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> OSError | None:
        """What has gone wrong with the open bag: the rest of it is not written any more."""
        return self._faults.get(self._bag)

    def begin(
        self,
        root: Path,
        name: str,
        topics: Sequence[BagTopic],
        sync_s: float = 0.0,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """Open the next bag; the messages that follow belong to it. See `BagWriter`.

        Raises:
            OSError: it cannot be made.
        """
        self._bag = BagWriter(root, name, topics, sync_s, known)
        self.peak_bytes = self.waiting_bytes

    def put(self, index: int, log_ns: int, publish_ns: int, data: bytes) -> bool:
        """Hand over one message of the open bag.

        False when the queue is full and the message is lost.
        """
        with self._changed:
            if self.waiting_bytes + len(data) > self.limit_bytes:
                return False
            self.waiting_bytes += len(data)
            self.peak_bytes = max(self.peak_bytes, self.waiting_bytes)
            self._jobs.append((self._bag, index, log_ns, publish_ns, data))
            self._changed.notify()
        return True

    def skip(self, index: int, data: bytes) -> None:
        """Pass over a message of a pause: there is nothing to do."""

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
        bag: BagWriter | None = None
        while True:
            with self._changed:
                if not self._jobs:
                    self._changed.wait(_TICK_S)
                jobs, self._jobs = self._jobs, deque()
            for job in jobs:
                if not job:
                    return
                bag = job[0]
                if len(job) == 5:
                    self._guarded(bag, bag.write, *job[1:])
                    with self._changed:
                        self.waiting_bytes -= len(job[4])
                else:
                    job[2](self._finish(bag, job[1]))
                    bag = None
            if bag is not None and not jobs:
                self._guarded(bag, bag.tick)

    def _guarded(self, bag: BagWriter, act: Callable[..., None], *values: object) -> None:
        """Do something with a bag; after its first fault, which is kept, nothing more."""
        if bag in self._faults:
            return
        try:
            act(*values)
        except OSError as error:
            if error.filename is None:  # writing a stream names none
                error.filename = str(partial_folder(bag.path.parent, bag.path.name))
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
