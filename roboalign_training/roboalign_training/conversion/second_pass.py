"""From the decision about an episode's frames to its file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roboalign_training.conversion.assembly import EpisodeAssembly
from roboalign_training.conversion.episode import EpisodeWork, Todo
from roboalign_training.conversion.pictures import PictureJob, wanted_digest
from roboalign_training.conversion.segments import EpisodeSegment
from roboalign_training.conversion.target import VIDEOS, Report, safe_name
from roboalign_training.data.content import CONTENT_VERSION
from roboalign_training.data.index import DATA
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.episodes.frame_plan import FramePlan
from roboalign_training.episodes.pixels import WantedImages, wanted_images
from roboalign_training.episodes.recipe import frames_notes
from roboalign_training.episodes.scan import Bad, Scan
from roboalign_training.images.image_storage import VIDEO
from roboalign_training.shared.version import tool_version


class UndecodableError(Exception):
    """Images turned out to have no readable pixels: the frames have to be decided anew.

    Attributes:
        bad: Image stream key -> place of the message -> why.
    """

    def __init__(self, bad: Bad) -> None:
        super().__init__(f"undecodable images: {bad}")
        self.bad = bad


def write_frames(
    episode: EpisodeWork,
    segments: Sequence[EpisodeSegment],
    scan: Scan,
    plan: FramePlan,
    base: dict,
    report: Report,
) -> tuple[dict, dict]:
    """Decodes and encodes the images of an episode, and writes its file.

    Args:
        episode: The episode.
        segments: Its segments.
        scan: Its messages.
        plan: Its frames.
        base: What the entry says of the bag, `bag_sha256` among it.
        report: Told how far it is.

    Returns:
        The episode's entry with the pending names of its files, and counts of images.

    Raises:
        UndecodableError: When frames show images that cannot be decoded; nothing is written.
        BagError: When the bag is damaged.
    """
    contract, span = episode.target.contract, episode.span
    wanted = wanted_images(scan, plan, episode.topics)
    within = [
        {key: w.within(segment.start_ns, segment.end_ns) for key, w in wanted.items()}
        for segment in segments
    ]
    chosen = [
        (segment, found)
        for segment, found in zip(segments, within, strict=True)
        if any(len(images.places) for images in found.values())
    ]
    todo = [_todo(episode, *item, base["bag_sha256"]) for item in chosen]
    frames = EpisodeFrames(
        plan.indices,
        plan.stamps_ns,
        plan.values,
        plan.actions,
        episode_id=span.episode_id,
        instruction=span.instruction,
        outcome=span.outcome,
        source=episode.bag.path,
    )
    videos = _video_names(episode, base["bag_sha256"])
    pending = episode.path("episode.parquet")
    bad: Bad = {}
    done, total = 0, sum(segment.size for segment, _ in chosen) or 1
    assembly = EpisodeAssembly(pending, frames, plan, contract, episode.target.storage, videos)
    with assembly:
        for (segment, _), part in zip(chosen, episode.parts(todo), strict=True):
            for key, found in part.facts["bad"].items():
                if found:
                    bad.setdefault(key, {}).update((place, why) for place, why in found)
            if not bad:
                assembly.add(part, _limits(scan, wanted, segment))
            done += segment.size
            report(done / total)
        if bad:
            raise UndecodableError(bad)
        entry = assembly.finish(_entry(episode, plan, base, videos))
    targets = {key: episode.path(f"{safe_name(key)}.mp4") for key in videos}
    assembly.join_videos(targets)
    moves = {
        "pending": episode.relative(pending),
        "pending_videos": {videos[key]: episode.relative(p) for key, p in targets.items()},
    }
    return {**entry, **moves}, assembly.counts()


def _todo(
    episode: EpisodeWork, segment: EpisodeSegment, found: dict[str, WantedImages], bag_sha256: str
) -> Todo:
    """The job of a segment."""
    digest = wanted_digest(found)
    times = [segment.start_ns, segment.end_ns]
    made_with = episode.made_with(segment=times, wanted=digest, bag_sha256=bag_sha256)
    path = episode.path(f"pictures-{digest[:12]}-{segment.number:06d}.part")
    target = episode.target
    job = PictureJob(episode.place, target.contract, found, target.storage, path, made_with)
    return Todo(path, made_with, job)


def _limits(
    scan: Scan, wanted: dict[str, WantedImages], segment: EpisodeSegment
) -> dict[str, int]:
    """By stream, the greatest place of an image that was received up to a segment's end."""
    return {
        key: int(np.searchsorted(scan.observed[key].receive_ns, segment.end_ns, side="right")) - 1
        for key in wanted
    }


def _video_names(episode: EpisodeWork, bag_sha256: str) -> dict[str, str]:
    """Image stream key -> its video in the data set; empty where images are no videos."""
    if episode.target.storage.choice != VIDEO:
        return {}
    # With the recording in the name, another one's video never stands beside the old table.
    folder = f"{VIDEOS}/episode-{safe_name(episode.span.episode_id)}-{bag_sha256[:16]}"
    images = episode.target.contract.images
    return {s.key: f"{folder}/{safe_name(s.key)}.mp4" for s in images}


def _entry(episode: EpisodeWork, plan: FramePlan, base: dict, videos: dict[str, str]) -> dict:
    """What is known of the episode, in the order in which it is shown."""
    span, target = episode.span, episode.target
    noted = frames_notes(plan, target.contract, target.recipe)
    return {
        "id": span.episode_id,
        "file": f"{DATA}/episode-{safe_name(span.episode_id)}.parquet",
        **({"videos": videos} if videos else {}),
        "frames": len(plan),
        "instruction": span.instruction,
        "outcome": span.outcome,
        **base,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "tool": tool_version(),
        "content_sha256": "",
        "content_hash": CONTENT_VERSION,
        "dropped": plan.dropped,
        "trimmed": plan.trimmed,
        **({"notes": noted} if noted else {}),
        "frame_times": {
            "times": plan.frame_times,
            "dropped": plan.lost_inside,
            "trimmed": plan.lost_outside,
            "causes": plan.causes,
        },
        "contract": target.contract.hash,
        "recipe": target.recipe.to_dict(),
    }
