"""Which stamps of a recording can be believed, and which clocks meet."""

import numpy as np
import pytest

from roboalign_policy.core.fitness.clock_check import (
    StreamTimes,
    clock_fault,
    mis_stamped,
    stamps_known,
)

S = 1_000_000_000
RECEIVED = 1_750_000_000 * S + np.arange(100) * S // 10


def stream(stamps, name="state.a", clock="header", received=RECEIVED):
    """One stream at 10 Hz."""
    return StreamTimes(name, clock, np.asarray(stamps, np.int64), received)


@pytest.mark.parametrize("bad", [0, 1312 * S, 1_750_000_037 * S + S // 2, 4_000_000_000 * S])
@pytest.mark.parametrize("places", [[50], [20, 21], [0]])
def test_few_stamps_of_another_time_are_found(bad, places):
    """They are estimated from when they came; the others stay."""
    stamps = RECEIVED - 3_000_000
    stamps[places] = bad
    if places == [0] and bad == 1312 * S:
        assert not mis_stamped(stream(stamps)).any()  # it may be an old latched message
        return
    wrong = mis_stamped(stream(stamps))
    assert np.flatnonzero(wrong).tolist() == places
    known = stamps_known(stream(stamps), wrong)
    np.testing.assert_array_equal(known, RECEIVED - 3_000_000)


def test_a_recorder_that_stalls_has_no_wrong_stamps():
    """Messages that waited come in a burst: their stamps still rise."""
    received = RECEIVED.copy()
    received[40:70] = received[70] + np.arange(30) * 1000 - 40_000
    assert not mis_stamped(stream(RECEIVED - S // 100, received=received)).any()


def test_stamps_in_another_order_are_no_other_time():
    """Neighbours that overtake each other are within the slack."""
    stamps = RECEIVED - 3_000_000
    stamps[[30, 31]] = stamps[[31, 30]]
    assert not mis_stamped(stream(stamps)).any()


def test_a_clock_that_was_reset_is_not_taken_apart():
    """It goes back and stays there."""
    stamps = RECEIVED.copy()
    stamps[60:] -= 5 * S
    assert not mis_stamped(stream(stamps)).any()


def test_times_of_receipt_are_believed():
    """Where the contract goes by them, stamps are not read."""
    stamps = RECEIVED.copy()
    stamps[50] = 0
    assert not mis_stamped(stream(stamps, clock="receive")).any()
    assert clock_fault([stream(stamps * 0, clock="receive")], 10.0) is None


@pytest.mark.parametrize(
    ("offsets", "clocks", "fault"),
    [
        ([-0.003, -0.001], "hh", None),
        ([-0.4, -0.001], "hh", None),
        ([0.04, -0.001], "hh", None),
        ([0.08, -0.001], "hh", "the stamps of a are 80 ms ahead of the time of receipt"),
        ([-1.4, -0.001], "hh", "the stamps of a are 1.400 s behind the time of receipt"),
        ([-50.0, -50.2, -50.1], "hhh", None),
        ([-50.0, -50.2, 0.0], "hhh", "the stamps of a are 50.000 s behind the time of receipt"),
        ([-50.0, -50.2, 30.0], "hhh", "the stamps of c are 80.000 s ahead of those of a, b"),
        ([-50.0, -50.2, 0.0], "hhr", "the stamps of a, b are 50.000 s behind the time of"),
        ([5.0, 0.0], "hr", "the stamps of a are 5.000 s ahead of"),
        ([5.0, 0.0], "rr", None),
    ],
)
def test_clocks_that_do_not_meet(offsets, clocks, fault):
    """The stream that is off is named, not the ones beside it."""
    streams = [
        stream(RECEIVED + round(offset * S), name, {"h": "header", "r": "receive"}[clock])
        for name, offset, clock in zip("abc", offsets, clocks, strict=False)
    ]
    found = clock_fault(streams, 10.0)
    assert (found is None) == (fault is None)
    assert fault is None or fault in found


def test_a_simulator_s_clock_may_begin_at_0():
    """A stamp of 0 is one there."""
    received = np.arange(100) * S // 10
    sim = StreamTimes("a", "header", received.copy(), received)
    assert not mis_stamped(sim).any() and clock_fault([sim], 10.0) is None
