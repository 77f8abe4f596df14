"""What arrived of one stream, against the contract: rate, gaps, stamps, clocks, lateness."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.contract.faults import ERROR, WARNING
from roboalign_policy.core.contract.parts import Stream
from roboalign_policy.core.doctor.content_check import check_content
from roboalign_policy.core.doctor.finding import OK, Finding, counted, milliseconds
from roboalign_policy.core.doctor.graph_snapshot import GraphSnapshot
from roboalign_policy.core.doctor.stream_audit import (
    NOTABLE_STEPS,
    StreamAudit,
    StreamRecord,
    audit_stream,
)
from roboalign_policy.core.frames.joint_readings import joint_lists
from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.recording.stream_stats import RATE_TOLERANCE

FOREIGN_S = 10.0
"""A stamp so far from the present was made by another clock, not by a slow camera."""
FUTURE_S = 0.005
"""A stamp so far in the future is not explained by rounding or by a well-kept clock."""
_YEAR_2000_S = 946_684_800


def is_simulated(snapshot: GraphSnapshot) -> bool:
    """Tell whether the robot's time is /clock: it is published and is not the system's time."""
    offset_ns = snapshot.clock_offset_ns()
    return offset_ns is not None and abs(offset_ns) > 1e9


@dataclass(frozen=True)
class _Case:
    """One stream with all that its checks look at."""

    stream: Stream
    where: str
    rate_hz: float
    record: StreamRecord
    audit: StreamAudit
    snapshot: GraphSnapshot
    simulated: bool

    def finding(self, severity: str, check: str, found: str, expected: str, fix: str) -> Finding:
        return Finding(severity, check, self.stream.key, found, expected, fix)

    @property
    def drivers(self) -> str:
        """Nodes that publish the stream."""
        return ", ".join(e.node for e in self.snapshot.publishers_of(self.stream.topic)) or "?"


def check_stream(contract: Contract, index: int, snapshot: GraphSnapshot) -> Iterator[Finding]:
    """Check what arrived of one stream; an `ok` where nothing is wrong.

    Args:
        contract: the contract.
        index: which of its observations.
        snapshot: with the record of the stream.
    """
    stream, where = contract.observations[index], f"observations[{index}]"
    record, simulated = snapshot.streams[stream.key], is_simulated(snapshot)
    audit = audit_stream(record, contract.rate_hz, snapshot.start_ns, snapshot.end_ns, simulated)
    case = _Case(stream, where, contract.rate_hz, record, audit, snapshot, simulated)
    if not audit.count:
        content = list(check_content(record.content, where, 0))
        yield from content or [_silent(case)]
        return
    publishers = len(snapshot.publishers_of(stream.topic))
    found = [*_rate(case), *_stamps(case), *check_content(record.content, where, publishers)]
    yield from found
    if not found:
        late = audit.late.p50
        lateness = "" if math.isnan(late) else f", {milliseconds(late)} after its stamp"
        text = f"{audit.rate_hz:.1f} Hz{lateness}, content as in the contract"
        if record.sets.parts:
            text += "; its joints come in several messages, which are put together"
        if others := record.sets.others:
            joints = joint_lists(others)
            text += f"; passed over: {others.total()} messages of other joints ({joints})"
        yield Finding(OK, "stream", stream.key, text)


def _silent(case: _Case) -> Finding:
    listened_s = (case.snapshot.end_ns - case.snapshot.start_ns) / 1e9
    topic = case.snapshot.full_name(case.stream.topic)
    return case.finding(
        ERROR,
        "silence",
        f"no message on {topic} in {listened_s:.1f} s, although {case.drivers} publishes it"
        + (f" ({note})" if (note := case.record.sets.note()) else ""),
        f"{case.rate_hz:g} messages a second",
        "look at the driver's log: it is there but sends nothing (device unplugged, lifecycle "
        "node not active, a simulator in lock step that waits). If `ros2 topic hz` shows messages "
        "there, they do not reach this machine: `fastdds shm clean`, or look at the firewall",
    )


def _rate(case: _Case) -> Iterator[Finding]:
    audit, need, age_s = case.audit, case.rate_hz, case.stream.max_age_s
    period_s = 1 / audit.rate_hz if audit.rate_hz else math.inf
    refused = period_s > age_s
    if refused or audit.rate_hz < RATE_TOLERANCE * need:
        expected = f"at least {need:g} Hz (rate_hz of the contract)"
        fix = f"set the rate of {case.drivers} to {max(need, 2 / age_s):g} Hz or more"
        if refused:
            expected += f"; between two messages they grow older than max_age_s {age_s:g} s"
            fix += f", or raise {case.where}.max_age_s, if acting on older data is safe"
        else:
            fix += f", or rate_hz of the contract to {_round_down(audit.rate_hz):g} or less"
        yield case.finding(
            ERROR if refused else WARNING, "rate", f"{audit.rate_hz:.1f} Hz", expected, fix
        )
    if refused:
        return  # gaps would say the same again
    align = case.stream.align
    if align.method != "hold" and audit.period.p50 > align.tolerance_s:
        share = align.tolerance_s / audit.period.p50
        yield case.finding(
            WARNING,
            "align",
            f"{milliseconds(audit.period.p50)} between messages: only {share:.0%} of the frames "
            f"find one within align.tolerance_s {align.tolerance_s:g} s",
            f"a tolerance of at least the period for align.method: {align.method}",
            f"edit {case.where}.align.method to hold, or its tolerance_s to "
            f"{audit.period.p50 * 1.2:.2g}",
        )
    if audit.gaps:
        # One may be this machine's; two are the stream's.
        yield case.finding(
            ERROR if audit.gaps > 1 else WARNING,
            "gaps",
            f"{counted(audit.gaps, 'silence')} beyond {age_s:g} s, the longest "
            f"{audit.longest_gap_s:.2f} s",
            f"a message at least every {age_s:g} s (max_age_s): the policy holds until it comes",
            f"look for what stalls {case.drivers} or the network: load, USB bandwidth, Wi-Fi, "
            "Fast DDS without shared memory (docs/install.md); or raise "
            f"{case.where}.max_age_s, if acting on older data is safe",
        )
    elif audit.period.p99 > 2 * audit.period.p50 + 0.25 / need:
        yield case.finding(
            WARNING,
            "jitter",
            f"periods of {milliseconds(audit.period.p50)} (median) to "
            f"{milliseconds(audit.period.p99)} (99 %)",
            "a regular stream",
            "free a core for the driver, set the CPU governor to performance, avoid Wi-Fi",
        )


def _round_down(rate_hz: float) -> float:
    rate_hz *= 1.02  # 10 messages a second are measured as 9.98
    return math.floor(rate_hz) if rate_hz >= 2 else math.floor(rate_hz * 10) / 10


def _stamps(case: _Case) -> Iterator[Finding]:
    audit, where = case.audit, case.where
    if case.stream.align.clock == "receive":
        return  # stamps are not read
    if audit.unstamped:
        sim = [e.node for e in case.snapshot.publishers_of(case.stream.topic)
               if case.snapshot.use_sim_time.get(e.node)]  # fmt: skip
        fix = (
            f"let {case.drivers} fill header.stamp with the time of the measurement, or edit "
            f"{where}.align to {{clock: receive}}"
        )
        if sim and case.snapshot.clock is None:
            fix = f"ros2 param set {sim[0]} use_sim_time false (nobody publishes /clock)"
        yield case.finding(
            ERROR,
            "stamps",
            f"header.stamp is 0 in {audit.unstamped} of {audit.count} messages",
            "the time of the measurement (align.clock: header)",
            fix,
        )
    stamped = audit.count - audit.unstamped
    if stamped > 3 and audit.repeated == stamped - 1:
        yield case.finding(
            ERROR,
            "stamps",
            f"header.stamp stands still in {stamped} messages",
            "a new stamp with every measurement",
            f"restart {case.drivers}: it repeats an old message, or its clock stands",
        )
    elif audit.repeated > 0.05 * audit.count or audit.backward:
        yield case.finding(
            WARNING,
            "stamps",
            f"{audit.repeated} repeated stamps, {audit.backward} that go back",
            "rising stamps: of equal ones only the first is used",
            f"look whether two nodes publish the topic ({case.drivers}), or one repeats itself",
        )
    if math.isfinite(audit.late.p50) and (not stamped or audit.repeated < stamped - 1):
        yield from _lateness(case)


def _lateness(case: _Case) -> Iterator[Finding]:
    late = case.audit.late
    if abs(late.p50) > FOREIGN_S:
        yield _foreign_clock(case)
    elif late.p50 < -FUTURE_S:
        dangerous = -late.p50 > min(GateParameters().max_skew_s, NOTABLE_STEPS / case.rate_hz)
        yield case.finding(
            ERROR if dangerous else WARNING,
            "clock",
            f"stamps {milliseconds(-late.p50)} in the future",
            "stamps of the past; a message counts as that much fresher than it is, and the safety "
            f"gate stops at {milliseconds(GateParameters().max_skew_s)}",
            _synchronise(case),
        )
    elif late.p95 > case.stream.max_age_s:
        yield case.finding(
            ERROR,
            "late",
            _late_text(case),
            f"within max_age_s {case.stream.max_age_s:g} s: older is refused as stale",
            _late_fix(case),
        )
    elif case.audit.steps_late >= NOTABLE_STEPS:
        yield case.finding(
            WARNING,
            "late",
            _late_text(case),
            f"less than {NOTABLE_STEPS:g} control steps: in training data, which is aligned by "
            "the stamps, the policy saw it on time",
            _late_fix(case),
        )


def _late_text(case: _Case) -> str:
    audit = case.audit
    text = (
        f"{milliseconds(audit.late.p50)} late, {audit.steps_late:.1f} control steps "
        f"(95 %: {milliseconds(audit.late.p95)})"
    )
    before, way = audit.before_sending_s, audit.on_the_way_s
    if math.isfinite(before) and math.isfinite(way):
        text += f": {milliseconds(before)} before it was sent, {milliseconds(way)} on the way"
    return text


def _late_fix(case: _Case) -> str:
    audit = case.audit
    steady = audit.late.p99 - audit.late.p50 < 0.05 * audit.late.p50
    way = audit.on_the_way_s
    if math.isfinite(way) and way > 0.5 * audit.late.p50:
        fix = (
            "shorten the way: the Fast DDS profile of this package (docs/install.md), images by "
            "cable instead of Wi-Fi, compressed; clocks of two machines by chrony"
        )
    else:
        fix = (
            f"speed up {case.drivers}: smaller images, a higher frame rate, a queue of 1, no "
            "software filters, exposure below a period"
        )
    if steady:
        fix += "; so steady an offset can also be a clock that is behind: " + _synchronise(case)
    return (
        f"{fix}. If it has to stay: edit {case.where}.align to {{clock: receive}}, so that "
        "training data is as late as the robot (record, convert and train anew)"
    )


def _foreign_clock(case: _Case) -> Finding:
    late_s, snapshot = case.audit.late.p50, case.snapshot
    offset_ns = snapshot.clock_offset_ns() or 0
    way = "past" if late_s > 0 else "future"
    found = f"stamps {milliseconds(abs(late_s))} in the {way}"
    if case.simulated and abs(late_s - offset_ns / 1e9) < FOREIGN_S:
        return case.finding(
            ERROR,
            "clock",
            f"{found}: {case.drivers} stamps by the system's clock",
            "stamps by /clock, which is published here and is another time",
            f"start it with use_sim_time: ros2 param set {case.drivers} use_sim_time true",
        )
    newest_s = max(case.record.header_ns) / 1e9
    device = " (seconds since the device was started?)" if newest_s < _YEAR_2000_S else ""
    return case.finding(
        ERROR,
        "clock",
        f"{found}{device}: {case.drivers} has a clock of its own",
        "stamps by /clock" if case.simulated else "stamps by the system's clock",
        _synchronise(case),
    )


def _synchronise(case: _Case) -> str:
    return (
        "let the driver stamp by the computer's clock (realsense2_camera: "
        "rgb_camera.global_time_enabled), keep clocks of several machines together (`chronyc "
        f"tracking`, ptp4l), or edit {case.where}.align to {{clock: receive}}"
    )
