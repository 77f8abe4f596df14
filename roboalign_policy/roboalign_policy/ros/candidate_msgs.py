"""Candidates as ROS messages: what policy_node and a person send, and the safety gate reads."""

from __future__ import annotations

from array import array

import numpy as np
from roboalign_msgs.msg import Candidate as CandidateMsg

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.ros.stamps import ns_to_stamp, stamp_to_ns

_NUMBERS = {kind: getattr(CandidateMsg, f"KIND_{kind.name}") for kind in CandidateKind}
_KINDS = {number: kind for kind, number in _NUMBERS.items()}


def candidate_to_msg(candidate: Candidate, frame_id: str) -> CandidateMsg:
    """Message of a candidate; ``frame_id``: frame of the actions, the contract's ``base_frame``.

    Raises:
        ValueError: the data is not (T, A) with one name a dimension.
    """
    msg = CandidateMsg(
        kind=_NUMBERS[candidate.kind],
        sequence_id=candidate.sequence,
        source=candidate.source,
        reason=candidate.reason,
        chunk_id=candidate.chunk_id,
        dimension_names=list(candidate.names),
        step_s=float(candidate.step_s),
        observation_stamp=ns_to_stamp(candidate.observation_ns),
        received_stamp=ns_to_stamp(candidate.received_ns),
        requested_stamp=ns_to_stamp(candidate.requested_ns),
        answered_stamp=ns_to_stamp(candidate.answered_ns),
    )
    msg.header.stamp = ns_to_stamp(candidate.stamp_ns)
    msg.header.frame_id = frame_id
    if candidate.data is not None:
        data = np.asarray(candidate.data, np.float64)
        if data.ndim != 2 or data.shape[1] != len(candidate.names):
            raise ValueError(
                f"data: found shape {data.shape}, expected (steps, {len(candidate.names)}) for "
                f"the dimensions {', '.join(candidate.names) or 'none'}"
            )
        msg.steps = len(data)
        msg.data = array("d", np.ascontiguousarray(data).tobytes())
    return msg


def candidate_from_msg(msg: CandidateMsg) -> Candidate:
    """Candidate of a message; values, names and limits are not judged here.

    Raises:
        ValueError: an unknown kind, or data that is not steps x dims; names field and value.
    """
    if msg.kind not in _KINDS:
        known = ", ".join(f"{number} ({kind.name})" for number, kind in _KINDS.items())
        raise ValueError(f"kind: found {msg.kind}, expected one of {known}")
    names = tuple(msg.dimension_names)
    if msg.steps * len(names) != len(msg.data):
        raise ValueError(
            f"data: found {len(msg.data)} values, expected steps {msg.steps} x "
            f"{len(names)} dimension_names"
        )
    data = np.array(msg.data, np.float64).reshape(msg.steps, len(names)) if msg.data else None
    return Candidate(
        kind=_KINDS[msg.kind],
        sequence=msg.sequence_id,
        source=msg.source,
        stamp_ns=stamp_to_ns(msg.header.stamp),
        reason=msg.reason,
        chunk_id=msg.chunk_id,
        names=names,
        step_s=msg.step_s,
        data=data,
        observation_ns=stamp_to_ns(msg.observation_stamp),
        received_ns=stamp_to_ns(msg.received_stamp),
        requested_ns=stamp_to_ns(msg.requested_stamp),
        answered_ns=stamp_to_ns(msg.answered_stamp),
    )
