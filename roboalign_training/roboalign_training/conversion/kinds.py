"""Kinds of reasons for which an episode is left out, to count like ones together."""

from __future__ import annotations

import re

DUPLICATE, OUTCOME, CAMERA_MISSING = "duplicate id", "outcome", "camera missing"
_NO_CAMERA = r"\S+ \(sensor_msgs/msg/(Compressed)?Image\) (is missing|holds no message)"
_KINDS = (
    (r"^outcome (failure|discarded|success|unknown)$", OUTCOME),
    (r"^unsafe:", "unsafe"),
    (r"^recorder's verdict:", "unfit by the recorder's verdict"),
    (r"^instruction: ", "unusable instruction"),
    (r"^too short:|^no frame has every stream", "too short"),
    (r"^gap of ", "gap"),
    (r"recovered, and a part is lost|is damaged|is cut off|is unfinished", "damaged"),
    (r"is no complete MCAP file|does not decode|: \d+ of \d+ messages read", "damaged"),
    (r"episode id .*already that of", DUPLICATE),
    (r"^episode .* (starts and never ends|ends and never started)", "without its other marker"),
    (r"^no instruction|^the instruction", "instruction"),
    (r"the clock goes back|^clock: |a stamp of another clock|without header stamp", "clock"),
    (r"^late: ", "late"),
    (r"^no readable message", "unreadable"),
    (r"^no message of image\.\w+(, image\.\w+)*\.", CAMERA_MISSING),
    (r"^no message of ", "unreadable"),
    # Where that is all: a bag that lacks other topics too is another robot's, or not whole.
    (rf"^topics of contract \w+: ({_NO_CAMERA}(; |\. ))+The bag has ", CAMERA_MISSING),
)


def kind_of(reason: str) -> str:
    """The kind of a reason; `does not fit the contract` if no pattern matches."""
    return next(
        (kind for pattern, kind in _KINDS if re.search(pattern, reason)),
        "does not fit the contract",
    )
