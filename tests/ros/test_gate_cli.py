"""`roboalign gate` against a live gate, and without one."""

from __future__ import annotations

import pytest
from policy_harness import Robot

from roboalign_policy.nodes.gate_client import STATES

gate_cli = pytest.importorskip("roboalign_training.gate_cli", reason="needs both packages")


def test_every_state_has_its_name():
    assert STATES == {0: "disabled", 1: "ready", 2: "active", 3: "stopped", 4: "estop"}


def test_stop_reset_and_status_of_a_live_gate(start_node, ros_domain, probe, capsys):
    Robot(probe)
    start_node("safety_gate_node", contract="sim_panda", cool_down_s=0.0)
    assert gate_cli.main(["status", "--timeout", "30"]) == 0
    assert "disabled" in capsys.readouterr().out
    assert gate_cli.main(["enable", "--timeout", "30"]) == 1  # nobody listens to the commands
    assert "refused: no controller" in capsys.readouterr().out
    assert gate_cli.main(["estop", "--timeout", "30"]) == 0
    assert gate_cli.main(["status", "--timeout", "30"]) == 0
    assert "estop" in capsys.readouterr().out
    assert gate_cli.main(["reset", "--timeout", "30"]) == 0
    assert "disabled; ~/enable to go on" in capsys.readouterr().out


def test_without_a_gate_it_says_so(ros_domain, capsys):
    assert gate_cli.main(["estop", "--timeout", "0.5"]) == 1
    assert "no service safety_gate_node/estop within 0.5 s" in capsys.readouterr().err
