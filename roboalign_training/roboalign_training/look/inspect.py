"""What is in a recording, measured against the contract: rates, gaps, episodes, faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.episodes.channels import MISSING_STEP, Channel, Moment, Sink
from roboalign_training.episodes.episodes import Span, find_spans
from roboalign_training.episodes.frame_plan import plan_frames
from roboalign_training.episodes.framed import Frames
from roboalign_training.episodes.pauses import Pauses, unpaused
from roboalign_training.episodes.readings import Readings
from roboalign_training.episodes.recipe import Recipe, frames_fault, frames_notes, span_fault
from roboalign_training.episodes.scan import scan_messages
from roboalign_training.episodes.topics import TopicMap, map_topics
from roboalign_training.look.arrivals import Arrivals, Gap
from roboalign_training.look.samples import show_samples

RATE_SHARE = 0.8
"""A stream below this share of the contract's rate is reported; the recorder's measure too."""

TELL_EVERY = 5000
"""Messages between two words about the progress."""


@dataclass(frozen=True)
class TopicReport:
    """One topic of a bag, by the times at which its messages were received.

    Attributes:
        name, type, count: As in the bag.
        rate_hz: Hz over the time between first and last message; NaN for fewer than two.
        max_gap_s: s; longest time between two messages; NaN for fewer than two.
        role: What the contract uses it for: stream keys, "command", "task" ..., or "".
        faults: What is wrong with it, by the contract or by itself.
        expected_hz: The contract's rate; 0 where it asks for none.
        gap_s: From which length a gap is worth a mark: the contract's greatest age, or three times
            the usual interval; infinite where the topic has no usual one.
        arrivals: When its messages came, of a stream of joints its readings.
        note: Which messages came beside these, or in place of them; empty where none did.
    """

    name: str
    type: str
    count: int
    rate_hz: float
    max_gap_s: float
    role: str = ""
    faults: tuple[str, ...] = ()
    expected_hz: float = 0.0
    gap_s: float = np.inf
    arrivals: Arrivals | None = None
    note: str = ""

    @property
    def gaps(self) -> list[Gap]:
        """The gaps that are worth a mark, by time."""
        return self.arrivals.gaps(self.gap_s) if self.arrivals else []


@dataclass(frozen=True)
class EpisodeReport:
    """One demonstration in a bag, and why it would be left out.

    Attributes:
        span: Its marks.
        frames: Its frames, without pixels; None where there are none.
        fault: Every reason why it would be left out, or None.
        wrong: Of these reasons the ones that are something wrong with it: not its outcome.
        notes: What is worth knowing of one that is fit.
        first_images: Image stream key -> (H, W, 3) uint8, the first that could be read.
    """

    span: Span
    frames: Frames | None
    fault: str | None
    wrong: str | None = None
    notes: tuple[str, ...] = ()
    first_images: dict[str, np.ndarray] = field(default_factory=dict)


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


Watch = Callable[[Sequence[Span], Span], Sequence[Sink]]
"""Says which sinks see a demonstration, being told of all there are."""


def inspect_bag(
    bag: Bag,
    contract: Contract | None,
    recipe: Recipe | None = None,
    *,
    watch: Watch = lambda spans, span: (),
    tell: Callable[[str], None] = lambda text: None,
) -> BagReport:
    """Reads a whole bag and reports on it.

    Args:
        bag: The recording.
        contract: What it should be; None reports on the topics only.
        recipe: By which rules an episode would be taken; the defaults where None.
        watch: Gives for each demonstration the sinks that are shown its samples.
        tell: Is told of the progress, in words.

    Raises:
        BagError: When the bag is damaged.
    """
    recipe = recipe or Recipe()
    episodes: list[EpisodeReport] = []
    roles: dict[str, tuple[str, float, float]] = {}
    spans: list[Span] = []
    fault = None
    if contract is not None:
        try:
            topics = map_topics(bag, contract, recipe.namespace)
            roles = _roles(contract, topics.names)
            spans = find_spans(bag, topics, recipe.instruction)
            for number, span in enumerate(spans):
                tell(f"reading episode {number + 1} of {len(spans)}: {span.episode_id}")
                first = _FirstImages()
                sinks = [first, *watch(spans, span)]
                episodes.append(_episode_report(bag, contract, span, topics, recipe, sinks, first))
        except EpisodeError as error:
            fault = error.cause
    pauses = tuple(sorted({pause for span in spans for pause in span.pauses}))
    readings = Readings(bag, contract, topics) if roles else None
    times = _arrivals(bag, pauses, readings, tell)
    reports = [
        _topic_report(bag, name, times[name], roles.get(name), readings) for name in sorted(times)
    ]
    return BagReport(bag, tuple(reports), tuple(episodes), fault)


def _episode_report(
    bag: Bag,
    contract: Contract,
    span: Span,
    topics: TopicMap,
    recipe: Recipe,
    sinks: Sequence[Sink],
    first: _FirstImages,
) -> EpisodeReport:
    """What a conversion would say of one demonstration; an unfit one does not hide the others."""
    frames, noted = None, ()
    unreadable = show_samples(bag, contract, span, topics, sinks)
    times = (span.start_ns, span.end_ns)
    scan = scan_messages(bag, contract, topics, times, span.pauses).without(unreadable)
    try:
        frames = plan_frames(scan, contract, bag.path, span.pauses)
        found = frames_fault(frames, contract, recipe, span.pauses)
        noted = tuple(frames_notes(frames, contract, recipe))
    except EpisodeError as error:
        found = error.cause
    reasons = dict.fromkeys(filter(None, (span_fault(span, recipe), span.fault, found)))
    wrong = dict.fromkeys(filter(None, (span.fault, found)))
    return EpisodeReport(
        span,
        frames,
        "; ".join(reasons) or None,
        "; ".join(wrong) or None,
        noted,
        first.images,
    )


def _arrivals(
    bag: Bag, pauses: Pauses, readings: Readings | None, tell: Callable[[str], None]
) -> dict[str, Arrivals]:
    """When messages of each topic arrived: within no pause, and of a stream's joints readings."""
    times = {name: Arrivals(bag.start_ns, bag.end_ns, pauses=pauses) for name in bag.topics}
    for number, message in enumerate(unpaused(bag.raw_messages(), pauses)):
        if readings is None or readings.take(*message):
            times[message.topic].add(message.receive_ns)
        if number % TELL_EVERY == 0:
            tell(f"counting messages: {number} of {bag.message_count}")
    for arrivals in times.values():
        arrivals.flush()
    return times


class _FirstImages(Sink):
    """Keeps the first image of each stream."""

    def __init__(self) -> None:
        self.images: dict[str, np.ndarray] = {}

    def declare(self, channel: Channel) -> None:
        """Nothing to prepare."""

    def image(self, key: str, when: Moment, pixels: Callable[[], np.ndarray]) -> None:
        """Keeps it, if it is the first."""
        if key not in self.images:
            self.images[key] = pixels().copy()  # not the whole message with it

    def vector(self, key: str, when: Moment, values: np.ndarray) -> None:
        """Not kept."""

    def unreadable(self, key: str, when: Moment, reason: str) -> None:
        """Not kept."""

    def event(self, when: Moment, kind: str, text: str) -> None:
        """Not kept."""


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
    bag: Bag,
    name: str,
    arrivals: Arrivals,
    role: tuple[str, float, float] | None,
    readings: Readings | None,
) -> TopicReport:
    """Rate and gaps of one topic, pauses not counted, of readings where the contract reads it."""
    topic = bag.topics[name]
    rate, longest = arrivals.rate_hz, arrivals.longest_s
    faults = [topic.fault] if topic.fault else []
    use, expected, max_gap = role or ("", 0.0, np.inf)
    if expected and rate < RATE_SHARE * expected:
        faults.append(f"{rate:.1f} Hz, expected {expected:g} Hz")
    if longest > max_gap:
        after = arrivals.longest_after
        faults.append(f"gap of {longest:.2f} s after message {after}, max_age_s is {max_gap:g} s")
    mark = max_gap
    if not np.isfinite(mark):
        # Of a command that answers every frame, a step left out; of others what is unusual.
        mark = MISSING_STEP / expected if expected else arrivals.usual_gap_s
    return TopicReport(
        name, topic.type, topic.count, rate, longest, use, tuple(faults), expected,
        np.inf if np.isnan(mark) else mark, arrivals, readings.note(name) if readings else "",
    )  # fmt: skip
