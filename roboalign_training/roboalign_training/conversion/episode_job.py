"""One episode of a bag: the first pass, the decision, and what was noted when it was finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roboalign_training.bags.errors import BagError
from roboalign_training.conversion.balance import (
    add_frames,
    add_images,
    add_messages,
    add_off_clock,
)
from roboalign_training.conversion.episode import EpisodeWork, Todo
from roboalign_training.conversion.scanning import ScanJob, joined_scan
from roboalign_training.conversion.second_pass import UndecodableError, write_frames
from roboalign_training.conversion.segments import EpisodeSegment, cut
from roboalign_training.conversion.target import Report
from roboalign_training.conversion.work_folder import read_json
from roboalign_training.data.index import write_json
from roboalign_training.episodes.frame_plan import plan_frames
from roboalign_training.episodes.recipe import frames_fault
from roboalign_training.episodes.scan import Bad, Scan

_FIRST_PASS = 0.3  # of the work, as progress shows it
_NOTE = "episode.json"


class EpisodeJob:
    """Converts one episode; finished parts are not done again."""

    def __init__(self, episode: EpisodeWork, balance: dict) -> None:
        """Of `episode`; enters it in the sheet of its bag."""
        self._episode, self._balance = episode, balance
        self._scan: Scan | None = None
        self._bad: Bad = {}

    def run(
        self, base: dict, bag_hash: Callable[[], str], report: Report
    ) -> tuple[dict | None, str | None]:
        """Does it.

        Args:
            base: What the entry says of the bag.
            bag_hash: Gives the SHA-256 of the bag.
            report: Told how far it is.

        Returns:
            The episode's entry, or None and why it is not fit.

        Raises:
            BagError: When the bag is damaged.
            EpisodeError: When no frames can be made of it.
        """
        episode = self._episode
        segments = cut(episode.bag.weights, episode.span, episode.target.budget.segment_bytes)
        self._scan = self._first_pass(segments, lambda done: report(_FIRST_PASS * done))
        try:
            return self._decide(
                segments,
                {**base, "bag_sha256": bag_hash()},
                lambda done: report(_FIRST_PASS + (1 - _FIRST_PASS) * done),
            )
        finally:
            add_messages(self._balance, self._scan, self._episode.topics)

    def _decide(
        self, segments: Sequence[EpisodeSegment], base: dict, report: Report
    ) -> tuple[dict | None, str | None]:
        """Decides about the frames, anew when images turn out to be none; see `run`."""
        episode = self._episode
        contract, recipe = episode.target.contract, episode.target.recipe
        finished = self._finished(base["bag_sha256"])
        if finished is not None:
            self._mark(finished["bad"])
        while True:
            pauses = episode.span.pauses
            plan = plan_frames(self._scan, contract, episode.bag.path, pauses)
            if (reason := frames_fault(plan, contract, recipe, pauses)) is not None:
                add_off_clock(self._balance, plan, episode.topics)
                add_frames(self._balance, plan, taken=False)
                return None, reason
            if finished is None:
                try:
                    entry, images = write_frames(episode, segments, self._scan, plan, base, report)
                except UndecodableError as found:
                    self._mark(found.bad)
                    continue
                finished = self._finish(entry, images)
            add_off_clock(self._balance, plan, episode.topics)
            add_frames(self._balance, plan, taken=True)
            add_images(self._balance, plan, finished["images"])
            return finished["entry"], None

    def _mark(self, bad: Bad) -> None:
        """Takes images for unreadable messages from now on."""
        self._scan = self._scan.without(bad)
        for key, found in bad.items():
            self._bad[key] = {**self._bad.get(key, {}), **found}
            self._balance["images"]["undecodable"] += len(found)

    def _first_pass(self, segments: Sequence[EpisodeSegment], report: Report) -> Scan:
        """Reads all streams.

        Raises:
            BagError: When the bag is damaged, or holds less than it promises.
        """
        episode, todo = self._episode, []
        for segment in segments:
            path = episode.path(f"scan-{segment.number:06d}.part")
            made_with = episode.made_with(segment=[segment.start_ns, segment.end_ns])
            contract, pauses = episode.target.contract, episode.span.pauses
            job = ScanJob(
                episode.place, contract, episode.topics, segment, pauses, path, made_with
            )
            todo.append(Todo(path, made_with, job))
        parts, done, total = [], 0, sum(segment.size for segment in segments) or 1
        for segment, part in zip(segments, episode.parts(todo), strict=True):
            parts.append(part)
            done += segment.size
            report(done / total)
        scan = joined_scan(parts, episode.target.contract, episode.folder.path)
        if self._balance["whole"]:
            for name, topic in sorted(self._balance["topics"].items()):
                if (read := scan.counts.get(name, 0)) != topic["promised"]:
                    cause = f"topic {name}: {read} of {topic['promised']} messages read"
                    raise BagError(episode.bag.path, cause)
        return scan

    def _finish(self, entry: dict, images: dict) -> dict:
        """Notes that the episode is finished, after which its images' parts are not needed."""
        episode = self._episode
        finished = {
            "made_with": episode.made_with(bag_sha256=entry["bag_sha256"]),
            "entry": entry,
            "images": images,
            "bad": self._bad,
        }
        write_json(episode.path(_NOTE), finished)
        for path in episode.folder.path.glob(episode.path("pictures-*").name):
            path.unlink()
        return finished

    def _finished(self, bag_sha256: str) -> dict | None:
        """What was noted when the episode was finished; None where it is not."""
        episode = self._episode
        found = read_json(episode.path(_NOTE))
        if found is None or found["made_with"] != episode.made_with(bag_sha256=bag_sha256):
            return None
        entry, out = found["entry"], episode.target.out
        places = [(entry["pending"], entry["file"])]
        places += [(pending, name) for name, pending in entry["pending_videos"].items()]
        if not all((out / one).is_file() or (out / other).is_file() for one, other in places):
            return None
        found["bad"] = {
            key: {int(place): why for place, why in rows.items()}
            for key, rows in found["bad"].items()
        }
        return found
