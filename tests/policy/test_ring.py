"""The ring of the last seconds."""

from __future__ import annotations

from roboalign_policy.core.recording.ring import Arrival, Ring


def arrival(second, size=10, index=0):
    return Arrival(index, None, round(second * 1e9), 0, bytes(size))


def seconds(arrivals):
    return [a.receive_ns / 1e9 for a in arrivals]


def test_only_the_last_seconds_are_kept_until_cleared():
    ring = Ring(2.0, 1000)
    for second in (0, 1, 2, 3, 3.5):
        ring.add(arrival(second))
    assert (len(ring), ring.bytes, ring.span_s()) == (3, 30, 1.5)
    assert seconds(ring.since(0)) == [2, 3, 3.5] == seconds(ring.since(0))
    ring.clear()
    assert (len(ring), ring.bytes, ring.since(0)) == (0, 0, [])


def test_a_part_of_it_may_be_taken():
    ring = Ring(10.0, 1000)
    for second in (0, 1, 2):
        ring.add(arrival(second))
    assert seconds(ring.since(round(0.5e9))) == [1, 2]


def test_bytes_are_bounded_whatever_comes():
    ring = Ring(100.0, 100)
    for second in range(50):
        ring.add(arrival(second, size=30))
        assert ring.bytes <= 100
    assert seconds(ring.since(0)) == [47, 48, 49]
    ring.add(arrival(60, size=500))
    assert (len(ring), ring.bytes) == (0, 0)


def test_without_a_span_nothing_is_kept():
    ring = Ring(0.0, 100)
    ring.add(arrival(1))
    assert (len(ring), ring.span_s()) == (0, 0.0)
