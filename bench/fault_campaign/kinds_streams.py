"""Faults of the observation streams."""

from __future__ import annotations

from dataclasses import replace

from fault_campaign.contracts import JOINT_CONTRACT as J
from fault_campaign.contracts import TWIST_CONTRACT as T
from fault_campaign.kind import Kind, stream_fault

FRONT, WRIST, JOINTS, POSE = "image.front", "image.wrist", "state.joints", "state.ee"
STALE, FROZEN, JUMP = "OBSERVATION_STALE", "OBSERVATION_FROZEN", "CLOCK_JUMP"
_UNREADABLE, _NON_FINITE = "OBSERVATION_UNREADABLE", "OBSERVATION_NON_FINITE"

STREAMS: tuple[Kind, ...] = (
    stream_fault("camera_dropped", "front camera falls silent", T, FRONT, "drop", STALE),
    stream_fault("wrist_dropped", "wrist camera falls silent", J, WRIST, "drop", STALE),
    stream_fault("joints_dropped", "joint states fall silent", J, JOINTS, "drop", STALE),
    stream_fault("pose_dropped", "pose falls silent", T, POSE, "drop", STALE),
    stream_fault(
        "frozen_stamps",
        "camera repeats its last message, stamp and all",
        T,
        FRONT,
        "frozen_stamps",
        STALE,
        FROZEN,
    ),
    stream_fault(
        "frozen_pixels",
        "camera repeats its pixels under fresh stamps",
        T,
        FRONT,
        "frozen_pixels",
        FROZEN,
    ),
    stream_fault(
        "frozen_wrist",
        "wrist camera of a joint arm does so",
        J,
        WRIST,
        "frozen_pixels",
        FROZEN,
    ),
    stream_fault("camera_late", "camera 150 ms late", T, FRONT, "late", STALE, seconds=0.15),
    stream_fault(
        "joints_late", "joint states 150 ms late", J, JOINTS, "late", STALE, seconds=0.15
    ),
    stream_fault(
        "clock_back",
        "camera stamps jump back by 1 s",
        T,
        FRONT,
        "shift",
        JUMP,
        STALE,
        seconds=-1.0,
    ),
    stream_fault(
        "clock_forth", "camera stamps jump forth by 1 s", T, FRONT, "shift", JUMP, seconds=1.0
    ),
    stream_fault(
        "joints_clock_forth",
        "joint stamps jump forth by 1 s",
        J,
        JOINTS,
        "shift",
        JUMP,
        seconds=1.0,
    ),
    stream_fault("image_size", "images of half the height", T, FRONT, "size", _UNREADABLE),
    stream_fault("image_bytes", "images lack half of their bytes", T, FRONT, "bytes", _UNREADABLE),
    stream_fault("joint_missing", "a joint is missing", J, JOINTS, "missing", _UNREADABLE),
    stream_fault("joint_nan", "a joint is NaN", J, JOINTS, "value", _NON_FINITE, value="nan"),
    stream_fault("pose_inf", "the pose is inf", T, POSE, "value", _NON_FINITE, value="inf"),
    stream_fault(
        "joint_outside",
        "a joint beyond its limits",
        J,
        JOINTS,
        "value",
        "JOINT_LIMIT",
        "JOINT_VELOCITY",
        value="2.5",
    ),
    stream_fault(
        "joint_too_fast",
        "a joint jumps by 0.3 rad",
        J,
        JOINTS,
        "value",
        "JOINT_VELOCITY",
        value="0.3",
    ),
    # What the gate says of it names the axis and where it would be, not the stream.
    replace(
        stream_fault(
            "workspace", "end effector outside of its box", T, POSE, "outside", "WORKSPACE"
        ),
        detail="would be",
    ),
)
