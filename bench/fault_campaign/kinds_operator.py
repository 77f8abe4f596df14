"""Buttons, people, controllers, and a machine with too much to do."""

from __future__ import annotations

import functools
import time

from fault_campaign.contracts import JOINT_CONTRACT as J
from fault_campaign.kind import BOUND_S, Kind, robot_heals
from fault_campaign.kinds_processes import DISCOVERY_S, kill, restart
from fault_campaign.kinds_streams import FRONT, FROZEN, JOINTS, POSE, STALE, WRIST
from fault_campaign.rig import Rig
from fault_campaign.verdict import GOES_ON, NEVER, RELEASE, SILENCE

_RELEASE_S = 0.5
_DEADMAN = {"deadman_timeout_s": 0.1}
#: What a machine that is late may show first.
_LATE = (STALE, FROZEN, "SENDER_FAULT", "CANDIDATE_SILENT", "CANDIDATE_STALE")
_BLEND_IN_S = 0.5


def _button(name: str, value: bool, rig: Rig) -> int:
    return rig.ask("robot", do="button", name=name, value=value)["t_ns"]


def _hold(name: str, value: bool, rig: Rig) -> None:
    _button(name, value, rig)


def _silence(name: str, rig: Rig) -> int:
    return rig.ask("robot", do="silence_button", name=name)["t_ns"]


def disable(rig: Rig) -> None:
    """Close the gate in order and wait until its safe action is over."""
    rig.operator.enable(False)
    rig.operator.wait(lambda: rig.operator.gate_state() == "DISABLED", 5.0, "the gate's end")
    time.sleep(0.3)


def listen_as(how: str, rig: Rig) -> int:
    """The controller listens as it is told, see `controller.Controller`."""
    return rig.ask("controller", do=how)["t_ns"]


def _listen_again(rig: Rig) -> None:
    rig.ask("controller", do="right")


def restart_controller(rig: Rig) -> None:
    """Start it anew, and wait until motion must have returned."""
    restart("controller", rig)
    time.sleep(2 * DISCOVERY_S)  # motion must have had the time to return


def _read_parameters(rig: Rig) -> int:
    t_ns = time.monotonic_ns()
    rig.operator.read_gate_parameter("cool_down_s")
    return t_ns


def _restart_dead_gate(rig: Rig) -> None:
    if not rig.runs("gate"):
        rig.start("gate")


def _load(rig: Rig) -> None:
    rig.load.start()
    time.sleep(0.3)


def _unload(rig: Rig) -> None:
    rig.load.stop()
    robot_heals(rig)


def _flood(rig: Rig) -> None:
    for stream in (FRONT, WRIST, JOINTS, POSE):
        rig.ask("robot", do="fault", stream=stream, kind="flood")
    time.sleep(0.3)


def _drop_front(rig: Rig) -> int:
    return rig.ask("robot", do="fault", stream=FRONT, kind="drop")["t_ns"]


def _person_drives(rig: Rig) -> None:
    operator = rig.operator
    operator.person(True)
    operator.wait(lambda: operator.gate[-1][1].source == "teleoperation", 5.0, "the person")
    time.sleep(1.2 * _BLEND_IN_S)


OPERATOR: tuple[Kind, ...] = (
    Kind(
        "estop_topic",
        "e-stop by topic",
        functools.partial(_button, "estop", True),
        ("ESTOP",),
        heal=functools.partial(_hold, "estop", False),
    ),
    Kind("estop_service", "e-stop by service", lambda rig: rig.operator.press(), ("ESTOP",), J),
    Kind(
        "estop_disabled",
        "e-stop while disabled",
        functools.partial(_button, "estop", True),
        ("ESTOP",),
        heal=functools.partial(_hold, "estop", False),
        before=disable,
        check=NEVER,
    ),
    Kind(
        "estop_silent",
        "the e-stop's topic falls silent",
        functools.partial(_silence, "estop"),
        ("ESTOP",),
        heal=functools.partial(_hold, "estop", False),
        gate={"estop_timeout_s": 0.1},
    ),
    Kind(
        "deadman_released",
        "the dead-man input is released",
        functools.partial(_button, "deadman", False),
        ("DEADMAN",),
        J,
        heal=functools.partial(_hold, "deadman", True),
        gate=_DEADMAN,
    ),
    Kind(
        "deadman_silent",
        "the dead-man input falls silent",
        functools.partial(_silence, "deadman"),
        ("DEADMAN",),
        heal=functools.partial(_hold, "deadman", True),
        gate=_DEADMAN,
    ),
    Kind(
        "person_silent",
        "a person takes over, then falls silent",
        lambda rig: rig.operator.person(False),
        before=_person_drives,
        check=RELEASE,
        bound_s=_RELEASE_S + BOUND_S,
        why=f"a person has let go after teleop_release_s, {_RELEASE_S:g} s",
    ),
    Kind(
        "dry_run",
        "dry run, and the camera falls silent",
        _drop_front,
        (STALE, "SENDER_FAULT"),
        heal=robot_heals,
        check=NEVER,
        gate={"dry_run": True},
    ),
    Kind(
        "controller_gone",
        "the controller unsubscribes, then returns",
        functools.partial(listen_as, "nothing"),
        ("NO_CONTROLLER",),
        J,
        heal=_listen_again,
        check=SILENCE,
    ),
    Kind(
        "controller_other_qos",
        "the controller subscribes with another QoS",
        functools.partial(listen_as, "other"),
        ("NO_CONTROLLER",),
        heal=_listen_again,
        check=SILENCE,
    ),
    Kind(
        "controller_killed",
        "the controller is killed, then restarted",
        functools.partial(kill, "controller"),
        ("NO_CONTROLLER",),
        J,
        heal=restart_controller,
        check=SILENCE,
    ),
    Kind(
        "subscriber_beside",
        "a subscriber with another QoS beside the controller",
        functools.partial(listen_as, "both"),
        heal=_listen_again,
        check=GOES_ON,
    ),
    Kind(
        "parameters_read",
        "somebody reads the gate's parameters, as ros2 param and doctor do",
        _read_parameters,
        heal=_restart_dead_gate,
        check=GOES_ON,
    ),
    Kind(
        "busy_machine",
        "10 busy processes a core, then the camera falls silent",
        _drop_front,
        _LATE,
        heal=_unload,
        before=_load,
        may_stop_early=True,
    ),
    Kind(
        "flood",
        "10 times the messages of all streams, then the camera falls silent",
        _drop_front,
        _LATE,
        J,
        heal=robot_heals,
        before=_flood,
        may_stop_early=True,
    ),
)
