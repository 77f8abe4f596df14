"""Messages lost on the way, by the publisher's numbers."""

from __future__ import annotations

from roboalign_policy.core.recording.sequence_count import SequenceCount


def gaps(*numbers, publishers=1):
    count = SequenceCount()
    return [count.take(number, publishers) for number in numbers]


def test_gaps_are_counted_whatever_number_comes_first():
    assert gaps(17, 18, 21, 22) == [0, 0, 2, 0]


def test_a_publisher_that_starts_anew_has_lost_nothing():
    assert gaps(8, 9, 1, 2, 4) == [0, 0, 0, 0, 1]


def test_numbers_of_several_publishers_and_none_at_all_say_nothing():
    assert gaps(1, 90, 2, 91, publishers=2) == [None] * 4
    assert gaps(0, 0) == [None, None]


def test_another_publisher_that_has_gone_leaves_no_gap():
    count = SequenceCount()
    assert [count.take(5, 1), count.take(80, 2), count.take(7, 1)] == [0, None, 0]


def test_another_subscription_begins_without_a_gap():
    count = SequenceCount()
    assert [count.take(2, 1), count.restart(), count.take(50, 1)] == [0, None, 0]
