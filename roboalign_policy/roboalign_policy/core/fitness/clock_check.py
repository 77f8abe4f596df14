"""Whether the clocks of a recording's streams meet: stamps against the times of receipt.

A message is received after it was stamped, by as much as its way takes. Stamps that lie elsewhere
were made by another clock: a camera that counts from its start, one of TAI, a simulator that was
recorded by the wall clock. The rules are those that a live robot is held to by `roboalign doctor`
and the safety gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roboalign_policy.core.doctor.finding import milliseconds
from roboalign_policy.core.gate.parameters import GateParameters

JUMP_NS = 500_000_000
"""Stamps may be this much out of order; further back is another time (a simulator's reset)."""
LATE_S = 1.0
"""Lateness that every stream is believed; more than this and its max_age_s is another clock."""
FEW_SHARE, FEW = 0.02, 3
"""So many stamps of another time, as a share or a count, cost themselves and not the episode."""
_AHEAD_S = GateParameters().max_skew_s
_YEAR_2000_NS = 946_684_800 * 10**9


@dataclass(frozen=True)
class StreamTimes:
    """When the messages of one stream were stamped and received, in order of arrival.

    Attributes:
        name: key of an observation, topic of a command.
        clock: the contract's, `header` or `receive`.
        header_ns: (N,) int64, ns; None where its type has no header.
        receive_ns: (N,) int64, ns.
        max_age_s: s; how old it may be.
    """

    name: str
    clock: str
    header_ns: np.ndarray | None
    receive_ns: np.ndarray
    max_age_s: float = 0.0

    @property
    def stamps(self) -> np.ndarray | None:
        """(N,) int64, ns, on the contract's clock; None where it has no such time."""
        return self.receive_ns if self.clock == "receive" else self.header_ns

    @property
    def late_s(self) -> float:
        """Lateness up to which its stamps are of the same clock, s."""
        return max(LATE_S, self.max_age_s)

    @property
    def is_stamped(self) -> bool:
        """Whether there are messages and the contract aligns this stream by header stamps."""
        return self.clock != "receive" and self.header_ns is not None and len(self.header_ns) > 0

    @property
    def offsets_ns(self) -> np.ndarray:
        """(N,) int64, ns; how far each stamp is ahead of its message's receipt."""
        return np.asarray(self.header_ns) - self.receive_ns

    @property
    def offset_s(self) -> float:
        """Median of `offsets_ns`, s."""
        return float(np.median(self.offsets_ns)) / 1e9


def mis_stamped(times: StreamTimes) -> np.ndarray:
    """Which messages carry a time that is none of the stream around them.

    A stamp of 0 that was never set, or a few that jump away and come back. When such a message
    was made is not known, so it counts as unreadable at the time at which it was received.

    Returns:
        (N,) bool.
    """
    wrong = np.zeros(len(times.receive_ns), bool)
    if times.clock == "receive" or times.header_ns is None or len(wrong) < 2:
        return wrong
    stamps = np.asarray(times.header_ns)
    offsets = stamps - times.receive_ns
    breaks = np.flatnonzero(np.abs(np.diff(offsets)) > JUMP_NS) + 1
    if not len(breaks):
        return wrong
    usual = np.median(offsets)
    starts, ends = [0, *breaks.tolist()], [*breaks.tolist(), len(stamps)]
    fits = [
        abs(np.median(offsets[a:b]) - usual) <= JUMP_NS for a, b in zip(starts, ends, strict=True)
    ]
    foreign = np.zeros(len(wrong), bool)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if fits[number]:
            continue
        part = stamps[start:end]
        before = next((ends[n] - 1 for n in range(number - 1, -1, -1) if fits[n]), None)
        after = next((starts[n] for n in range(number + 1, len(starts)) if fits[n]), None)
        back = before is not None and part.min() < stamps[before] - JUMP_NS
        # Where nothing comes after it, a clock that goes back has been reset, and stays there.
        back = back and after is not None
        ahead = after is not None and part.max() > stamps[after] + JUMP_NS
        ahead = ahead or (after is None and (offsets[start:end] - usual).min() > JUMP_NS)
        foreign[start:end] = back or ahead
        wrong[start:end] = part == 0
    foreign &= ~wrong
    if np.count_nonzero(wrong) > len(wrong) / 2:
        wrong[:] = False  # it has no stamps at all: `clock_fault` says so
    if np.count_nonzero(foreign) <= max(FEW, FEW_SHARE * len(wrong)):
        wrong |= foreign
    return wrong


def stamps_known(times: StreamTimes, wrong: np.ndarray) -> np.ndarray:
    """Header stamps with an estimate where they are wrong: receipt, less the usual lateness.

    Args:
        times: the stream.
        wrong: (N,) bool, of `mis_stamped`.

    Returns:
        (N,) int64, ns.
    """
    stamps = np.array(times.header_ns)
    good = ~wrong
    usual = round(float(np.median(stamps[good] - times.receive_ns[good])))
    stamps[wrong] = times.receive_ns[wrong] + usual
    return stamps


def reference_stream(streams: Sequence[StreamTimes]) -> StreamTimes | None:
    """Find the stream by whose stamps the clocks of the others are judged.

    Returns:
        None where that is the time of receipt: the recorder's clock is the measure if any stream
        goes by it, else what most agree on.
    """
    stamped = [times for times in streams if times.is_stamped]
    if not stamped or any(_meets(times, 0.0) for times in stamped):
        return None
    return max(
        stamped,
        key=lambda other: (sum(_meets(t, other.offset_s) for t in stamped), other.offset_s),
    )


def clock_fault(streams: Sequence[StreamTimes], rate_hz: float) -> str | None:
    """Say which clock of a recording is off and by how much; None where all meet.

    Args:
        streams: observations and commands of the contract; those without a message are passed
            over. Without the messages of `mis_stamped`.
        rate_hz: of the contract.
    """
    stamped = [times for times in streams if times.is_stamped]
    for times in stamped:
        # A simulator's clock may begin at 0.
        unset = int(np.count_nonzero((times.header_ns == 0) & (times.receive_ns > JUMP_NS)))
        count = len(times.header_ns)
        if count > 1 and unset > count / 2:
            return (
                f"clock: header.stamp of {times.name} is 0 in {unset} of "
                f"{count} messages, expected the time of the measurement: let "
                "its driver set it, or set align.clock: receive"
            )
    reference = reference_stream(streams)
    usual_s = 0.0 if reference is None else reference.offset_s
    there = [times.name for times in stamped if _meets(times, usual_s)]
    off = [times for times in stamped if not _meets(times, usual_s)]
    if off:
        what = f"those of {', '.join(there)}" if reference else "the time of receipt"
        said = [_off_text(times, times.offset_s - usual_s, what) for times in off]
        agreed = f"; those of {', '.join(there)} agree with it" if there and not reference else ""
        return f"clock: {'; '.join(said)}{agreed}"
    by_receipt = [t.name for t in streams if t.clock == "receive" and len(t.receive_ns)]
    most_s = max(_AHEAD_S, 2 / rate_hz)
    if reference and by_receipt and not -LATE_S <= usual_s <= most_s:
        return (
            f"clock: the stamps of {', '.join(there)} are {_distance(usual_s)} the time of "
            f"receipt, by which {', '.join(by_receipt)} are aligned: recorded by another clock "
            "than the robot's (a simulator's needs use_sim_time for the recorder, two machines "
            "one clock); or set align.clock to header for all"
        )
    return None


def _meets(times: StreamTimes, other_s: float) -> bool:
    """Whether a stream's stamps can be of the clock that is `other_s` ahead of the receipt."""
    return other_s - times.late_s <= times.offset_s <= other_s + _AHEAD_S


def _off_text(times: StreamTimes, offset_s: float, what: str) -> str:
    text = f"the stamps of {times.name} are {_distance(offset_s)} {what}"
    newest = int(np.max(times.header_ns))
    if newest < _YEAR_2000_NS and offset_s < 0:
        text += " (seconds since the device was started?)"
    return text


def _distance(offset_s: float) -> str:
    """As in "37.000 s ahead of" or "250 ms behind"."""
    size = abs(offset_s)
    text = f"{size:.3f} s" if size >= 1 else milliseconds(size)
    return f"{text} {'ahead of' if offset_s > 0 else 'behind'}"
