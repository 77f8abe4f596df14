"""How old the messages of a recording were when they were received, against `max_age_s`.

Live, the safety gate and the policy refuse an observation whose stamp is older than `max_age_s`. A
stream that is older already when it arrives is stale in every frame: because it is slow, or
because the clock that stamps it is behind. One recording cannot tell the two apart, and frames
made of it by its stamps are of what no live robot would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roboalign_policy.core.doctor.finding import counted, milliseconds
from roboalign_policy.core.fitness.clock_check import StreamTimes, reference_stream

NOTED_SHARE = 0.05
"""More messages than this share that are too old are worth a note; `roboalign doctor`'s 95 %."""


_NEAR_NS = 1_000_000_000
"""Further from a message of the reference stream, how old what it sends was is not known."""


def ages_ns(times: StreamTimes, reference: StreamTimes | None) -> np.ndarray:
    """Return how old the messages of a stream were when they were received.

    Args:
        times: the stream, which `is_stamped`.
        reference: None: receipt less stamp. A stream: by how much they were older than what was
            received of that one at the same moment. The clocks may run at different speeds (a bag
            played slowly, a slow simulator), so moments without a message of it within 1 s on both
            sides are passed over.

    Returns:
        (M,) int64, ns, at most one a message; with a reference a lower bound of the age.
    """
    if reference is None:
        return -times.offsets_ns
    order = np.argsort(reference.receive_ns, kind="stable")
    received, offsets = reference.receive_ns[order], reference.offsets_ns[order]
    begin, usual = received[0], offsets[0]  # float64 has no room for ns since 1970
    before = np.searchsorted(received, times.receive_ns, side="right") - 1
    after = np.searchsorted(received, times.receive_ns, side="left")
    within = (before >= 0) & (after < len(received))
    within &= times.receive_ns - received[np.maximum(before, 0)] <= _NEAR_NS
    within &= received[np.minimum(after, len(received) - 1)] - times.receive_ns <= _NEAR_NS
    theirs = np.interp(times.receive_ns[within] - begin, received - begin, offsets - usual)
    return np.rint(theirs).astype(np.int64) - (times.offsets_ns[within] - usual)


def late_fault(streams: Sequence[StreamTimes]) -> str | None:
    """Say which streams were too old in most messages when they were received; None: none.

    Args:
        streams: as for `clock_check.clock_fault`, which finds nothing.
    """
    reference = reference_stream(streams)
    aged = [times for times in streams if _has_age(times)]
    said = []
    for times in aged:
        ages = ages_ns(times, reference)
        if len(ages) and np.median(ages) > round(times.max_age_s * 1e9):
            old = f"older than the {reference.name} received with it" if reference else "old"
            said.append(
                f"{times.name} is {_median(ages)} {old} when it is received (median of "
                f"{counted(len(ages), 'message')}), expected at most max_age_s "
                f"{times.max_age_s:g} s"
            )
    if not said:
        return None
    clock = "the clock that stamps it"
    if len(said) == len(aged) and reference is None:
        clock += " (or the recorder's, since no stream is fresh)"
    return (
        f"late: {'; '.join(said)}: live every frame would be refused as stale. Set {clock}, or "
        "make its way shorter; or raise max_age_s, if acting on older data is safe; or set "
        "align.clock: receive, so that training data is as late as the robot"
    )


def late_notes(streams: Sequence[StreamTimes]) -> list[str]:
    """Say of streams that are fresh in most messages how many are too old, if many are.

    Args:
        streams: as for `late_fault`, which finds nothing.
    """
    if reference_stream(streams) is not None:
        return []  # how late anything was is not known
    found = []
    for times in filter(_has_age, streams):
        ages = ages_ns(times, None)
        late = ages[ages > round(times.max_age_s * 1e9)]
        if len(late) > NOTED_SHARE * len(ages):
            found.append(
                f"{times.name}: {len(late)} of {counted(len(ages), 'message')} were older than "
                f"max_age_s {times.max_age_s:g} s when they were received (these by median "
                f"{_median(late)}): live they would be refused as stale"
            )
    return found


def _has_age(times: StreamTimes) -> bool:
    """Whether a stream has a greatest age, and stamps to hold against it."""
    return times.is_stamped and times.max_age_s > 0


def _median(ages: np.ndarray) -> str:
    """Median of ages in ns, as people read it."""
    return milliseconds(float(np.median(ages)) / 1e9)
