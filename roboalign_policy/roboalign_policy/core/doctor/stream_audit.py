"""How fast, how regular and above all how late the streams of a robot arrive.

Lateness is the time of receipt minus the header's stamp. Data sets are aligned by the stamps, so
a camera that arrives two control steps late shows a policy something that it was never trained on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from roboalign_policy.core.contract.parts import Stream
from roboalign_policy.core.doctor.finding import milliseconds
from roboalign_policy.core.doctor.stream_content import StreamContent
from roboalign_policy.core.frames.joint_readings import JointSets, Share, named_joint

NOTABLE_STEPS = 0.5
"""From here on a stream counts as late: rounded, it is a step."""


class StreamRecord:
    """What arrived of one stream, in order of arrival.

    Attributes:
        content: what stood in the messages that were looked into.
        sets: messages of other joints, which are passed over, and parts of readings; the lists
            below hold readings alone.
        header_ns: stamps, ns; 0 where the publisher set none. Empty for types without header.
        receive_ns: times of receipt, ns, system time.
        source_ns: times of sending, ns, in the sender's system time; 0 where not known.
        clock_ns: /clock at receipt, ns; 0 where nothing was heard of it.
        largest: bytes of the largest message, serialised.
    """

    def __init__(self, stream: Stream) -> None:
        """Start empty."""
        self.content = StreamContent(stream)
        joints = (named_joint(field.path) for field in stream.fields)
        self.sets = JointSets(filter(None, joints), stream.max_age_ns)
        self.header_ns: list[int] = []
        self.receive_ns: list[int] = []
        self.source_ns: list[int] = []
        self.clock_ns: list[int] = []
        self.largest = 0

    def arrived(
        self,
        header_ns: int | None,
        receive_ns: int,
        source_ns: int = 0,
        clock_ns: int = 0,
        size: int = 0,
        names: Sequence[str] = (),
    ) -> None:
        """Note that a message arrived; see the attributes. `names`: joints that it names."""
        if names and self.sets.joints:
            self.content.names.update(dict.fromkeys(names))
            time_ns = receive_ns if header_ns is None else header_ns
            share = self.sets.take(names, time_ns)
            if share is Share.LACKING:
                self.content.lacks(names)
            if share is not Share.COMPLETE:
                return
        if header_ns is not None:
            self.header_ns.append(header_ns)
        self.receive_ns.append(receive_ns)
        self.source_ns.append(source_ns)
        self.clock_ns.append(clock_ns)
        self.largest = max(self.largest, size)


@dataclass(frozen=True)
class Spread:
    """Percentiles of durations in s; NaN where there is nothing to take them of."""

    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of_ns(cls, durations_ns: np.ndarray) -> Spread:
        """Percentiles of (N,) ns."""
        if not len(durations_ns):
            return cls(math.nan, math.nan, math.nan, math.nan)
        return cls(*(np.percentile(durations_ns, [50, 95, 99, 100]) / 1e9).tolist())


@dataclass(frozen=True)
class StreamAudit:
    """Rate, regularity and lateness of one stream.

    Attributes:
        key, topic: of the stream.
        count: messages received.
        rate_hz: messages a second between the first and the last; 0 for fewer than two.
        period: times between two messages.
        longest_gap_s: s; longest silence, from the beginning of listening to its end.
        gaps: silences longer than the stream's `max_age_s`.
        late: receipt minus header stamp; negative for stamps in the future.
        before_sending_s: s; sending minus header stamp, median: camera, driver, encoding.
        on_the_way_s: s; receipt minus sending, median; of two machines it holds their clocks.
        unstamped: messages whose stamp is 0.
        repeated: messages with the stamp of the one before.
        backward: messages with a stamp before that of the one before.
        steps_late: median lateness in control steps of the contract.
        other_joints: messages that were passed over, by the joints that they name.
    """

    key: str
    topic: str
    count: int
    rate_hz: float
    period: Spread
    longest_gap_s: float
    gaps: int
    late: Spread
    before_sending_s: float
    on_the_way_s: float
    unstamped: int
    repeated: int
    backward: int
    steps_late: float
    other_joints: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as plain data for JSON; what is not known is None."""
        return _without_nan(asdict(self))


def audit_stream(
    record: StreamRecord, rate_hz: float, start_ns: int, end_ns: int, simulated: bool
) -> StreamAudit:
    """Measure one stream.

    Args:
        record: what arrived between `start_ns` and `end_ns`.
        rate_hz: of the contract.
        start_ns: beginning of listening, ns, system time.
        end_ns: its end.
        simulated: the time of the robot is /clock; its messages are then taken by that time.
    """
    stream = record.content.stream
    receive = np.array(record.receive_ns, np.int64)
    now = np.array(record.clock_ns, np.int64) if simulated else receive
    header = np.array(record.header_ns, np.int64)
    source = np.array(record.source_ns, np.int64)
    stamped = header > 0
    has_header = len(header) == len(receive)
    known = now > 0
    late = (now - header)[stamped & known] if has_header else np.empty(0)
    sent = source > 0
    before = (source - header)[stamped & sent] if has_header and not simulated else np.empty(0)
    edges = np.concatenate([[start_ns], receive, [end_ns]])
    silences = np.diff(edges) / 1e9
    span_ns = int(now[known][-1] - now[known][0]) if known.any() else 0
    steps = np.diff(header[stamped])
    spread = Spread.of_ns(late)
    return StreamAudit(
        key=stream.key,
        topic=stream.topic,
        count=len(receive),
        rate_hz=(int(known.sum()) - 1) * 1e9 / span_ns if span_ns > 0 else 0.0,
        period=Spread.of_ns(np.diff(now[known])),
        longest_gap_s=float(silences.max()),
        gaps=int((silences > stream.max_age_s).sum()),
        late=spread,
        before_sending_s=Spread.of_ns(before).p50,
        on_the_way_s=Spread.of_ns((receive - source)[sent]).p50,
        unstamped=int((~stamped).sum()),
        repeated=int((steps == 0).sum()),
        backward=int((steps < 0).sum()),
        steps_late=spread.p50 * rate_hz,
        other_joints=dict(record.sets.others),
    )


def lateness_text(audit: StreamAudit, rate_hz: float) -> str:
    """Say in words how many control steps late a stream is, and what that means to a policy.

    Args:
        audit: of the stream.
        rate_hz: of the contract.
    """
    name = audit.key
    if not audit.count:
        return f"{name}: nothing arrived"
    if math.isnan(audit.late.p50):
        return f"{name}: lateness not known, its messages carry no stamp"
    steps, step_s = audit.steps_late, 1.0 / rate_hz
    amount = f"{milliseconds(abs(audit.late.p50))}, a step is {milliseconds(step_s)}"
    if steps < -0.05:
        return f"{name}: stamped {-steps:.1f} control steps in the future ({amount}): check clocks"
    period_s = audit.period.p50 if math.isfinite(audit.period.p50) else 0.0
    oldest = steps + period_s * rate_hz
    said = _steps_text(steps)
    amount += f"; 95 % within {milliseconds(audit.late.p95)}"
    before, way = audit.before_sending_s, audit.on_the_way_s
    if steps >= NOTABLE_STEPS and math.isfinite(before) and math.isfinite(way):
        amount += f"; {milliseconds(before)} before sending, {milliseconds(way)} on the way"
    used = f"in use the newest is {max(steps, 0.0):.1f} to {oldest:.1f} steps old"
    return f"{name}: {said} ({amount}); {used}"


def _steps_text(steps: float) -> str:
    """Lateness in whole steps where it is that regular, else between which two."""
    if steps < 0.1:
        return "on time"
    if steps < NOTABLE_STEPS:
        return f"{steps:.1f} of a control step late"
    whole = round(steps)
    if abs(steps - whole) <= 0.15:
        return f"{whole} control step{'s' if whole != 1 else ''} late"
    return f"{math.floor(steps)} to {math.ceil(steps)} control steps late"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
