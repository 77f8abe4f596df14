"""Streams that were older than their `max_age_s` when they were received."""

import numpy as np
import pytest

from roboalign_policy.core.fitness.clock_check import StreamTimes, clock_fault
from roboalign_policy.core.fitness.receipt_age import ages_ns, late_fault, late_notes

S = 1_000_000_000
MADE = 1_750_000_000 * S + np.arange(100) * S // 10


def stream(late_s, name="a", clock="header", max_age_s=0.3, made=MADE, clock_of=lambda ns: ns):
    """One stream at 10 Hz whose messages come `late_s` after their stamps.

    `clock_of` is the recorder's clock.
    """
    late_ns = np.round(np.asarray(late_s) * S).astype(np.int64)
    return StreamTimes(name, clock, made, clock_of(made + late_ns), max_age_s)


FRESH = stream(0.003, "fresh")


@pytest.mark.parametrize(
    ("streams", "fault"),
    [
        ([stream(0.29), FRESH], None),
        ([stream(0.3), FRESH], None),
        ([stream(0.301), FRESH], "late: a is 301 ms old when it is received (median of 100"),
        ([stream(0.5), FRESH], "expected at most max_age_s 0.3 s: live every frame would be"),
        ([stream(0.9), FRESH], "a is 900 ms old"),
        ([stream(0.5, clock="receive"), FRESH], None),
        ([stream(0.5, max_age_s=0.6), FRESH], None),
        ([stream(0.5, max_age_s=0.0), FRESH], None),  # a command
        ([stream(0.5), stream(0.4, "b")], "(or the recorder's, since no stream is fresh)"),
    ],
)
def test_what_could_not_be_driven_is_named(streams, fault):
    """With its age, its limit and what to change; nothing else says it."""
    assert clock_fault(streams, 10.0) is None
    found = late_fault(streams)
    assert (found is None) == (fault is None)
    assert fault is None or fault in found
    assert fault is None or "recorder" in fault or "recorder" not in found


def test_the_remedies_are_said():
    """All three of them."""
    found = late_fault([stream(0.5), FRESH])
    for remedy in ("Set the clock that stamps it", "raise max_age_s", "align.clock: receive"):
        assert remedy in found


def test_most_messages_decide():
    """A part of them is worth a note, a few are not."""
    for late, fault, note in ((0, False, False), (5, False, False), (6, False, True),
                              (50, False, True), (51, True, True)):  # fmt: skip
        streams = [stream(np.where(np.arange(100) < late, 0.45, 0.02)), FRESH]
        assert (late_fault(streams) is not None) == fault
        assert bool(late_notes(streams)) == note
    (note,) = late_notes([stream(np.where(np.arange(100) < 40, 0.45, 0.02)), FRESH])
    assert note.startswith("a: 40 of 100 messages were older than max_age_s 0.3 s")
    assert "(these by median 450 ms)" in note


# A recorder with another clock: a bag that was played and recorded again, a simulator


def later(ns):
    """The clock of a recorder four months on."""
    return ns + 10_000_000 * S


def slowly(ns):
    """The same, while the bag is played at half its speed."""
    return later(MADE[0] + 2 * (ns - MADE[0]))


def test_ages_are_then_differences():
    """Of what was received at the same moment."""
    fresh = stream(0.003, "fresh", clock_of=later)
    ages = ages_ns(stream(0.5, clock_of=later), fresh)
    assert 90 <= len(ages) < 100  # the last ones came after the other one's end
    np.testing.assert_allclose(ages / S, 0.497, atol=1e-6)


@pytest.mark.parametrize("clock_of", [later, slowly])
@pytest.mark.parametrize("begin", [0, 70])
def test_a_bag_that_was_played_is_judged_by_its_own_streams(clock_of, begin):
    """Also one that was played slowly, and where a stream begins late."""
    fresh = stream(0.003, "fresh", clock_of=clock_of)
    part = MADE[begin:]
    good = stream(0.02, made=part, clock_of=clock_of)
    late = stream(0.5, made=part, clock_of=clock_of)
    assert late_fault([good, fresh]) is None
    assert late_notes([good, fresh]) == []
    if clock_of is later:
        assert clock_fault([late, fresh], 10.0) is None
    found = late_fault([late, fresh])
    assert "a is 497 ms older than the fresh received with it" in found
    assert "recorder" not in found


def test_streams_that_never_met_say_nothing():
    """One ended before the other one began."""
    first = stream(0.003, "first", made=MADE[:40], clock_of=later)
    second = stream(0.5, "second", made=MADE[60:], clock_of=later)
    assert late_fault([first, second]) is None


@pytest.mark.parametrize("wait_s", [0, 4])
def test_where_the_reference_is_silent_nothing_is_known(wait_s):
    """Commands now and then, while the player waited once: no line between two of them."""

    def waiting(ns):
        return later(ns) + np.where(ns > MADE[10], wait_s, 0) * S

    command = stream(0.0, "command", max_age_s=0.0, made=MADE[[0, 98]], clock_of=waiting)
    good, late = stream(0.02, clock_of=waiting), stream(0.52, clock_of=waiting)
    for times in (good, late):
        assert len(ages_ns(times, command)) == 0
    assert late_fault([good, command]) is None


def test_messages_near_those_of_the_reference_count():
    """Within 1 s on both sides."""
    fresh = stream(0.0, "fresh", made=MADE[[0, 10, 20, 50, 60]], clock_of=later)
    ages = ages_ns(stream(0.0, clock_of=later), fresh)
    assert len(ages) == 21 + 11
    slow = stream(0.0, "slow", made=MADE[[0, 15, 30, 45]], clock_of=later)
    # Those from 0.5 to 1 s behind a message are within 1 s of the next one too.
    assert len(ages_ns(stream(0.0, clock_of=later), slow)) == 4 + 3 * 6
