"""A recording as it is shown: its report, a scene of each episode, the arrivals of each topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.keys import BAG_CONTRACT
from roboalign_training.bags.bags import Bag
from roboalign_training.episodes.channels import Sink
from roboalign_training.episodes.episodes import Span
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.look.budget import share
from roboalign_training.look.inspect import BagReport, inspect_bag
from roboalign_training.look.inspect_views import bag_view, lost_frames
from roboalign_training.look.look import Look, Part, Selection, in_pages, not_all, without_tables
from roboalign_training.look.plain import MOST_CURVES, feed_plain
from roboalign_training.look.scene import ShownEpisode

FIRST_REAL_NS = 946_684_800 * 10**9
"""Year 2000: times before it are of a simulator, or of a clock that was never set."""


def look_at_bag(
    bag: Bag, contract: Contract | None, recipe: Recipe, choice: Selection
) -> list[Look]:
    """Reads a recording once more than its report takes, and keeps what is shown, page by page.

    Args:
        bag: The recording.
        contract: What it should be; without one, what can be read is shown as recorded.
        recipe: By which rules an episode would be taken.
        choice: What to show.

    Raises:
        BagError: When the bag is damaged.
        DataError: When an episode is asked for that is not there.
    """
    scenes: dict[Span, ShownEpisode] = {}
    pages: tuple[tuple[str, ...], ...] = ()
    there = 0

    def watch(spans: Sequence[Span], span: Span) -> list[Sink]:
        nonlocal pages, there
        if not pages:
            ids = list(dict.fromkeys(s.episode_id for s in spans))
            pages, there = in_pages(choice.of(bag.path, ids)), len(spans)
        page = next((ids for ids in pages if span.episode_id in ids), None)
        if page is None:
            return []
        curves = sum(len(s.fields) for s in contract.states) + len(contract.action.dims)
        lengths = [s.end_ns - s.start_ns for s in spans if s.episode_id in page]
        part = (span.end_ns - span.start_ns) / max(sum(lengths), 1)
        budget = share(part, len(contract.images), curves, choice.frames)
        scenes[span] = ShownEpisode(span.episode_id, span.instruction, span.outcome, budget)
        return [scenes[span], *choice.more(span.episode_id)]

    report = inspect_bag(bag, contract, recipe, watch=watch, tell=choice.tell)
    view, range_ns = bag_view(report, contract), (bag.start_ns, bag.end_ns)
    whole = Look(view, provenance=bag_provenance(bag), topics=report.topics, range_ns=range_ns)
    if not scenes:
        scene, whole.notes = _whole(bag, choice)
        scene.verdict = report.fault
        whole.scenes = [scene]
        return [whole]
    _judge(scenes, report)
    notes = not_all(len(scenes), there)
    looks = []
    for number, ids in enumerate(pages, 1):
        look = replace(whole, notes=notes, part=Part(number, pages))
        look.scenes = [scene for scene in scenes.values() if scene.episode_id in ids]
        if number > 1:
            look.view = without_tables(view)
        looks.append(look)
    return looks


def _judge(scenes: dict[Span, ShownEpisode], report: BagReport) -> None:
    """Tells each scene what became of its episode."""
    judged = {episode.span: episode for episode in report.episodes}
    for span, scene in scenes.items():
        episode = judged.get(span)
        if episode is None:  # the one that made the report end
            scene.verdict = report.fault
            continue
        scene.verdict = episode.fault or ""
        frames = episode.frames
        if frames is None:
            continue
        scene.about += [
            ("frames", str(len(frames))),
            ("left out between frames", lost_frames(frames.dropped, {})),
            ("left out at the ends", lost_frames({}, frames.trimmed)),
        ]


def _whole(bag: Bag, choice: Selection) -> tuple[ShownEpisode, list[str]]:
    """The whole recording as one scene, as recorded."""
    name = bag.path.resolve().name if bag.path.is_dir() else bag.path.stem
    choice.of(bag.path, [name])
    cameras = sum("Image" in topic.type for topic in bag.topics.values())
    scene = ShownEpisode(name, budget=share(1, cameras, MOST_CURVES, choice.frames))
    notes = feed_plain(bag, [scene, *choice.more(name)], choice.tell)
    return scene, ["images and numbers are shown as recorded, without a contract", *notes]


def bag_provenance(bag: Bag) -> list[tuple[str, str]]:
    """Where a recording came from: files, hash, times, and what its recorder wrote into it."""
    rows = [
        ("recording", str(bag.path)),
        ("files", ", ".join(file.name for file in bag.files)),
        ("SHA-256 of metadata and files", bag.sha256),
        ("first message", time_text(bag.start_ns)),
        ("last message", time_text(bag.end_ns)),
    ]
    rows += [(key, value) for key, value in sorted(bag.custom.items()) if key != BAG_CONTRACT]
    return rows


def time_text(time_ns: int) -> str:
    """A time as a date, or in seconds where it is none."""
    seconds, rest = divmod(time_ns, 10**9)
    if time_ns < FIRST_REAL_NS:
        return f"{seconds}.{rest:09d} s (no date: a simulator's clock)"
    date = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{date:%Y-%m-%d %H:%M:%S}.{rest // 1000:06d} UTC"
