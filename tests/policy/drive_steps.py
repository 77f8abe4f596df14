"""A drive of one dimension at 10 Hz, and its steps; shared by the tests of `core.drive.drive`."""

from types import SimpleNamespace

import numpy as np

from roboalign_policy.core.drive.chunk_buffer import ActionSpace
from roboalign_policy.core.drive.drive import Drive
from roboalign_policy.core.drive.types import DriveSettings
from roboalign_policy.core.frames.frames import Frame, Missing

STEP_NS = 100_000_000
T = 4
SPACE = ActionSpace(("dx",), np.array([-1.0]), np.array([1.0]), horizon=T)


def make_drive(lockstep=True, **settings):
    drive = Drive(SPACE, DriveSettings(lockstep=lockstep, step_s=0.1, **settings))
    drive.activate()
    return drive


def frame(step):
    return Frame(step * STEP_NS, {"state.ee": np.zeros(1, np.float32)}, {"state.ee": 0.0})


def missing(step):
    return Missing(step * STEP_NS, {"image.front": "stale: 0.42 s > 0.3 s"})


def prediction(value=0.1, status="ok", detail=""):
    actions = np.full((T, 1), value, np.float32) if status == "ok" else None
    return SimpleNamespace(actions=actions, status=status, detail=detail)


def step(drive, number, seen=None):
    """One control step at frame ``number``; steady time runs with it."""
    return drive.step(seen or frame(number), number * STEP_NS, number * 0.1)


def answer(drive, request, number, elapsed_s=0.05, **values):
    return drive.answer(request, prediction(**values), number * STEP_NS, elapsed_s, number * 0.1)


def run_lockstep(drive, steps, first=0):
    """(chunk, index) commanded at each frame, answering every request at once."""
    commanded = []
    for number in range(first, first + steps):
        result = step(drive, number)
        if result.request is not None:
            answer(drive, result.request, number)
            result = step(drive, number)
        commanded.append((result.action.sequence, result.action.index))
    return commanded
