"""The rules of a contract's action and commands, and what all rules share."""

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


def once(items: list[tuple[str, str]], what: str, fault: Fault) -> None:
    """Report (value, where) pairs whose value stands more than once."""
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
