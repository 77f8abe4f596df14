"""The rules of a contract's action, commands, outputs and safety, and what all rules share.

Outputs are written in place of commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from roboalign_policy.core import keys
from roboalign_policy.core.contract.faults import WARNING, did_you_mean, shown
from roboalign_policy.core.contract.message_fields import has_header, path_fault
from roboalign_policy.core.contract.units import parse_unit

Fault = Callable[..., None]  # (key, found, expected, hint="", severity="error")

_NODE = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*\Z")

# Source: LIBERO and BridgeV2 actions; 1.0 is a step of so many metres or radians.
EE_DELTA_UNITS = {
    "dx": "m",
    "dy": "m",
    "dz": "m",
    "droll": "rad",
    "dpitch": "rad",
    "dyaw": "rad",
    "gripper": "1",
}

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


def once(items: list[tuple[str, str]], what: str, fault: Fault) -> None:
    """Report (value, where) pairs whose value occurs more than once."""
    first: dict[str, str] = {}
    for value, where in items:
        if value and value in first:
            fault(where, shown(value), f"a {what} used once", f"{first[value]} has it already")
        first.setdefault(value, where)


def check_clock(part: dict[str, Any], kind: str, at: str, fault: Fault) -> None:
    """Report an alignment by header stamps of a message that has none."""
    if part.get("align", {}).get("clock") == "header" and kind and not has_header(kind):
        fault(f"{at}.align.clock", "'header'", "receive", f"{kind} has no header")


def check_controllers(part: dict[str, Any], at: str, fault: Fault) -> None:
    """Report names of controllers that no node can have."""
    for index, name in enumerate(part.get("controllers", ())):
        where = f"{at}.controllers[{index}]"
        if not _NODE.match(name):
            fault(where, shown(name), "a node's name, as in `servo_node` or `left/servo_node`")
        elif name.startswith("/"):
            fault(
                where,
                shown(name),
                "a relative name",
                "an absolute one ignores the namespace: a second robot would take the first's",
                WARNING,
            )


def check_action(data: dict[str, Any], fault: Fault) -> None:
    """Report what is wrong with the dimensions of the action."""
    action = data.get("action", {})
    mode, dims = action.get("control_mode", ""), action.get("dims", [])
    once(
        [(d.get("name", ""), f"action.dims[{i}].name") for i, d in enumerate(dims)], "name", fault
    )
    present = {
        f.get("name", "") for s in data.get("observations", []) for f in s.get("fields", [])
    }
    for index, dim in enumerate(dims):
        at, name, limits = f"action.dims[{index}]", dim.get("name", ""), dim.get("limits", [])
        unit = parse_unit(dim["unit"])[1] if dim.get("unit") else ""
        if mode == keys.EE_DELTA and name:
            if name not in EE_DELTA_UNITS:
                fault(
                    f"{at}.name",
                    shown(name),
                    f"one of {', '.join(EE_DELTA_UNITS)}",
                    "these are the dimensions of ee_delta",
                )
            elif unit and unit != EE_DELTA_UNITS[name]:
                fault(
                    f"{at}.unit",
                    shown(dim["unit"]),
                    f"a factor and {EE_DELTA_UNITS[name]}",
                    f"the unit of {name}",
                )
            if limits and not limits[0] <= 0 <= limits[1]:
                fault(
                    f"{at}.limits",
                    shown(limits),
                    "limits with 0 inside",
                    "0 is the safe action: no motion",
                )
            if "max_rate" in dim:
                fault(
                    f"{at}.max_rate",
                    shown(dim["max_rate"]),
                    "no max_rate for ee_delta",
                    "a delta is bounded by its limits: limits * unit * rate_hz is the speed",
                )
        elif mode == keys.JOINT_POSITION and name:
            if dim.get("saturate"):
                fault(
                    f"{at}.saturate",
                    shown(dim["saturate"]),
                    "no saturate for joint_position",
                    "the nearest limit is another place than the one predicted",
                )
            if unit and unit not in ("rad", "m", "1"):
                fault(f"{at}.unit", shown(dim["unit"]), "rad, m or 1 for a position")
            if action.get("safe") == "hold" and name not in present:
                fault(
                    f"{at}.name",
                    shown(name),
                    "a field of that name in a state stream",
                    f"safe: hold keeps the present position; {did_you_mean(name, present)}",
                )


def check_commands(data: dict[str, Any], fault: Fault) -> None:
    """Report what is wrong with the commands, alone and against the dimensions."""
    action = data.get("action", {})
    dims = {d["name"]: d for d in action.get("dims", []) if d.get("name")}
    covered: dict[str, str] = {}
    for index, command in enumerate(action.get("commands", [])):
        at, kind = f"action.commands[{index}]", command.get("type", "")
        check_clock(command, kind, at, fault)
        _joints(command, kind, at, fault)
        check_controllers(command, at, fault)
        for name, field in command.get("fields", {}).items():
            where, path = f"{at}.fields.{name}", field.get("path", "")
            if name not in dims:
                fault(
                    where,
                    f"the unknown dimension {shown(name)}",
                    f"one of {', '.join(dims) or 'action.dims'}",
                    did_you_mean(name, dims),
                )
            elif name in covered:
                fault(
                    where,
                    f"the dimension {name!r} again",
                    "every dimension in one field",
                    f"{covered[name]} has it already",
                )
            else:
                covered[name] = where
                _speed_gain(data, dims[name], kind, field, where, fault)
            expected = path_fault(kind, path) if path else None
            if expected:
                fault(f"{where}.path", shown(path), expected)
    for name in dims:
        if name not in covered and action.get("commands"):
            fault(
                "action.commands",
                f"no field for the dimension {name!r}",
                "every dimension in exactly one field of one command",
            )


def _joints(command: dict[str, Any], kind: str, at: str, fault: Fault) -> None:
    """Trajectories and joint states name their joints; a path must not name another one."""
    takes = kind in (keys.JOINT_TRAJECTORY_TYPE, keys.JOINT_STATE_TYPE)
    names = command.get("joint_names")
    if takes and names is None:
        fault(
            f"{at}.joint_names",
            "nothing",
            "the joints of the message, in order",
            f"{kind} is written by name",
        )
    if kind and not takes and names is not None:
        fault(f"{at}.joint_names", shown(names), "no joint_names", f"{kind} names no joints")
    if "time_from_start_s" in command and kind and kind != keys.JOINT_TRAJECTORY_TYPE:
        fault(
            f"{at}.time_from_start_s",
            shown(command["time_from_start_s"]),
            "no time_from_start_s",
            f"only {keys.JOINT_TRAJECTORY_TYPE} has it",
        )
    for dim, field in command.get("fields", {}).items():
        step = re.search(
            r"\[([^\[\]]*[^0-9\[\]][^\[\]]*)\]\Z|\[([0-9]+)\]\Z", field.get("path", "")
        )
        if not (takes and names and step):
            continue
        if (step[1] and step[1] not in names) or (step[2] and int(step[2]) >= len(names)):
            fault(
                f"{at}.fields.{dim}.path",
                shown(field["path"]),
                f"an index or name of joint_names, {', '.join(names)}",
            )


def _speed_gain(
    data: dict[str, Any],
    dim: dict[str, Any],
    kind: str,
    field: dict[str, Any],
    where: str,
    fault: Fault,
) -> None:
    """A delta sent as a speed has one right gain; another one drives too fast or too slowly."""
    rate_hz = data.get("rate_hz") or 0.0
    path, gain = field.get("path", ""), field.get("gain") or 0.0
    if (
        data.get("action", {}).get("control_mode") != keys.EE_DELTA
        or not rate_hz > 0
        or kind != keys.TWIST_STAMPED_TYPE
        or not dim.get("unit")
        or not path
    ):
        return
    scale, unit = parse_unit(dim["unit"])
    right = 1.0 / (scale * rate_hz)
    if unit in ("m", "rad") and not abs(abs(gain) - right) <= 0.01 * right:
        fault(
            f"{where}.gain",
            f"{gain:g}",
            f"{right:g} = 1 / (unit * rate_hz) for speeds in SI",
            "right only where the controller takes speeds without unit",
            WARNING,
        )


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
