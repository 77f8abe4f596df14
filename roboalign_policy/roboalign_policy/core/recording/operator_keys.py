"""What the operator of a recording asks for, by key or button, and what it means now."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Ask(Enum):
    """What an operator may want; the values are the names on the command line."""

    GO = "go"  # begin an episode; end it as a success
    FAILURE = "failure"
    DISCARD = "discard"
    REDO = "redo"
    PAUSE = "pause"
    KEEP = "keep"
    NEXT = "next"
    BACK = "back"
    QUIT = "quit"


KEYS: dict[str, Ask] = {
    " ": Ask.GO,
    "f": Ask.FAILURE,
    "d": Ask.DISCARD,
    "r": Ask.REDO,
    "p": Ask.PAUSE,
    "k": Ask.KEEP,
    "n": Ask.NEXT,
    "b": Ask.BACK,
    "q": Ask.QUIT,
}
_NAMED = {"space": " ", "enter": "\n", "tab": "\t", "esc": "\x1b"}


class Deed(Enum):
    """What the panel does for an operator."""

    BEGIN = "begin"
    SUCCESS = "end as success"
    FAILURE = "end as failure"
    DISCARD = "throw away"
    REDO = "throw away and begin again"
    PAUSE = "pause"
    RESUME = "go on"
    KEEP = "keep the last seconds"
    MARK_FAILURE = "mark the last episode as failure"
    MARK_DISCARDED = "mark the last episode as discarded"
    NEXT = "next task"
    BACK = "task before"
    QUIT = "quit"


_RECORDING = {
    Ask.GO: Deed.SUCCESS,
    Ask.FAILURE: Deed.FAILURE,
    Ask.DISCARD: Deed.DISCARD,
    Ask.REDO: Deed.REDO,
}
_BETWEEN = {
    Ask.GO: Deed.BEGIN,
    Ask.FAILURE: Deed.MARK_FAILURE,
    Ask.DISCARD: Deed.MARK_DISCARDED,
    Ask.KEEP: Deed.KEEP,
    Ask.NEXT: Deed.NEXT,
    Ask.BACK: Deed.BACK,
    Ask.QUIT: Deed.QUIT,
}


def step_for(ask: Ask, recording: bool, paused: bool) -> Deed | None:
    """The action that a key triggers in the current state; None if the key has no effect.

    While an episode is recorded the task does not change and the panel does not quit: both would
    be a slip of the finger.
    """
    if recording and ask is Ask.PAUSE:
        return Deed.RESUME if paused else Deed.PAUSE
    return (_RECORDING if recording else _BETWEEN).get(ask)


def keys_from_text(text: str) -> dict[str, Ask]:
    """Keys of the panel, with changes: ``go=enter,failure=x`` (a foot pedal is a keyboard).

    Raises:
        ValueError: a wish or a key that does not exist, or a key for two wishes.
    """
    wanted: dict[str, Ask] = {}
    for ask, key in _pairs(text):
        key = _NAMED.get(key, key)
        if len(key) != 1:
            raise ValueError(f"keys: found {key!r}, expected a character or {', '.join(_NAMED)}")
        if key in wanted:
            raise ValueError(f"keys: found {key!r} for {ask.value} and {wanted[key].value}")
        wanted[key] = ask
    changed = set(wanted.values())
    kept = {k: a for k, a in KEYS.items() if a not in changed and k not in wanted}
    return {**kept, **wanted}


def buttons_from_text(text: str) -> dict[int, Ask]:
    """Buttons of a joystick (sensor_msgs/Joy): ``go=0,failure=1``.

    Raises:
        ValueError: a wish that does not exist, no number, or a button for two wishes.
    """
    found: dict[int, Ask] = {}
    for ask, button in _pairs(text):
        if not button.isdigit():
            raise ValueError(f"joy buttons: found {button!r}, expected the number of a button")
        if (other := found.get(int(button))) is not None:
            raise ValueError(f"joy buttons: found {button} for {ask.value} and {other.value}")
        found[int(button)] = ask
    return found


def pressed(before: list[int], now: list[int], buttons: Mapping[int, Ask]) -> list[Ask]:
    """Wishes of the buttons that went down between two messages."""
    down = (i for i, value in enumerate(now) if value and not (i < len(before) and before[i]))
    return [buttons[i] for i in down if i in buttons]


def _pairs(text: str) -> list[tuple[Ask, str]]:
    """The wishes and keys of a text.

    Raises:
        ValueError: a wish that does not exist.
    """
    pairs = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, key = (part.strip() for part in word.partition("="))
        if name not in {ask.value for ask in Ask} or not key:
            expected = ", ".join(ask.value for ask in Ask)
            raise ValueError(f"found {word!r}, expected NAME=KEY, NAME one of {expected}")
        pairs.append((Ask(name), key))
    return pairs
