"""Those who only listen, controllers beside them, and a second gate or launch for the same arm."""

from __future__ import annotations

import functools
import time

from fault_campaign.contracts import JOINT_CONTRACT as J
from fault_campaign.contracts import TWIST_CONTRACT as T
from fault_campaign.kind import Kind
from fault_campaign.kinds_operator import disable, listen_as, restart_controller
from fault_campaign.kinds_processes import kill
from fault_campaign.rig import Rig
from fault_campaign.verdict import GOES_ON, SILENCE

#: Names under which rosbag2 and ros2cli listen, and one that nobody knows.
RECORDER, CLI, PLOTTER = "rosbag2_recorder", "_ros2cli_4711", "plotter"
_STEADY_S, _WAIT_S = 0.5, 60.0
_REFUSED = "another safety gate, /safety_gate_node"


def _start_observer(rig: Rig) -> None:
    if not rig.runs("observer"):
        rig.start("observer")


def _come(key: str, name: str, rig: Rig) -> int:
    """A listener comes, and stays until it has heard a command; the instant before."""
    _start_observer(rig)
    t_ns = rig.ask("observer", do="listen", key=key, name=name)["t_ns"]
    rig.operator.wait(
        lambda: rig.ask("observer", do="heard", key=key)["heard"], _WAIT_S, f"{name} to hear"
    )
    return t_ns


def _go(key: str, rig: Rig) -> int:
    return rig.ask("observer", do="leave", key=key)["t_ns"]


def _come_and_go(key: str, name: str, rig: Rig) -> int:
    t_ns = _come(key, name, rig)
    _go(key, rig)
    return t_ns


def _come_and_die(key: str, name: str, rig: Rig) -> int:
    t_ns = _come(key, name, rig)
    rig.kill("observer")
    return t_ns


def _there_first(rig: Rig) -> None:
    """A recorder listens, and the gate is enabled after it came."""
    _come("first", RECORDER, rig)
    disable(rig)
    operator = rig.operator
    operator.wait(lambda: operator.enable()[0], _WAIT_S, "the gate's consent", 0.1)
    operator.wait(lambda: operator.gate_state() == "ACTIVE", _WAIT_S, "motion")
    time.sleep(_STEADY_S)


def _record_beside(rig: Rig) -> None:
    """One that listens beside the controller, from before the fault until after its healing."""
    _start_observer(rig)
    rig.ask("observer", do="listen", key="beside", name=RECORDER)
    time.sleep(_STEADY_S)


def _no_longer_beside(heal: functools.partial, rig: Rig) -> None:
    heal(rig)
    _go("beside", rig)


def _start_second_gate(rig: Rig) -> int:
    """Start it, asking to be enabled, and wait until it has refused."""
    t_ns = time.monotonic_ns()
    rig.start("second_gate", wait=False)
    rig.operator.wait(lambda: _REFUSED in rig.said("second_gate"), _WAIT_S, "its refusal", 0.05)
    time.sleep(1.0)
    if "ready" in rig.said("second_gate"):
        raise RuntimeError("the second gate is enabled beside the first")
    return t_ns


def _launch_second(rig: Rig) -> int:
    """Start a second gate and a second policy beside the first ones, as a second launch does."""

    def launch() -> None:
        for name in ("second_gate", "second_policy"):
            rig.start(name, wait=False)

    return rig.operator.second_sender(launch, _WAIT_S)


def _end_second_launch(rig: Rig) -> None:
    rig.end("second_policy")
    rig.end("second_gate")


def _observer(name: str, text: str, robot: str, inject, **options) -> Kind:
    """Somebody who only listens: motion goes on."""
    return Kind(name, text, inject, (), robot, "sender", check=GOES_ON, **options)


def _visitor(name: str, text: str, robot: str, node: str, how) -> Kind:
    inject = functools.partial(how, name, node)
    return _observer(name, text, robot, inject, before=_start_observer)


OBSERVERS: tuple[Kind, ...] = (
    _visitor("recorder_visits", "`ros2 bag record` comes and goes", T, RECORDER, _come_and_go),
    _observer(
        "recorder_twice",
        "a second `ros2 bag record` beside one that the gate was enabled with, which then goes",
        J,
        lambda rig: (_come_and_go("second", RECORDER, rig), _go("first", rig))[0],
        before=_there_first,
    ),
    _visitor("hz_closed", "`ros2 topic hz` is closed", J, CLI, _come_and_go),
    _visitor("echo_killed", "`ros2 topic echo` is killed", T, CLI, _come_and_die),
    _visitor("listener_killed", "a listener of any name is killed", J, PLOTTER, _come_and_die),
    Kind(
        "controller_gone_beside",
        "the controller unsubscribes while a recorder listens on, then returns",
        functools.partial(listen_as, "nothing"),
        ("NO_CONTROLLER",),
        T,
        "sender",
        heal=functools.partial(_no_longer_beside, functools.partial(listen_as, "right")),
        before=_record_beside,
        check=SILENCE,
    ),
    Kind(
        "controller_dead_beside",
        "the controller is killed while a recorder listens on, then restarted",
        functools.partial(kill, "controller"),
        ("NO_CONTROLLER",),
        J,
        "sender",
        heal=functools.partial(_no_longer_beside, restart_controller),
        before=_record_beside,
        check=SILENCE,
    ),
    _observer(
        "second_gate",
        "a second gate of the same name starts, asking to be enabled",
        T,
        _start_second_gate,
        heal=lambda rig: rig.end("second_gate"),
    ),
    Kind(
        "second_launch",
        "a second launch, gate and policy of the same names",
        _launch_second,
        ("SEQUENCE", "TWO_SENDERS"),
        heal=_end_second_launch,
    ),
)
