"""One episode while it is recorded.

Which time each message gets, the counts, the markers and the custom data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from roboalign_policy.core import keys
from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.fitness.episode_fitness import TopicTimes, times_fault
from roboalign_policy.core.recording.driver_times import driver_note
from roboalign_policy.core.recording.episodes import (
    BAG_DRIVERS,
    BAG_LOG_TIME,
    BAG_NOTES,
    BAG_OPERATOR,
    BAG_TOPICS,
    BAG_VERDICT,
    END,
    PAUSE,
    RESUME,
    START,
    LogClock,
    RecordedTopic,
)
from roboalign_policy.core.recording.ring import Arrival
from roboalign_policy.core.recording.stream_stats import BY_TIMES, FIT, StreamStats, notes, verdict
from roboalign_policy.ros.recording.rosbag2_process import Rosbag2Process
from roboalign_policy.ros.recording.writer_thread import WriterThread

MarkerMaker = Callable[[int, str, int], bytes]
"""(event, outcome, time in ns) -> the serialised roboalign_msgs/msg/Episode."""


@dataclass(frozen=True)
class EpisodeInfo:
    """What is known about an episode when it starts.

    `remapped` has the topics that are recorded under another name than the contract's.
    """

    episode_id: str
    instruction: str
    operator: str
    contract_yaml: str
    contract_hash: str
    tool: str
    log_time: str
    remapped: Mapping[str, str] = field(default_factory=dict)

    def custom_data(self) -> dict[str, str]:
        """The part of the bag's custom data that is known by now."""
        remapped = {BAG_TOPICS: json.dumps(dict(self.remapped))} if self.remapped else {}
        return {
            **remapped,
            keys.BAG_CONTRACT: self.contract_yaml,
            keys.BAG_INSTRUCTION: self.instruction,
            keys.BAG_EPISODE_ID: self.episode_id,
            keys.BAG_TOOL: self.tool,
            BAG_OPERATOR: self.operator,
            BAG_LOG_TIME: self.log_time,
        }


class EpisodeSession:
    """Feeds one episode's messages to the writer.

    Messages of ``topics[i]`` have index i; the marker topic has index ``len(topics)``.

    Attributes:
        info: id, instruction and origin.
        start_ns: when it began, in the clock of the log.
        watched_ns: the same of its start or of the last resumption.
        paused: nothing is written.
        bytes: of the messages taken so far.
        stats: of each topic.
    """

    def __init__(
        self,
        info: EpisodeInfo,
        topics: Sequence[RecordedTopic],
        writer: WriterThread | Rosbag2Process,
        start_ns: int,
        make_marker: MarkerMaker,
        contract: Contract | None = None,
    ):
        """Begin; the writer's bag must be open.

        Args:
            info: id, instruction and origin.
            topics: what is recorded.
            writer: where messages go.
            start_ns: the node's clock now; with ``log_time: header`` the first stamped message
                sets the start instead.
            make_marker: serialises the marker messages.
            contract: the verdict says whether its frames can be made; None: it counts only.
        """
        self.info = info
        self.start_ns = self.watched_ns = start_ns
        self.paused = False
        self.bytes = 0
        self.stats = [StreamStats.of(topic) for topic in topics]
        self._topics, self._contract = topics, contract
        self._times = {topic.topic: TopicTimes() for topic in topics}
        self._pauses: list[tuple[int, int]] = []
        self._writer = writer
        self._clock = LogClock(info.log_time)
        self._make_marker = make_marker
        # Messages without a time of their own wait here until the episode has a time (log_time:
        # header).
        self._untimed: list[Arrival] = []
        self._started = False

    @property
    def messages(self) -> int:
        """Messages taken so far, markers not counted."""
        return sum(stat.count for stat in self.stats)

    @property
    def dropped(self) -> int:
        """Messages lost to a full queue so far."""
        return sum(stat.dropped for stat in self.stats)

    def now_ns(self, node_ns: int) -> int:
        """Present time in the clock of the log: the node's, or by header the newest stamp."""
        return node_ns if self._clock.mode == "receive" else self._clock.newest_ns or node_ns

    def add(self, arrival: Arrival) -> None:
        """Take one message; while paused it is passed over."""
        if self.paused:
            self._writer.skip(arrival.index, arrival.data)
            return
        self.stats[arrival.index].miss(arrival.lost)
        log_ns = self._clock.stamp(arrival.header_ns, arrival.receive_ns)
        if log_ns is None:
            self._untimed.append(arrival)
            return
        self._open(log_ns)
        # In the time of the headers a time of sending in the system's clock would mean nothing.
        publish_ns = log_ns if self._clock.mode == "header" else arrival.send_ns or log_ns
        self._put(arrival, log_ns, publish_ns)

    def pause(self, paused: bool, node_ns: int) -> None:
        """Pass over what comes from now on, or take it again; both are marked.

        Args:
            paused: what shall hold now.
            node_ns: the node's clock now.
        """
        if paused == self.paused:
            return
        now_ns = self._last_ns(node_ns)
        self._open(now_ns)
        self._mark(PAUSE if paused else RESUME, "", now_ns)
        if not paused:
            self._pauses.append((self.watched_ns, now_ns))
        self.paused, self.watched_ns = paused, now_ns
        for stat in self.stats:
            stat.pause()

    def end(self, outcome: str, end_ns: int) -> str:
        """Write what waits and the end marker; returns the verdict.

        Args:
            outcome: one of ``core.recording.episodes.OUTCOMES``.
            end_ns: the node's clock now.
        """
        end_ns = self._last_ns(end_ns)
        self._open(end_ns)
        complete = self._mark(END, outcome, end_ns)
        found = verdict(self._topics, self.stats)
        if self.paused:
            self._pauses.append((self.watched_ns, end_ns))
        if found == FIT and complete and self._contract is not None:
            fault = times_fault(self._contract, self._times, self._pauses)
            found = f"{BY_TIMES}{fault}" if fault else found
        if not complete:
            before = "unfit:" if found == FIT else f"{found};"
            found = f"{before} end marker lost to a full write queue"
        return found

    def notes(self, drivers: Mapping[str, float]) -> str:
        """What is worth knowing besides the verdict.

        Args:
            drivers: s a source whose commands passed the gate; empty: none was heard.
        """
        return "; ".join(filter(None, (notes(self._topics, self.stats), driver_note(drivers))))

    def custom_data(
        self, outcome: str, found: str, drivers: Mapping[str, float]
    ) -> dict[str, str]:
        """Custom data of the bag's metadata.

        Args:
            outcome: how the episode went.
            found: the verdict of :meth:`end`.
            drivers: as of :meth:`notes`.
        """
        rounded = {source: round(s, 2) for source, s in drivers.items()}
        return {
            **self.info.custom_data(),
            keys.BAG_OUTCOME: outcome,
            BAG_VERDICT: found,
            BAG_NOTES: self.notes(drivers),
            **({BAG_DRIVERS: json.dumps(rounded)} if rounded else {}),
        }

    def _last_ns(self, node_ns: int) -> int:
        """Time of a marker: never before the last message, or it would stand between the data."""
        return max(self.now_ns(node_ns), self._clock.newest_ns or 0)

    def _open(self, log_ns: int) -> None:
        """With the first known time.

        Write the start marker and the messages that waited for one.
        """
        if self._started:
            return
        self._started = True
        if self._clock.mode == "header":
            self.start_ns = self.watched_ns = log_ns
        start_ns = min(self.start_ns, log_ns)
        self._mark(START, "", start_ns)
        for arrival in self._untimed:
            self._put(arrival, log_ns, log_ns)
        self._untimed.clear()

    def _mark(self, event: int, outcome: str, stamp_ns: int) -> bool:
        """Write a marker; False when the queue was full."""
        marker = self._make_marker(event, outcome, stamp_ns)
        return self._writer.put(len(self._topics), stamp_ns, stamp_ns, marker)

    def _put(self, arrival: Arrival, log_ns: int, publish_ns: int) -> None:
        """Count and hand over one message."""
        index, stats = arrival.index, self.stats[arrival.index]
        if not self._writer.put(index, log_ns, publish_ns, arrival.data):
            stats.dropped += 1
            return
        if stats.add(log_ns, arrival.names):
            self._times[self._topics[index].topic].add(arrival.header_ns, log_ns)
        self.bytes += len(arrival.data)
