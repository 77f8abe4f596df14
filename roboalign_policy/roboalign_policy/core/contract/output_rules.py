"""The rules of a contract's outputs (written in place of commands) and of its safety section."""

from __future__ import annotations

from typing import Any

from roboalign_policy.core import keys
from roboalign_policy.core.contract.action_rules import Fault, check_controllers
from roboalign_policy.core.contract.faults import did_you_mean, shown

_JOINT_KEYS = ("stream", "joint_names", "base", "tip")
#: Keys that each kind needs, and those it may have beside them.
_NEEDED = {
    keys.JOINT_TRAJECTORY_OUTPUT: _JOINT_KEYS,
    keys.JOINT_GROUP_OUTPUT: _JOINT_KEYS,
    keys.POSE_OUTPUT: ("stream",),
    keys.GRIPPER_ACTION_OUTPUT: (),
}
_ALLOWED = {
    keys.JOINT_TRAJECTORY_OUTPUT: ("urdf", "frame_id"),
    keys.JOINT_GROUP_OUTPUT: ("urdf",),
    keys.POSE_OUTPUT: ("frame_id",),
    keys.GRIPPER_ACTION_OUTPUT: ("gain", "offset", "max_effort"),
}
_POSE_FIELDS = ("x", "y", "z", "qx", "qy", "qz", "qw")


def check_outputs(data: dict[str, Any], fault: Fault) -> None:
    """Report what is wrong with the outputs, alone and against dimensions and commands."""
    action = data.get("action", {})
    mode, commands = action.get("control_mode", ""), action.get("commands", [])
    streams = _state_fields(data)
    movers = 0
    for index, output in enumerate(action.get("outputs", [])):
        at, kind = f"action.outputs[{index}]", output.get("kind", "")
        if not kind:
            continue
        _keys_of_kind(output, kind, at, fault)
        check_controllers(output, at, fault)
        if kind == keys.GRIPPER_ACTION_OUTPUT:
            _covers({keys.GRIPPER_DIM}, commands, at, kind, fault)
            continue
        movers += 1
        if movers > 1:
            fault(f"{at}.kind", shown(kind), "one output that moves the arm", "two would fight")
        if mode and mode != keys.EE_DELTA:
            fault(
                f"{at}.kind",
                shown(kind),
                f"no such output for control_mode {mode}",
                "joint positions go out as commands",
            )
        _covers(set(keys.EE_DIMS), commands, at, kind, fault)
        _stream_of(output, kind, streams, at, fault)
    for index, command in enumerate(commands):
        kind = command.get("type", "")
        if command.get("send") == "chunk" and (
            kind != keys.JOINT_TRAJECTORY_TYPE or mode != keys.JOINT_POSITION
        ):
            fault(
                f"action.commands[{index}].send",
                "'chunk'",
                f"step for {kind} in control_mode {mode}",
                "only a JointTrajectory of joint positions holds a whole chunk",
            )
    sends = {command.get("send") for command in commands} - {None}
    if len(sends) > 1:
        fault("action.commands", "send: chunk and step", "the same send in every command")
    _stop_can_be_sent(action, commands, fault)


def check_safety(data: dict[str, Any], fault: Fault) -> None:
    """Report what is wrong with the safety section."""
    workspace = data.get("action", {}).get("safety", {}).get("workspace")
    if not workspace or not workspace.get("stream"):
        return
    streams, at = _state_fields(data), "action.safety.workspace.stream"
    name = workspace["stream"]
    if name not in streams:
        fault(
            at,
            shown(name),
            f"one of {', '.join(streams) or 'no stream'}",
            did_you_mean(name, streams),
        )
    elif missing := [axis for axis in "xyz" if streams[name].get(axis) != "m"]:
        fault(at, shown(name), "a stream with fields x, y, z in m", f"no {', '.join(missing)}")


def _state_fields(data: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Units by field by state stream."""
    return {
        s["key"]: {f.get("name", ""): f.get("unit", "") for f in s.get("fields", [])}
        for s in data.get("observations", [])
        if keys.is_state(s.get("key", ""))
    }


def _keys_of_kind(output: dict[str, Any], kind: str, at: str, fault: Fault) -> None:
    for name in _NEEDED[kind]:
        if name not in output:
            fault(f"{at}.{name}", "nothing", f"{name}, which kind {kind} needs")
    extra = ("stream", "joint_names", "base", "tip", "urdf", "frame_id")
    for name in extra:
        if name in output and name not in (*_NEEDED[kind], *_ALLOWED[kind]):
            fault(f"{at}.{name}", shown(output[name]), f"no {name} for kind {kind}")


def _covers(
    dims: set[str], commands: list[dict[str, Any]], at: str, kind: str, fault: Fault
) -> None:
    """An output takes the place of whole commands: one with other dimensions beside is torn."""
    carried: set[str] = set()
    for command in commands:
        names = set(command.get("fields", {}))
        carried |= names & dims
        if names & dims and not names <= dims:
            fault(
                f"{at}.kind",
                shown(kind),
                f"commands that carry {', '.join(sorted(dims))} and nothing else",
                f"{command.get('topic')} carries {', '.join(sorted(names - dims))} too",
            )
    if not carried:
        fault(f"{at}.kind", shown(kind), f"a dimension of {', '.join(sorted(dims))} in commands")


def _stream_of(
    output: dict[str, Any], kind: str, streams: dict[str, Any], at: str, fault: Fault
) -> None:
    name = output.get("stream")
    if not name:
        return
    if name not in streams:
        fault(
            f"{at}.stream",
            shown(name),
            f"one of {', '.join(streams) or 'no stream'}",
            did_you_mean(name, streams),
        )
        return
    fields = streams[name]
    joints = output.get("joint_names", [])
    if kind == keys.POSE_OUTPUT and set(_POSE_FIELDS) - set(fields):
        fault(f"{at}.stream", shown(name), f"a stream with fields {', '.join(_POSE_FIELDS)}")
    elif kind in keys.JOINT_OUTPUTS and joints and len(fields) != len(joints):
        fault(
            f"{at}.stream",
            f"{shown(name)} of {len(fields)} fields",
            f"the present positions of the {len(joints)} joint_names, in their order",
        )


def _stop_can_be_sent(
    action: dict[str, Any], commands: list[dict[str, Any]], fault: Fault
) -> None:
    """`safe: stop` is a trajectory without points: other messages cannot say it."""
    moving = {keys.JOINT_TRAJECTORY_TYPE, keys.TWIST_STAMPED_TYPE}
    others = sorted({c.get("type", "") for c in commands if c.get("type")} - moving)
    if action.get("safe") == "stop" and others:
        fault(
            "action.safe",
            "'stop'",
            f"hold, since {', '.join(others)} cannot say stop",
            "a JointTrajectory says it without points, a TwistStamped with zeros",
        )
