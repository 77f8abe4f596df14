"""One episode as it is shown: a sink that keeps curves, images and events, as many as fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from roboalign_training.episodes.channels import IMAGE, RECEIVE, Channel, Moment, Sink
from roboalign_training.look.budget import Budget
from roboalign_training.look.series import Curve, Envelope
from roboalign_training.look.strip import Strip
from roboalign_training.look.tokens import TokenFigures

OTHER_CLOCK_S = 1.0
"""Stamps this far from the times of arrival are of another clock (a simulator's)."""

MOST_EVENTS = 200

ERROR = "error"
"""Kind of channel: how far decoded chunks are from the recorded ones."""


@dataclass
class ShownEpisode(Sink):
    """What is shown of one episode.

    Attributes:
        episode_id, instruction, outcome: Of the demonstration.
        budget: What it may take.
        verdict: Why it is not fit for training; "" where it is; None where that was not asked.
        notes: What the page says about what it leaves out, and about clocks.
        about: (name, value), as where it came from.
        holes: (start ns, end ns) of frames with a missing one between; only of data sets.
        tokens: Of a data set with a fitted tokenizer: the tokens of its chunks.
        frame_times_ns: (N,) int64, of a data set; what `tokens` counts by.
        thoughts: (ns, text, whether its chunk was refused) of a policy that drove, by time.
        label: What it is called where one is chosen; its id where this is empty.
        group: What it belongs to there; those of a group follow one another.
        marks: (style, text) said of it beside its outcome; of a recording, its verdict.
    """

    episode_id: str
    instruction: str = ""
    outcome: str = ""
    budget: Budget = field(default_factory=Budget)
    verdict: str | None = None
    notes: list[str] = field(default_factory=list)
    about: list[tuple[str, str]] = field(default_factory=list)
    holes: list[tuple[int, int]] = field(default_factory=list)
    tokens: TokenFigures | None = None
    frame_times_ns: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    thoughts: list[tuple[int, str, bool]] = field(default_factory=list)
    label: str = ""
    group: str = ""
    marks: list[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        self.channels: dict[str, Channel] = {}
        self.strips: dict[str, Strip] = {}
        self.envelopes: dict[str, Envelope] = {}
        self.events: list[tuple[int, str, str]] = []
        self.event_count = 0
        self.faults: dict[str, Counter[str]] = {}
        self._ahead_ns: tuple[int, int, int] | None = None  # first, least, greatest
        self._bounds: dict[str, tuple[int, int]] = {}

    def declare(self, channel: Channel) -> None:
        """Makes room for a channel."""
        self.channels[channel.key] = channel
        if channel.kind == IMAGE:
            self.strips[channel.key] = Strip(self.budget.frames, self.budget.image_bytes)
        else:
            self.envelopes[channel.key] = Envelope(len(channel.axes), self.budget.buckets)

    def image(self, key: str, when: Moment, pixels: Callable[[], np.ndarray]) -> None:
        """Keeps an image, or leaves it out."""
        self._clock(key, when)
        self.strips[key].add(when.stamp_ns, pixels)

    def vector(self, key: str, when: Moment, values: np.ndarray) -> None:
        """Adds a sample to the curves of a channel."""
        self._clock(key, when)
        self.envelopes[key].add(when.stamp_ns, values)

    def unreadable(self, key: str, when: Moment, reason: str) -> None:
        """Counts it, by reason; figures in a reason may differ from message to message."""
        reasons = self.faults.setdefault(key, Counter())
        reasons[reason if reason in reasons or len(reasons) < 5 else "other reasons"] += 1

    def event(self, when: Moment, kind: str, text: str) -> None:
        """Keeps an event; of very many the first."""
        self.event_count += 1
        if len(self.events) < MOST_EVENTS:
            self.events.append((when.receive_ns, kind, text))

    @property
    def badges(self) -> list[tuple[str, str]]:
        """(style, text): outcome, and what else there is to say of the episode at once."""
        style = {"success": "good", "failure": "bad"}.get(self.outcome, "small")
        found = [(style, f"outcome: {self.outcome}")] if self.outcome else []
        if self.marks is not None:
            return found + self.marks
        if self.verdict is None:
            return [*found, ("small", "not judged: no contract")]
        fault = f"not fit for training: {self.verdict}"
        return [*found, ("bad", fault) if self.verdict else ("good", "fit for training")]

    @property
    def shift_ns(self) -> int:
        """Time of arrival minus stamp, where the stamps are of another clock, else 0."""
        first = self._ahead_ns[0] if self._ahead_ns else 0
        return first if abs(first) > OTHER_CLOCK_S * 1e9 else 0

    @property
    def clock_note(self) -> str | None:
        """What there is to know about stamps and times of arrival, or None."""
        if not self.shift_ns:
            return None
        _, least, most = self._ahead_ns
        drift = (most - least) / 1e9
        apart = f"; the two run apart by up to {drift:.2f} s" if drift > 0.1 else ""
        return (
            f"stamps are of another clock than times of arrival, {self.shift_ns / 1e9:.3f} s "
            f"before them: what has only a time of arrival is drawn that much earlier{apart}"
        )

    def time_ns(self, key: str, times_ns: np.ndarray) -> np.ndarray:
        """Times of a channel's samples on the clock that all are drawn on."""
        return times_ns - (self.shift_ns if self.channels[key].clock == RECEIVE else 0)

    @property
    def range_ns(self) -> tuple[int, int]:
        """First and last time of any sample on that clock; (0, 0) without one."""
        ends = [self.time_ns(key, np.array(ends)) for key, ends in self._bounds.items()]
        ends += [np.array(hole) for hole in self.holes]
        return (int(np.min(ends)), int(np.max(ends))) if ends else (0, 0)

    def curves(self) -> dict[str, list[Curve]]:
        """Channel key -> the curve of each of its axes."""
        return {key: envelope.curves() for key, envelope in self.envelopes.items()}

    def _clock(self, key: str, when: Moment) -> None:
        """Learns how far stamps are from times of arrival, and from when to when the data go."""
        low, high = self._bounds.get(key, (when.stamp_ns, when.stamp_ns))
        self._bounds[key] = min(low, when.stamp_ns), max(high, when.stamp_ns)
        if self.channels[key].clock == RECEIVE:
            return
        ahead = when.receive_ns - when.stamp_ns
        if self._ahead_ns is None:
            self._ahead_ns = (ahead, ahead, ahead)
        else:
            first, least, most = self._ahead_ns
            self._ahead_ns = (first, min(least, ahead), max(most, ahead))
