"""Faults of the policy and of the processes and connections around the gate."""

from __future__ import annotations

import functools
import signal
import time

from fault_campaign.contracts import HORIZON, RATE_HZ
from fault_campaign.contracts import JOINT_CONTRACT as J
from fault_campaign.contracts import TWIST_CONTRACT as T
from fault_campaign.kind import BOUND_S, Kind, policy_fault
from fault_campaign.kinds_streams import STALE
from fault_campaign.rig import Rig
from fault_campaign.verdict import SILENCE

#: s; the accepted chunk is carried out, and then the default.
_CHUNK_S = HORIZON / RATE_HZ
_MODEL_GONE = {
    "bound_s": _CHUNK_S + BOUND_S,
    "why": f"the accepted chunk, {_CHUNK_S:g} s, is carried out",
    "record_s": 1.6,
}


DISCOVERY_S = 1.0


def kill(name: str, rig: Rig) -> int:
    """End a process at once."""
    return rig.kill(name)


def restart(name: str, rig: Rig) -> None:
    """Start a process anew, and wait until everybody must have found it."""
    rig.start(name)
    time.sleep(DISCOVERY_S)


def _send(name: str, number: int, rig: Rig) -> int:
    return rig.signal(name, number)


def _go_on(name: str, rig: Rig) -> None:
    rig.signal(name, signal.SIGCONT)


def _mend_link(rig: Rig) -> None:
    rig.link.mend()
    rig.operator.configure_policy_anew()


def _start_server(rig: Rig) -> None:
    rig.start("server")
    rig.operator.configure_policy_anew()


def _start_ended_gate(rig: Rig) -> None:
    rig.end("gate")
    restart("gate", rig)


def _killed(name: str, text: str, robot: str, process: str, *reasons: str, **options) -> Kind:
    """A process that is killed, and started anew after the record."""
    inject, heal = functools.partial(kill, process), functools.partial(restart, process)
    return Kind(name, text, inject, reasons, robot, heal=heal, **options)


def _standing(name: str, text: str, robot: str, process: str, *reasons: str, **options) -> Kind:
    """A process that stands still (SIGSTOP), and goes on after the record."""
    inject = functools.partial(_send, process, signal.SIGSTOP)
    heal = functools.partial(_go_on, process)
    return Kind(name, text, inject, reasons, robot, heal=heal, **options)


PROCESSES: tuple[Kind, ...] = (
    policy_fault("chunk_undecodable", "chunk does not decode", T, "undecodable"),
    policy_fault("chunk_nan", "chunk with a NaN", J, "nan"),
    policy_fault("chunk_inf", "chunk with an inf", T, "inf"),
    policy_fault("chunk_out_of_limits", "chunk out of limits", T, "out_of_limits"),
    policy_fault("chunk_shape", "chunk of another shape", J, "wrong_shape"),
    policy_fault("model_raises", "model raises an error", T, "raise", breaks=True),
    policy_fault(
        "model_hangs", "model does not answer any more", T, "hang", breaks=True, **_MODEL_GONE
    ),
    _killed(
        "policy_killed", "policy_node is killed, then restarted", T, "policy", "CANDIDATE_SILENT"
    ),
    _standing("policy_stands", "policy_node hangs (SIGSTOP)", J, "policy", "CANDIDATE_SILENT"),
    Kind(
        "network_cut",
        "the network to the policy server is cut",
        lambda rig: rig.link.cut(),
        ("SENDER_FAULT",),
        driver="remote",
        heal=_mend_link,
        **_MODEL_GONE,
    ),
    Kind(
        "server_killed",
        "the policy server is killed, then restarted",
        functools.partial(kill, "server"),
        ("SENDER_FAULT",),
        driver="remote",
        heal=_start_server,
        **_MODEL_GONE,
    ),
    _killed(
        *("gate_killed", "the gate is killed, then restarted (twist)", T, "gate"),
        check=SILENCE,
        policy_says="gate: ",
    ),
    _killed(
        *("gate_killed_joints", "the gate is killed, then restarted (joints)", J, "gate"),
        check=SILENCE,
        policy_says="gate: ",
    ),
    _standing(
        *("gate_stands", "the gate hangs (SIGSTOP), then goes on", T, "gate"),
        *("CANDIDATE_SILENT", "CANDIDATE_STALE", STALE),
        check=SILENCE,
        policy_says="gate: ",
    ),
    Kind(
        "gate_ended",
        "the gate is told to end (SIGINT)",
        functools.partial(_send, "gate", signal.SIGINT),
        ("INTERNAL",),
        J,
        heal=_start_ended_gate,
        policy_says="gate: ",
    ),
    _killed(
        "robot_killed", "all streams end, the robot restarts", J, "robot", STALE, "SENDER_FAULT"
    ),
)
