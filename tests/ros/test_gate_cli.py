"""`roboalign gate` against a live gate, and without one."""

from __future__ import annotations

import pytest
from policy_harness import Robot
from roboalign_msgs.msg import GateStatus
from std_msgs.msg import Bool

from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.nodes.clients.gate_client import STATES
from roboalign_policy.nodes.gate.gate_io import contract_of
from roboalign_policy.ros.qos import reliable_qos

reason = "needs both packages"
gate_cli = pytest.importorskip("roboalign_training.commands.gate_cli", reason=reason)
cli = pytest.importorskip("roboalign_training.cli", reason="needs both packages")


@pytest.mark.parametrize("policy", ["none", ""])
def test_a_gate_without_a_policy_names_that_and_no_contract_file(tmp_path, policy):
    with pytest.raises(ValueError) as caught:
        contract_of(GateParameters(policy=policy and str(tmp_path / policy)))
    assert "contract.yaml" not in str(caught.value)
    if policy:
        assert f"policy: {tmp_path / policy}: found no such folder" in str(caught.value)


@pytest.mark.parametrize("command", [["gate", "status"], ["run", "stack the blocks"]])
def test_a_namespace_that_is_none_is_named(capsys, command):
    assert cli.main([*command, "--namespace", "/a//b"]) == 2
    assert "--namespace: found '/a//b': " in capsys.readouterr().err


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


def test_estop_then_reset_as_in_the_readme(start_node, ros_domain, probe, capsys):
    """However fast one follows the other: the gate's cool-down is waited for."""
    Robot(probe)
    start_node("safety_gate_node", contract="sim_panda", cool_down_s=3.0)
    assert gate_cli.main(["status", "--timeout", "30"]) == 0
    assert gate_cli.main(["estop", "--timeout", "30"]) == 0
    assert gate_cli.main(["reset", "--timeout", "30"]) == 0
    said = capsys.readouterr()
    assert "reset: the gate cools down for" in said.err
    assert "reset: done: disabled; ~/enable to go on" in said.out


def test_a_reset_does_not_wait_for_a_button_that_is_pressed(start_node, ros_domain, probe, capsys):
    Robot(probe)
    button = probe.node.create_publisher(Bool, "estop", reliable_qos(1, latched=True))
    start_node("safety_gate_node", contract="sim_panda", cool_down_s=0.0)
    heard = probe.collect(GateStatus, "safety_gate_node/status", reliable_qos(10))
    button.publish(Bool(data=True))
    probe.until(lambda: heard and heard[-1].estop_pressed, what="the press")
    assert gate_cli.main(["reset", "--timeout", "30"]) == 1
    assert "refused: the emergency stop is pressed" in capsys.readouterr().out


def test_without_a_gate_it_says_so(ros_domain, capsys):
    assert gate_cli.main(["estop", "--timeout", "0.5"]) == 1
    assert "no service safety_gate_node/estop within 0.5 s" in capsys.readouterr().err
