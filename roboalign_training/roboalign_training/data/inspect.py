"""What is in a recording, measured against the contract: rates, gaps, episodes, faults."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from roboalign_policy.core.contract import Contract
from roboalign_training.data.bags import Bag
from roboalign_training.data.episodes import EpisodeFrames, Span, find_spans, frames_from_bag
from roboalign_training.data.errors import EpisodeError
from roboalign_training.data.recipe import Recipe, frames_fault, span_fault
from roboalign_training.data.topics import map_topics

RATE_SHARE = 0.8
"""A stream below this share of the contract's rate is reported; the recorder's measure too."""


@dataclass(frozen=True)
class TopicReport:
    """One topic of a bag, by the times at which its messages were received.

    Attributes:
        name, type, count: As in the bag.
        rate_hz: Hz over the time between first and last message; NaN for fewer than two.
        max_gap_s: s; longest time between two messages; NaN for fewer than two.
        role: What the contract uses it for: stream keys, "command", "task" ..., or "".
        faults: What is wrong with it, by the contract or by itself.
    """

    name: str
    type: str
    count: int
    rate_hz: float
    max_gap_s: float
    role: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class EpisodeReport:
    """One demonstration in a bag: its marks, its frames, and why it would be left out, or None."""

    span: Span
    frames: EpisodeFrames | None
    fault: str | None


@dataclass(frozen=True)
class BagReport:
    """A bag, topic by topic and episode by episode.

    Attributes:
        bag: The recording.
        topics: All topics, by name.
        episodes: With a contract, the demonstrations; empty without one.
        fault: Why no demonstration could be made of it at all, or None.
    """

    bag: Bag
    topics: tuple[TopicReport, ...]
    episodes: tuple[EpisodeReport, ...] = ()
    fault: str | None = None


def inspect_bag(bag: Bag, contract: Contract | None, recipe: Recipe | None = None) -> BagReport:
    """Reads a whole bag and reports on it.

    Args:
        bag: The recording.
        contract: What it should be; None reports on the topics only.
        recipe: By which rules an episode would be taken; the defaults where None.

    Raises:
        BagError: When the bag is damaged.
    """
    recipe = recipe or Recipe()
    times: defaultdict[str, list[int]] = defaultdict(list)
    for message in bag.raw_messages():
        times[message.topic].append(message.receive_ns)
    episodes: list[EpisodeReport] = []
    roles: dict[str, tuple[str, float, float]] = {}
    fault = None
    if contract is not None:
        try:
            topics = map_topics(bag, contract, recipe.namespace)
            roles = _roles(contract, topics.names)
            for span in find_spans(bag, topics, recipe.instruction):
                frames = frames_from_bag(bag, contract, span, topics=topics)
                why = span_fault(span, recipe) or frames_fault(frames, contract, recipe)
                episodes.append(EpisodeReport(span, frames, why))
        except EpisodeError as error:
            fault = error.cause
    reports = [
        _topic_report(bag, name, np.array(times[name], np.int64), roles.get(name))
        for name in sorted(bag.topics)
    ]
    return BagReport(bag, tuple(reports), tuple(episodes), fault)


def _roles(contract: Contract, names: dict[str, str]) -> dict[str, tuple[str, float, float]]:
    """By name in the bag: role, expected rate in Hz (0: none), longest allowed gap in s."""
    roles: dict[str, tuple[str, float, float]] = {}
    for stream in contract.observations:
        name = names[stream.topic]
        role = f"{roles[name][0]}, {stream.key}" if name in roles else stream.key
        roles[name] = (role, contract.rate_hz, stream.max_age_s)
    for command in contract.action.commands:
        # Commands that are held until they change need no rate.
        held = command.align.method == "hold"
        roles[names[command.topic]] = ("command", 0.0 if held else contract.rate_hz, np.inf)
    for topic, name in names.items():
        roles.setdefault(
            name, ("task" if topic == contract.task.topic else "markers", 0.0, np.inf)
        )
    return roles


def _topic_report(
    bag: Bag, name: str, times: np.ndarray, role: tuple[str, float, float] | None
) -> TopicReport:
    """Rate and gaps of one topic from its receive times, (N,) int64 ns."""
    topic = bag.topics[name]
    gaps = np.diff(times) / 1e9
    span_s = float(gaps.sum())
    rate = len(gaps) / span_s if span_s > 0 else float("nan")
    longest = float(gaps.max()) if gaps.size else float("nan")
    faults = [topic.fault] if topic.fault else []
    use, expected, max_gap = role or ("", 0.0, np.inf)
    if expected and rate < RATE_SHARE * expected:
        faults.append(f"{rate:.1f} Hz, expected {expected:g} Hz")
    if longest > max_gap:
        at = int(gaps.argmax())
        faults.append(f"gap of {longest:.2f} s after message {at + 1}, max_age_s is {max_gap:g} s")
    return TopicReport(name, topic.type, topic.count, rate, longest, use, tuple(faults))
