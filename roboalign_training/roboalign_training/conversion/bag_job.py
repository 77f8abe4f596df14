"""One bag to the files of its episodes, by as many processes as there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os.path import relpath
from pathlib import Path
from threading import Thread

from roboalign_training.bags.bags import Bag, read_bag
from roboalign_training.bags.errors import HAND_IN, BagError, DataError, EpisodeError
from roboalign_training.bags.folders import as_text
from roboalign_training.conversion.balance import leave_out, new_balance, open_topics
from roboalign_training.conversion.episode import EpisodeWork
from roboalign_training.conversion.episode_job import EpisodeJob
from roboalign_training.conversion.memory import NoRoomError
from roboalign_training.conversion.pool import Pool, WorkerLostError
from roboalign_training.conversion.segments import BagPlace, keep_open
from roboalign_training.conversion.target import Converted, Report, Target
from roboalign_training.conversion.work_folder import WorkFolder, made_with, work_folder
from roboalign_training.episodes.episodes import bag_contract, find_spans
from roboalign_training.episodes.recipe import span_fault
from roboalign_training.episodes.topics import map_topics

LATEST_NS = 2**63 - 1
"""Times are signed numbers from here on; this one is in the year 2262."""


@dataclass(frozen=True)
class SmallBagJob:
    """Converts a bag in one process.

    Attributes:
        path: The bag.
        target: The data set.
    """

    path: Path
    target: Target

    def run(self) -> Converted | None:
        """Converts it; None where its share of the memory is too small."""
        try:
            return convert_bag(self.path, self.target, Pool(1))
        except NoRoomError:
            return None


def convert_bag(path: Path, target: Target, pool: Pool, report: Report | None = None) -> Converted:
    """Converts one bag; files get pending names: only the caller knows which ids are taken.

    Args:
        path: The bag.
        target: The data set.
        pool: Who does the work.
        report: Told how far it is.

    Raises:
        NoRoomError: When the memory is too small for it.
        WorkerLostError: When a process was killed.
    """
    try:
        return _BagWork(path, target, pool, report or (lambda share: None)).run()
    except (NoRoomError, WorkerLostError):  # no fault of the bag
        raise
    except DataError as error:
        return Converted(path, error=str(error))


class _Hashing:
    """Computes the SHA-256 of a bag beside other work.

    A daemon thread: ctrl-C does not wait for it.
    """

    def __init__(self, bag: Bag, folder: WorkFolder) -> None:
        self._bag, self._folder, self._error = bag, folder, None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> str:
        """The SHA-256, as soon as it is there."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._bag.sha256

    def _run(self) -> None:
        try:
            self._folder.is_of(self._bag.sha256)
        except OSError as error:
            self._error = BagError(self._bag.path, f"cannot be read: {error}")


class _BagWork:
    """The conversion of one bag."""

    def __init__(self, path: Path, target: Target, pool: Pool, report: Report) -> None:
        self._path, self._target, self._pool, self._report = path, target, pool, report
        self._base = {"source": as_text(relpath(path, target.out))}
        self._entries: list[dict] = []
        self._skipped: list[dict] = []

    def run(self) -> Converted:
        """Does it; what was finished before is not done again."""
        bag = read_bag(self._path)
        if bag.end_ns > LATEST_NS:
            cause = (
                f"its last message was received at {bag.end_ns} ns, expected at most {LATEST_NS}"
            )
            raise BagError(self._path, cause)
        base = made_with(self._target.contract.hash, self._target.recipe.to_dict())
        source = self._base["source"]
        folder = work_folder(self._target.out, list(bag.files), base, source)
        with self._hashing(bag, folder) as begun:
            if not begun:
                return Converted(self._path, known=True, bag_sha256=bag.sha256)
            if (done := folder.result()) is not None:
                return replace(from_result(done), path=self._path)
            balance = new_balance(bag, source)
            balance["unread_topics"] = dict(bag.foreign_topics())
            try:
                self._episodes(bag, folder, balance)
            except EpisodeError as error:
                balance["episodes"]["found"] += 1
                self._skip("", error.cause, balance)
        if bag.sha256 in self._target.known:
            return Converted(self._path, known=True, bag_sha256=bag.sha256)
        identity = {"bag_sha256": bag.sha256}
        balance |= identity
        skipped = [{**entry, **identity} for entry in self._skipped]
        done = Converted(self._path, tuple(self._entries), tuple(skipped), balance=balance)
        if not any(HAND_IN in entry["reason"] for entry in skipped):
            folder.set_result(_to_result(done))  # else the next run may know the types
        return done

    @contextmanager
    def _hashing(self, bag: Bag, folder: WorkFolder) -> Iterator[bool]:
        """Finds out the SHA-256 of the bag: beforehand, or beside the first pass.

        Gives False where the data set has the bag.
        """
        held = folder.open()
        big = bag.file_bytes >= self._target.budget.segment_bytes
        maybe_known = self._base["source"] in self._target.sources
        if held is not None or maybe_known or not big or self._pool.processes == 1:
            if held is not None and held != bag.sha256:
                folder.empty()
            if begun := bag.sha256 not in self._target.known:
                folder.is_of(bag.sha256)
            self._hash = lambda: bag.sha256
            yield begun
            return
        hashing = _Hashing(bag, folder)
        self._hash = hashing.result
        yield True
        hashing.result()

    def _episodes(self, bag: Bag, folder: WorkFolder, balance: dict) -> None:
        target = self._target
        recorded = bag_contract(bag)
        if recorded is not None and recorded.hash != target.contract.hash:
            self._base["recorded_contract"] = recorded.hash
        topics = map_topics(bag, target.contract, target.recipe.namespace)
        open_topics(balance, bag, topics)
        spans = find_spans(bag, topics, target.recipe.instruction)
        balance["episodes"]["found"] = len(spans)
        wanted = [span_fault(span, target.recipe) for span in spans]
        whole = len(spans) == 1 and wanted[0] is None
        balance["whole"] = (
            whole and spans[0].start_ns <= bag.start_ns and spans[0].end_ns >= bag.end_ns
        )
        share = target.budget.share(bag.weights.largest, bag.path, self._pool.processes)
        place = BagPlace.of(bag, share.open_bytes)
        keep_open(place, bag)
        for number, span in enumerate(spans):
            reason = wanted[number]
            if reason is None:
                episode = EpisodeWork(
                    bag, place, target, topics, span, number, folder, self._pool, share.processes
                )
                report = _part_of(self._report, number, len(spans))
                try:
                    entry, reason = EpisodeJob(episode, balance).run(
                        self._base, self._hash, report
                    )
                    if reason is None:
                        self._entries.append(entry)
                        balance["episodes"]["taken"] += 1
                        continue
                except EpisodeError as error:
                    reason = error.cause
                except BagError as error:
                    if len(spans) == 1:
                        raise
                    reason = error.cause  # the other episodes may be whole
            self._skip(span.episode_id, reason, balance)

    def _skip(self, episode_id: str, reason: str, balance: dict) -> None:
        self._skipped.append({"id": episode_id, **self._base, "reason": reason})
        leave_out(balance, reason)


def _part_of(report: Report, number: int, count: int) -> Report:
    """Reports on one of `count` equal shares."""
    return lambda share: report((number + share) / count)


def _to_result(done: Converted) -> dict:
    return {
        "path": as_text(str(done.path)),
        "entries": list(done.entries),
        "skipped": list(done.skipped),
        "balance": done.balance,
    }


def from_result(found: dict) -> Converted:
    """What became of a bag, as `WorkFolder.result` has it."""
    return Converted(
        Path(found["path"]),
        tuple(found["entries"]),
        tuple(found["skipped"]),
        balance=found["balance"],
    )
