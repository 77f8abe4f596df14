"""A message that several subscriptions hear counts once, and the last one published holds."""

from __future__ import annotations

import itertools

import pytest

from roboalign_policy.core.last_word import LastWord


def taken(heard):
    """Those of (published, value) that count, in the order in which they were heard."""
    word = LastWord()
    return [value for published_ns, value in heard if word.is_news(published_ns)]


def test_copies_do_not_count():
    assert taken([(1, "a"), (1, "a"), (2, "b"), (1, "a"), (2, "b")]) == ["a", "b"]


def test_what_was_lost_and_sent_again_does_not_become_the_last_word():
    """Best effort loses 2 and hears 3; the reliable one gets both, later."""
    assert taken([(1, True), (3, True), (1, True), (2, False), (3, True)])[-1] is True


def test_a_publisher_whose_clock_is_behind_is_heard():
    assert taken([(1000, False), (5, True), (1000, False)])[:2] == [False, True]


def test_without_stamps_everything_counts():
    assert taken([(0, 1), (0, 2)]) == [1, 2]


@pytest.mark.parametrize("lost", [(), (2,), (4,), (2, 3), (1, 4)])
def test_however_two_subscriptions_are_mixed_the_last_word_is_the_last_one_published(lost):
    reliable = [1, 2, 3, 4]
    quick = [number for number in reliable if number not in lost]
    for places in itertools.combinations(range(8 - len(lost)), 4):
        slow, fast, mixed = iter(reliable), iter(quick), []
        for place in range(8 - len(lost)):
            number = next(slow) if place in places else next(fast)
            mixed.append((number, number))
        assert taken(mixed)[-1] == 4
        assert set(taken(mixed)) == set(reliable)
