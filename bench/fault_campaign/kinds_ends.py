"""Faults of the ends: a closed terminal, starters that die, settings that would not be taken."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fault_campaign.contracts import JOINT_CONTRACT as J
from fault_campaign.contracts import TWIST_CONTRACT as T
from fault_campaign.kind import Kind
from fault_campaign.kinds_processes import restart
from fault_campaign.rig import GATE_MODULE, Rig
from fault_campaign.verdict import GOES_ON, RELEASE

_START_S = 40.0
_BAD_FILE = "safety_gate_node:\n  ros__parameters: {cool_down: 5.0}\n"


def _hang_up(name: str, rig: Rig) -> int:
    return rig.signal(name, signal.SIGHUP)


def _kill_starter(name: str, rig: Rig) -> int:
    return rig.kill_starter(name)


def _hang_up_both(rig: Rig) -> int:
    t_ns = rig.signal("gate", signal.SIGHUP)
    rig.signal("policy", signal.SIGHUP)
    return t_ns


def _start_anew(names: tuple[str, ...], rig: Rig) -> None:
    for name in names:
        rig.end(name)
        restart(name, rig)


def _start_badly(rig: Rig) -> int:
    """A second gate, with a key that no gate has: it must not come up.

    Raises:
        RuntimeError: it did, or did not say why not.
    """
    t_ns = time.monotonic_ns()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gate.yaml"
        path.write_text(_BAD_FILE, encoding="utf-8")
        command = [sys.executable, "-m", GATE_MODULE, "--ros-args", "--params-file", str(path)]
        command += ["-p", f"contract:={rig.contract}", "-p", "enabled:=true"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_START_S, env=dict(os.environ)
        )
    wanted = f"{path}: /safety_gate_node: cool_down: "
    if done.returncode != 1 or wanted not in done.stderr or "Traceback" in done.stderr:
        raise RuntimeError(f"wrong parameter file: ended with {done.returncode}: {done.stderr}")
    return t_ns


def _ended(name: str, text: str, robot: str, inject, names: tuple[str, ...], **options) -> Kind:
    heal = functools.partial(_start_anew, names)
    return Kind(name, text, inject, heal=heal, robot=robot, **options)


ENDS: tuple[Kind, ...] = (
    _ended(
        *("gate_hung_up", "the gate's terminal closes (SIGHUP)", J),
        *(functools.partial(_hang_up, "gate"), ("gate",)),
        reasons=("INTERNAL",),
        policy_says="gate: ",
    ),
    _ended(
        *("all_hung_up", "the terminal of gate and policy closes (SIGHUP)", T),
        *(_hang_up_both, ("gate", "policy")),
        reasons=("INTERNAL",),
    ),
    _ended(
        *("gate_orphaned", "who started the gate is killed", T),
        *(functools.partial(_kill_starter, "gate"), ("gate",)),
        reasons=("INTERNAL",),
        policy_says="gate: ",
    ),
    _ended(
        *("policy_orphaned", "who started the policy is killed", T),
        *(functools.partial(_kill_starter, "policy"), ("policy",)),
        check=RELEASE,
    ),
    Kind(
        "wrong_parameter_file",
        "another gate is started with a misspelt key: it does not come up",
        _start_badly,
        check=GOES_ON,
        record_s=6.0,
    ),
)
