"""Candidates as messages and back; what a malformed one says."""

from dataclasses import fields, replace

import numpy as np
import pytest

pytest.importorskip("roboalign_msgs", reason="roboalign_msgs is not built: run `make build`")

from roboalign_msgs.msg import Candidate as CandidateMsg

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.ros.candidate_msgs import candidate_from_msg, candidate_to_msg

MOTION = Candidate(
    kind=CandidateKind.MOTION,
    sequence=7,
    source="f" * 64,
    stamp_ns=1_700_000_000_123_456_789,
    chunk_id=3,
    names=("dx", "gripper"),
    step_s=0.1,
    data=np.array([[0.1, -1.0], [0.2, 1.0], [1.0 / 3.0, 0.0]]),
    observation_ns=1_700_000_000_000_000_001,
    received_ns=1_700_000_000_000_000_002,
    requested_ns=1_700_000_000_000_000_003,
    answered_ns=1_700_000_000_000_000_004,
)


@pytest.mark.parametrize(
    "candidate",
    [
        MOTION,
        Candidate(CandidateKind.ALIVE, 1, "teleoperation", 5),
        Candidate(CandidateKind.FAULT, 2, "f" * 64, 5, reason="image.front: stale"),
    ],
)
def test_there_and_back_nothing_changes(candidate):
    msg = candidate_to_msg(candidate, "base_link")
    assert msg.header.frame_id == "base_link"
    back = candidate_from_msg(msg)
    for field in fields(Candidate):
        wanted, found = getattr(candidate, field.name), getattr(back, field.name)
        if field.name == "data" and wanted is not None:
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == np.float64
        else:
            assert found == wanted, field.name


def test_every_kind_of_the_message_has_its_name():
    numbers = {name for name in dir(CandidateMsg) if name.startswith("KIND_")}
    assert numbers == {f"KIND_{kind.name}" for kind in CandidateKind}
    for kind in CandidateKind:
        msg = candidate_to_msg(replace(MOTION, kind=kind), "")
        assert msg.kind == getattr(CandidateMsg, f"KIND_{kind.name}")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"kind": 17}, r"kind: found 17, expected one of 0 \(ALIVE\)"),
        ({"steps": 2}, "data: found 6 values, expected steps 2 x 2"),
        ({"dimension_names": ["dx"]}, "data: found 6 values, expected steps 3 x 1"),
        ({"data": []}, "data: found 0 values, expected steps 3 x 2"),
        ({"steps": 0}, "data: found 6 values, expected steps 0 x 2"),
    ],
)
def test_malformed_messages_are_refused(values, text):
    msg = candidate_to_msg(MOTION, "base_link")
    for name, value in values.items():
        setattr(msg, name, value)
    with pytest.raises(ValueError, match=text):
        candidate_from_msg(msg)


def test_values_are_not_judged_here():
    data = np.array([[np.nan, 1e300]])
    back = candidate_from_msg(candidate_to_msg(replace(MOTION, data=data), "base_link"))
    np.testing.assert_array_equal(back.data, data)


@pytest.mark.parametrize("data", [np.zeros(2), np.zeros((1, 3))])
def test_data_of_another_shape_is_not_sent(data):
    with pytest.raises(ValueError, match=r"data: found shape .* expected \(steps, 2\) for .*dx"):
        candidate_to_msg(replace(MOTION, data=data), "base_link")
