"""Chunks, policy status and arm commands as ROS messages."""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
from roboalign_msgs.msg import ActionChunk, PolicyStatus

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.drive.drive import Drive
from roboalign_policy.core.drive.types import ModelRequest
from roboalign_policy.core.keys import JOINT_STATE_TYPE, JOINT_TRAJECTORY_TYPE
from roboalign_policy.core.messages.selectors import fill_command
from roboalign_policy.core.policy.accept import ChunkError
from roboalign_policy.core.policy.prediction import ChunkStatus, Prediction
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.stamps import ns_to_stamp

#: What a status is called in ActionChunk.decode_status; the first of each also back.
_DECODE = {
    ChunkStatus.OK: ActionChunk.DECODE_OK,
    ChunkStatus.UNDECODABLE: ActionChunk.DECODE_UNDECODABLE,
    ChunkStatus.NON_FINITE: ActionChunk.DECODE_NON_FINITE,
    ChunkStatus.OUT_OF_LIMITS: ActionChunk.DECODE_OUT_OF_LIMITS,
    ChunkStatus.WRONG_SHAPE: ActionChunk.DECODE_UNDECODABLE,
    ChunkStatus.WRONG_NAMES: ActionChunk.DECODE_UNDECODABLE,
}
_STATUSES = {number: status for status, number in reversed(_DECODE.items())}


def status_from_msg(msg: ActionChunk) -> ChunkStatus:
    """Return whether the chunk of a message may be executed, and if not why."""
    return _STATUSES[msg.decode_status]


def chunk_to_msg(
    contract: Contract,
    request: ModelRequest,
    prediction: Prediction,
    outcome: np.ndarray | ChunkError,
    *,
    sequence: int,
    stamp_ns: int,
    policy_hash: str,
    inference_s: float,
) -> ActionChunk:
    """Message of an answer, accepted or refused.

    Args:
        contract: names, units and rate of the actions.
        request: the observation that was asked about.
        prediction: the model's answer (tokens, reasoning).
        outcome: (T, A) float32 actions that will be executed, units of the contract; or why there
            are none.
        sequence: number of the chunk, from 1.
        stamp_ns: when the first action applies.
        policy_hash: SHA-256 hex of the checkpoint.
        inference_s: s; from request to answer.

    Raises:
        ValueError: a fault that says nothing about decoding (too old) has no place in this
            message.
    """
    refused = isinstance(outcome, ChunkError)
    if refused and outcome.kind not in _DECODE:
        raise ValueError(f"outcome: found {outcome.kind!r}, expected one of {', '.join(_DECODE)}")
    dims = contract.action.dims
    msg = ActionChunk(
        observation_stamp=ns_to_stamp(request.observation_ns),
        sequence_id=sequence,
        policy_hash=policy_hash,
        instruction=request.instruction,
        control_mode=contract.action.control_mode,
        dimension_names=[dim.name for dim in dims],
        dimension_units=[dim.unit for dim in dims],
        step_s=1.0 / contract.rate_hz,
        horizon=0 if refused else len(outcome),
        decode_status=_DECODE[outcome.kind] if refused else ActionChunk.DECODE_OK,
        decode_detail=outcome.detail if refused else "",
        fast_tokens=[int(token) for token in prediction.tokens],
        reasoning=prediction.reasoning or "",
        thought_age_s=_thought_age_s(request, prediction),
        inference_s=inference_s,
    )
    msg.header.stamp = ns_to_stamp(stamp_ns)
    msg.header.frame_id = contract.base_frame
    if not refused:
        msg.data = array("f", np.ascontiguousarray(outcome, dtype=np.float32).tobytes())
    return msg


def _thought_age_s(request: ModelRequest, prediction: Prediction) -> float:
    if not prediction.reasoning:
        return math.nan
    if request.thought is None:
        return 0.0
    return (request.observation_ns - request.thought.observation_ns) / 1e9


def actions_from_msg(msg: ActionChunk) -> np.ndarray:
    """Return the (T, A) float32 actions of a chunk message; (0, A) when it was refused."""
    return np.asarray(msg.data, np.float32).reshape(msg.horizon, len(msg.dimension_names))


def status_to_msg(
    drive: Drive | None,
    *,
    active: bool,
    reason: str,
    stamp_ns: int,
    policy_hash: str,
    rates_hz: tuple,
    enabled: bool,
    goal: bool,
) -> PolicyStatus:
    """Message of a policy node's status.

    Args:
        drive: its drive; None while not configured.
        active: lifecycle state active.
        reason: why it is not active; used only then.
        stamp_ns: ROS clock.
        policy_hash: SHA-256 hex of the checkpoint; empty while not configured.
        rates_hz: Hz; complete frames, valid chunks, commands.
        enabled: whether it does what the task topic says.
        goal: whether a RunPolicy goal is in force.
    """
    msg = PolicyStatus(state=PolicyStatus.STATE_INACTIVE, reason=reason, policy_hash=policy_hash)
    msg.enabled, msg.goal = enabled, goal
    msg.header.stamp = ns_to_stamp(stamp_ns)
    msg.observation_rate_hz, msg.chunk_rate_hz, msg.command_rate_hz = rates_hz
    msg.latency_p50_s = msg.latency_p95_s = msg.latency_p99_s = float("nan")
    if drive is None:
        return msg
    if active:
        msg.state = getattr(PolicyStatus, f"STATE_{drive.state.name}")
        msg.reason, msg.instruction = drive.reason, drive.instruction
    p50, p95, p99 = drive.latency.percentiles(50, 95, 99)
    msg.latency_p50_s, msg.latency_p95_s, msg.latency_p99_s = p50, p95, p99
    for name, value in vars(drive.counters).items():
        setattr(msg, name, value)
    return msg


class CommandWriter:
    """The command messages of one contract, filled anew for every step.

    Messages are made once and written over: publishing serialises them at once.
    """

    def __init__(self, contract: Any) -> None:
        """Make one message a command of the contract."""
        self._names = [dim.name for dim in contract.action.dims]
        self._commands = [(c, _blank(c, 1.0 / contract.rate_hz)) for c in contract.action.commands]

    def write(self, values: np.ndarray, stamp_ns: int) -> list[Any]:
        """Return the messages, in the contract's order of commands.

        Args:
            values: (A,) float32, units of the contract.
            stamp_ns: stamp of the messages.
        """
        by_name = dict(zip(self._names, values.tolist(), strict=True))
        stamp = ns_to_stamp(stamp_ns)
        for command, msg in self._commands:
            if hasattr(msg, "header"):
                msg.header.stamp = stamp
            fill_command(msg, command, by_name)
        return [msg for _, msg in self._commands]


def _blank(command: Any, step_s: float) -> Any:
    """Message of a command with all that does not change from step to step."""
    msg = message_class(command.type)()
    if hasattr(msg, "header"):
        msg.header.frame_id = command.frame_id or ""
    joints = list(command.joint_names or ())
    # The positions made here only give the lists their length: every one is written before a
    # message goes out.
    if command.type == JOINT_TRAJECTORY_TYPE:
        from trajectory_msgs.msg import (
            JointTrajectoryPoint,
        )  # only arms that take trajectories need it

        point = JointTrajectoryPoint(positions=[0.0] * len(joints))
        seconds, nanoseconds = divmod(round((command.time_from_start_s or step_s) * 1e9), 10**9)
        point.time_from_start.sec, point.time_from_start.nanosec = seconds, nanoseconds
        msg.joint_names, msg.points = joints, [point]
    elif command.type == JOINT_STATE_TYPE:
        msg.name, msg.position = joints, [0.0] * len(joints)
    return msg
