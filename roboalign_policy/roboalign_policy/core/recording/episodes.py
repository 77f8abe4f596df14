"""Bookkeeping of a recording: names of episodes, which topics, which time."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from roboalign_policy.core.frames.joint_readings import named_joint
from roboalign_policy.core.instruction import instruction_fault
from roboalign_policy.core.keys import STRING_TYPE
from roboalign_policy.core.messages.selectors import by_name
from roboalign_policy.core.recording.compression import AUTO, CompressionChoice

OUTCOMES = ("unknown", "success", "failure", "discarded")
BAG_OPERATOR = "roboalign.operator"
BAG_VERDICT = "roboalign.verdict"
BAG_LOG_TIME = "roboalign.log_time"
BAG_NOTES = "roboalign.notes"
#: JSON, s a source whose commands passed the safety gate: "teleoperation" or a policy's hash.
BAG_DRIVERS = "roboalign.driven_by_s"
#: JSON, name in the contract -> name in the bag, of topics that were remapped.
BAG_TOPICS = "roboalign.topics"
#: Markers of an episode, as of roboalign_msgs/msg/Episode.
START, END, PAUSE, RESUME = range(4)
_EPISODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RecordingError(ValueError):
    """An episode that cannot be started or ended as asked; the text names field and value."""


def make_episode_id(now: datetime | None = None) -> str:
    """Name for an episode: UTC time to the second and four random digits, e.g.

    ``20250102T030405-1a2b``.
    """
    now = now or datetime.now(timezone.utc)
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def check_episode_id(episode_id: str) -> None:
    """Refuse a name that cannot be a folder beside the others.

    Raises:
        RecordingError: other characters than letters, digits, ``. _ -``, a leading dot, or over
            100 characters.
    """
    if not _EPISODE_ID.fullmatch(episode_id):
        raise RecordingError(
            f"episode_id: found {episode_id!r}, expected 1 to 100 letters, digits, '.', '_' or "
            "'-', not starting with '.'"
        )


def check_instruction(instruction: str) -> None:
    """Refuse a text that no policy could be asked to do.

    Raises:
        RecordingError: it is empty, or holds a tag of a chat template or an answer.
    """
    if not instruction.strip():
        raise RecordingError(
            "instruction: found an empty text, expected what the demonstrator is asked to do"
        )
    if fault := instruction_fault(instruction):
        raise RecordingError(f"instruction: {fault}")


def check_outcome(outcome: str) -> None:
    """Refuse an outcome that is none of :data:`OUTCOMES`.

    Raises:
        RecordingError: naming the value.
    """
    if outcome not in OUTCOMES:
        raise RecordingError(f"outcome: found {outcome!r}, expected one of {', '.join(OUTCOMES)}")


@dataclass(frozen=True)
class RecordedTopic:
    """One topic to subscribe to.

    Attributes:
        topic: as in the contract (relative names are in the node's namespace).
        type: ROS 2 message type.
        qos: the contract's QoS entry.
        expected_hz: Hz; 0 where no rate is asked for.
        required: an episode without any message of it is not fit for training.
        compression: in the bag, one of ``core.recording.compression.COMPRESSIONS``.
        command: what the arm obeys; the safety gate watches who subscribes to it.
        joints: that the contract reads of it by name; messages that name others do not count for
            its rate and gaps.
        apart_s: s; stamps of the parts of one reading are at most so far apart.
    """

    topic: str
    type: str
    qos: Any
    expected_hz: float
    required: bool
    compression: str
    command: bool = False
    joints: tuple[str, ...] = ()
    apart_s: float = 0.0


def recorded_topics(
    contract: Any, compression: CompressionChoice | None = None
) -> tuple[RecordedTopic, ...]:
    """Topics to record: observations, commands, task, extra topics; each once.

    Args:
        contract: ``roboalign_policy.core.contract.contract.Contract``.
        compression: of each; ``auto`` where it is left out.

    Raises:
        CompressionError: it names a topic that is not among them.
    """
    choice = compression or CompressionChoice(AUTO)
    rate_hz, task = contract.rate_hz, contract.task
    wanted = [
        *((s.topic, s.type, s.qos, rate_hz, True) for s in contract.observations),
        *((c.topic, c.type, c.qos, rate_hz, True) for c in contract.action.commands),
        (task.topic, STRING_TYPE, task.qos, 0.0, False),
        *((e.topic, e.type, e.qos, 0.0, False) for e in contract.extra_topics),
    ]
    found: dict[str, RecordedTopic] = {}
    commands = {c.topic for c in contract.action.commands}
    joints = {s.topic: ([f.path for f in s.fields], s.max_age_s) for s in contract.observations}
    joints |= {c.topic: (by_name(c), c.align.tolerance_s) for c in contract.action.commands}
    for topic, msg_type, *rest in wanted:
        if topic not in found:
            compression = choice.of(topic, msg_type)
            paths, apart_s = joints.get(topic, ((), 0.0))
            names = tuple(filter(None, map(named_joint, paths)))
            found[topic] = RecordedTopic(
                topic, msg_type, *rest, compression, topic in commands, names, apart_s
            )
    choice.check(list(found))
    return tuple(found.values())


class LogClock:
    """Chooses the time under which a message is filed.

    ``receive``: when it arrived. ``header``: the stamp it carries; one without a stamp takes the
    newest stamp seen in the episode, or ``None`` while there is none (the caller keeps it until
    there is).
    """

    MODES = ("receive", "header")

    def __init__(self, mode: str):
        """Begin an episode.

        Raises:
            RecordingError: ``mode`` is none of :data:`MODES`.
        """
        if mode not in self.MODES:
            raise RecordingError(
                f"log_time: found {mode!r}, expected one of {', '.join(self.MODES)}"
            )
        self.mode = mode
        self.newest_ns: int | None = None

    def stamp(self, header_ns: int | None, receive_ns: int) -> int | None:
        """Time in ns of a message.

        ``header_ns`` is None for a type without a stamp, 0 where it was not set.
        """
        chosen = receive_ns if self.mode == "receive" else header_ns or self.newest_ns
        if chosen is not None:
            self.newest_ns = max(chosen, self.newest_ns or 0)
        return chosen
