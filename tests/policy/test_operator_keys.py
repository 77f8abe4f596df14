"""Keys, pedals and buttons of the recording panel."""

from __future__ import annotations

import pytest

from roboalign_policy.core.recording.operator_keys import (
    KEYS,
    Ask,
    Deed,
    buttons_from_text,
    keys_from_text,
    pressed,
    step_for,
)


def test_go_begins_and_ends():
    assert step_for(Ask.GO, recording=False, paused=False) is Deed.BEGIN
    assert step_for(Ask.GO, recording=True, paused=False) is Deed.SUCCESS
    assert step_for(Ask.GO, recording=True, paused=True) is Deed.SUCCESS


def test_pause_goes_both_ways_and_means_nothing_between_episodes():
    assert step_for(Ask.PAUSE, True, False) is Deed.PAUSE
    assert step_for(Ask.PAUSE, True, True) is Deed.RESUME
    assert step_for(Ask.PAUSE, False, False) is None


@pytest.mark.parametrize("ask", [Ask.NEXT, Ask.BACK, Ask.QUIT, Ask.KEEP])
def test_slips_while_recording_do_nothing(ask):
    assert step_for(ask, recording=True, paused=False) is None
    assert step_for(ask, recording=False, paused=False) is not None


def test_failure_between_episodes_judges_the_last_one():
    assert step_for(Ask.FAILURE, False, False) is Deed.MARK_FAILURE
    assert step_for(Ask.DISCARD, False, False) is Deed.MARK_DISCARDED


def test_every_wish_has_a_key_and_a_change_moves_only_its_own():
    assert set(KEYS.values()) == set(Ask)
    keys = keys_from_text("go=enter, failure=q")
    assert (keys["\n"], keys["q"], keys["d"]) == (Ask.GO, Ask.FAILURE, Ask.DISCARD)
    assert " " not in keys and Ask.QUIT not in keys.values()  # q was taken from it


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jump=x", "found 'jump=x', expected NAME=KEY, NAME one of go,"),
        ("go", "found 'go'"),
        ("go=ctrl", "found 'ctrl', expected a character or space"),
        ("go=x,redo=x", "found 'x' for redo and go"),
    ],
)
def test_wrong_keys_are_named(text, words):
    with pytest.raises(ValueError, match=words):
        keys_from_text(text)


def test_buttons_count_when_they_go_down():
    buttons = buttons_from_text("go=0, discard=3")
    assert pressed([0, 0, 0, 0], [1, 1, 0, 1], buttons) == [Ask.GO, Ask.DISCARD]
    assert pressed([1, 0, 0, 0], [1, 0, 0, 0], buttons) == []
    assert pressed([], [1], buttons) == [Ask.GO]
    with pytest.raises(ValueError, match="found 'a', expected the number"):
        buttons_from_text("go=a")
    with pytest.raises(ValueError, match="found 0 for failure and go"):
        buttons_from_text("go=0,failure=0")
