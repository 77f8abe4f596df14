"""One episode of a bag: both passes, the decision between them, and the file at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from roboalign_training.conversion.assembly import Assembly
from roboalign_training.conversion.balance import add_frames, add_images, add_messages
from roboalign_training.conversion.parts import Part, read_part
from roboalign_training.conversion.pictures import (
    PictureJob,
    Wanted,
    wanted_digest,
    wanted_images,
)
from roboalign_training.conversion.pool import Job, Pool
from roboalign_training.conversion.scanning import ScanJob, joined_scan
from roboalign_training.conversion.segments import BagPlace, Segment, cut, keep_open
from roboalign_training.conversion.target import VIDEOS, Report, Target, safe_name
from roboalign_training.conversion.work_folder import WorkFolder, read_json
from roboalign_training.data.bags import Bag
from roboalign_training.data.content import CONTENT_VERSION
from roboalign_training.data.episodes import EpisodeFrames, Span
from roboalign_training.data.errors import BagError
from roboalign_training.data.frame_plan import FramePlan, plan_frames
from roboalign_training.data.image_storage import VIDEO
from roboalign_training.data.index import DATA, write_json
from roboalign_training.data.recipe import frames_fault
from roboalign_training.data.scan import Scan
from roboalign_training.data.topics import TopicMap

_FIRST_PASS = 0.3  # of the work, as progress shows it


class _Undecodable(Exception):
    """Images turned out to have no readable pixels: the frames have to be decided anew."""

    def __init__(self, bad: dict[str, dict[int, str]]) -> None:
        super().__init__()
        self.bad = bad


@dataclass
class EpisodeJob:
    """Converts one episode.

    Attributes:
        bag: The recording.
        target: The data set.
        topics: Where the contract's streams stand in the bag.
        span: Which episode.
        number: Its place among those of the bag.
        folder: Where its parts lie.
        pool: Who does the work.
    """

    bag: Bag
    target: Target
    topics: TopicMap
    span: Span
    number: int
    folder: WorkFolder
    pool: Pool

    def __post_init__(self) -> None:
        self._bad: dict[str, dict[int, str]] = {}

    def run(
        self, base: dict, bag_hash: Callable[[], str], balance: dict, report: Report
    ) -> tuple[dict | None, str | None]:
        """Does it; finished parts are not done again.

        Args:
            base: What the entry says of the bag.
            bag_hash: Gives the SHA-256 of the bag.
            balance: The bag's sheet, which the episode is entered in.
            report: Told how far it is.

        Returns:
            The episode's entry, or None and why it is not fit.

        Raises:
            BagError: When the bag is damaged.
            EpisodeError: When no frames can be made of it.
        """
        share = self.target.budget.share(
            self.bag.weights.largest, self.bag.path, self.pool.processes
        )
        self._processes = share.processes
        self._place = BagPlace.of(self.bag, share.open_bytes)
        keep_open(self._place, self.bag)
        segments = cut(self.bag.weights, self.span)
        self._latest = self._scan(segments, balance, lambda done: report(_FIRST_PASS * done))
        try:
            return self._decide(
                segments,
                {**base, "bag_sha256": bag_hash()},
                balance,
                lambda done: report(_FIRST_PASS + (1 - _FIRST_PASS) * done),
            )
        finally:
            add_messages(balance, self._latest, self.topics)

    def _decide(
        self, segments: list[Segment], base: dict, balance: dict, report: Report
    ) -> tuple[dict | None, str | None]:
        """Decides about the frames, as often as images turn out to be none; see `run`."""
        finished = self._finished(base["bag_sha256"])
        bad = {} if finished is None else finished["bad"]
        while True:
            if bad:
                self._latest = _without(self._latest, bad)
                balance["images"]["undecodable"] += sum(map(len, bad.values()))
            plan = plan_frames(self._latest, self.target.contract, self.bag.path)
            frames = EpisodeFrames(
                plan.indices, plan.stamps_ns, plan.values, plan.actions, plan.dropped,
                plan.trimmed, self.span.episode_id, self.span.instruction, self.span.outcome,
                self.bag.path,
            )  # fmt: skip
            reason = frames_fault(frames, self.target.contract, self.target.recipe)
            if reason is not None:
                add_frames(balance, plan, taken=False)
                return None, reason
            if finished is None:
                try:
                    finished = self._pictures(segments, plan, frames, base, report)
                except _Undecodable as found:
                    bad = found.bad
                    self._bad = _joined(self._bad, bad)
                    continue
            add_frames(balance, plan, taken=True)
            add_images(balance, plan, finished["images"])
            return finished["entry"], None

    def _finished(self, bag_sha256: str) -> dict | None:
        """What was noted about the episode when its file was finished; None where it is not."""
        found = read_json(self._note)
        if found is None or found["made_with"] != self._made_with(bag_sha256=bag_sha256):
            return None
        entry = found["entry"]
        out, videos = self.target.out, entry["pending_videos"]
        places = [(entry["pending"], entry["file"]), *((v, k) for k, v in videos.items())]
        there = all((out / one).is_file() or (out / other).is_file() for one, other in places)
        found["bad"] = {
            key: {int(place): why for place, why in rows.items()}
            for key, rows in found["bad"].items()
        }
        return found if there else None

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.target.out))

    @property
    def _note(self) -> Path:
        return self.folder.path / f"{self.number:05d}-episode.json"

    def _made_with(self, **more: object) -> dict:
        span = [self.span.episode_id, self.span.start_ns, self.span.end_ns]
        return {**self.folder.made_with, "span": span, **more}

    def _path(self, kind: str, number: int) -> Path:
        return self.folder.path / f"{self.number:05d}-{kind}-{number:06d}.part"

    def _parts(self, todo: list[tuple[Path, dict, Job]]) -> Iterator[Part]:
        """The parts of jobs, in order; those that are there are not done again."""
        held = {
            path: part
            for path, made_with, _ in todo
            if (part := read_part(path, made_with, check=True)) is not None
        }
        jobs = (job for path, _, job in todo if path not in held)
        results = self.pool.results(jobs, self._processes)
        for path, made_with, _ in todo:
            if path in held:
                yield held.pop(path)
                continue
            next(results)
            part = read_part(path, made_with, check=False)
            if part is None:
                raise BagError(self.bag.path, f"its part {path} is gone: run the command again")
            yield part

    def _scan(self, segments: list[Segment], balance: dict, report: Report) -> Scan:
        """The first pass."""
        todo = []
        for segment in segments:
            path = self._path("scan", segment.number)
            made_with = self._made_with(segment=[segment.start_ns, segment.end_ns])
            job = ScanJob(self._place, self.target.contract, self.topics, segment, path, made_with)
            todo.append((path, made_with, job))
        parts, done, total = [], 0, sum(segment.size for segment in segments) or 1
        for segment, part in zip(segments, self._parts(todo), strict=True):
            parts.append(part)
            done += segment.size
            report(done / total)
        scan = joined_scan(parts, self.target.contract, self.folder.path)
        if balance["whole"]:
            for name, topic in sorted(balance["topics"].items()):
                if (read := scan.counts.get(name, 0)) != topic["promised"]:
                    cause = f"topic {name}: {read} of {topic['promised']} messages read"
                    raise BagError(self.bag.path, cause)
        return scan

    def _pictures(
        self,
        segments: list[Segment],
        plan: FramePlan,
        frames: EpisodeFrames,
        base: dict,
        report: Report,
    ) -> dict:
        """The second pass, and the file of the episode; gives what is noted about it.

        Raises:
            _Undecodable: When frames show images that cannot be decoded.
        """
        target, contract, scan = self.target, self.target.contract, self._latest
        names = {key: name for name, keys in self.topics.observations.items() for key in keys}
        wanted = {
            s.key: wanted_images(names[s.key], scan.observed[s.key], plan.pictures[s.key])
            for s in contract.images
        }
        todo, chosen = [], []
        for segment in segments:
            within = {key: found.within(segment) for key, found in wanted.items()}
            if any(len(found.places) for found in within.values()):
                todo.append(self._picture_job(segment, within, base["bag_sha256"]))
                chosen.append(segment)
        pending = self.folder.path / f"{self.number:05d}-episode.parquet"
        videos = self._video_names(base["bag_sha256"])
        bad: dict[str, dict[int, str]] = {}
        done, total = 0, sum(segment.size for segment in chosen) or 1
        assembly = Assembly(pending, frames, plan, contract, target.storage, videos)
        with assembly:
            for segment, part in zip(chosen, self._parts(todo), strict=True):
                for key, found in part.facts["bad"].items():
                    bad.setdefault(key, {}).update((place, why) for place, why in found)
                bad = {key: found for key, found in bad.items() if found}
                if not bad:
                    assembly.add(part, _limits(scan, wanted, segment))
                done += segment.size
                report(done / total)
            if bad:
                raise _Undecodable(bad)
            entry = assembly.finish(self._entry(plan, base, videos))
        targets = {
            key: self.folder.path / f"{self.number:05d}-{safe_name(key)}.mp4" for key in videos
        }
        assembly.join_videos(targets)
        pending_videos = {videos[key]: self._relative(path) for key, path in targets.items()}
        moves = {"pending": self._relative(pending), "pending_videos": pending_videos}
        finished = {
            "made_with": self._made_with(bag_sha256=base["bag_sha256"]),
            "entry": {**entry, **moves},
            "images": assembly.counts(),
            "bad": self._bad,
        }
        write_json(self._note, finished)
        for path in self.folder.path.glob(f"{self.number:05d}-pictures-*"):
            path.unlink()
        return finished

    def _picture_job(
        self, segment: Segment, within: dict[str, Wanted], bag_sha256: str
    ) -> tuple[Path, dict, Job]:
        digest = wanted_digest(within)
        made_with = self._made_with(
            segment=[segment.start_ns, segment.end_ns], wanted=digest, bag_sha256=bag_sha256
        )
        path = self._path(f"pictures-{digest[:12]}", segment.number)
        storage = self.target.storage
        job = PictureJob(self._place, self.target.contract, within, storage, path, made_with)
        return path, made_with, job

    def _video_names(self, bag_sha256: str) -> dict[str, str]:
        """Image stream key -> its video in the data set; empty where images are no videos."""
        if self.target.storage.choice != VIDEO:
            return {}
        # With the recording in the name, another one's video never stands beside the old table.
        folder = f"{VIDEOS}/episode-{safe_name(self.span.episode_id)}-{bag_sha256[:16]}"
        return {s.key: f"{folder}/{safe_name(s.key)}.mp4" for s in self.target.contract.images}

    def _entry(self, plan: FramePlan, base: dict, videos: dict[str, str]) -> dict:
        """What is known of the episode, in the order in which it is shown."""
        return {
            "id": self.span.episode_id,
            "file": f"{DATA}/episode-{safe_name(self.span.episode_id)}.parquet",
            **({"videos": videos} if videos else {}),
            "frames": len(plan),
            "instruction": self.span.instruction,
            "outcome": self.span.outcome,
            **base,
            "content_sha256": "",
            "content_hash": CONTENT_VERSION,
            "dropped": plan.dropped,
            "trimmed": plan.trimmed,
            "frame_times": {
                "times": plan.frame_times,
                "dropped": plan.lost_inside,
                "trimmed": plan.lost_outside,
            },
            "contract": self.target.contract.hash,
            "recipe": self.target.recipe.to_dict(),
        }


def _limits(scan: Scan, wanted: dict[str, Wanted], segment: Segment) -> dict[str, int]:
    """By stream, the greatest place of an image that was received up to a segment's end."""
    return {
        key: int(np.searchsorted(scan.observed[key].receive_ns, segment.end_ns, side="right")) - 1
        for key in wanted
    }


def _without(scan: Scan, bad: dict[str, dict[int, str]]) -> Scan:
    """The scan where some images are known to be unreadable."""
    observed = dict(scan.observed)
    for key, found in bad.items():
        observed[key] = observed[key].without(found, found[max(found)])
    return replace(scan, observed=observed)


def _joined(one: dict[str, dict], other: dict[str, dict]) -> dict[str, dict]:
    """What is in either of two mappings of mappings."""
    return {key: {**one.get(key, {}), **other.get(key, {})} for key in {**one, **other}}
