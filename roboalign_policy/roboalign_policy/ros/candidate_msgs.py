"""Candidates as ROS messages: what policy_node and a person send, and the safety gate reads."""

from __future__ import annotations

from array import array

import numpy as np
from roboalign_msgs.msg import Candidate as CandidateMsg

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.ros.stamps import ns_to_stamp, stamp_to_ns

_NUMBERS = {kind: getattr(CandidateMsg, f"KIND_{kind.name}") for kind in CandidateKind}
_KINDS = {number: kind for kind, number in _NUMBERS.items()}
#: Fields of the message by those of a candidate, as they are and as stamps of ns.
_SAME = {"sequence": "sequence_id"} | {k: k for k in ("source", "reason", "chunk_id")}
_STAMPS = {
    f"{stage}_ns": f"{stage}_stamp"
    for stage in ("observation", "received", "requested", "answered")
}


def candidate_to_msg(candidate: Candidate, frame_id: str) -> CandidateMsg:
    """Message of a candidate; ``frame_id``: frame of the actions, the contract's ``base_frame``.

    Raises:
        ValueError: the data is not (T, A) with one name a dimension.
    """
    msg = CandidateMsg(
        kind=_NUMBERS[candidate.kind],
        dimension_names=list(candidate.names),
        step_s=float(candidate.step_s),
        **{theirs: getattr(candidate, ours) for ours, theirs in _SAME.items()},
        **{theirs: ns_to_stamp(getattr(candidate, ours)) for ours, theirs in _STAMPS.items()},
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
        stamp_ns=stamp_to_ns(msg.header.stamp),
        names=names,
        step_s=msg.step_s,
        data=data,
        **{ours: getattr(msg, theirs) for ours, theirs in _SAME.items()},
        **{ours: stamp_to_ns(getattr(msg, theirs)) for ours, theirs in _STAMPS.items()},
    )
