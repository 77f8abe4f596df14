"""A setting that was given to a node and would not be taken: it does not start, and says why."""

from __future__ import annotations

import subprocess
import sys

import pytest

GOOD = {
    "safety_gate_node": "contract: sim_panda, cool_down_s: 2.0",
    "policy_node": "max_chunk_age_s: 2.0",
    "recorder_node": "ring_s: 1.0",
    "sim_robot_node": "seed: 3",
}


def refused(node, *arguments):
    """What a node says that does not start."""
    command = [sys.executable, "-m", f"roboalign_policy.nodes.{node}", "--ros-args", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"{node}: cannot start")]
    assert len(lines) == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("node", GOOD)
def test_a_misspelt_key_or_node_and_a_missing_file_are_named(ros_domain, tmp_path, node):
    path = tmp_path / "settings.yaml"
    path.write_text(f"{node}:\n  ros__parameters: {{{GOOD[node]}, contrat: sim_panda}}")
    said = refused(node, "--params-file", str(path))
    assert (
        f"{path}: /{node}: contrat: /{node} has no such parameter: did you mean contract?" in said
    )
    path.write_text(f"{node}s:\n  ros__parameters: {{{GOOD[node]}}}")
    said = refused(node, "--params-file", str(path))
    assert f"{path}: /{node}s: found no such node: did you mean /{node}?" in said
    said = refused(node, "--params-file", f"{path}l")
    assert f"--params-file: found '{path}l' (no such file), expected a parameter file" in said


def test_wrong_values_are_named_with_their_place(ros_domain, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("/**:\n  ros__parameters: {contract: sim_panda, cool_down_s: 100.0}")
    said = refused("safety_gate_node", "--params-file", str(path))
    assert f"{path}: /**: cool_down_s: found 100.0, expected at most 60.0 s" in said
    path.write_text("/**:\n  ros__parameters: {contract: sim_panda, cool_down_s: 2}")
    said = refused("safety_gate_node", "--params-file", str(path))
    assert f"{path}: /**: cool_down_s: found 2, expected float, not int" in said
    said = refused("policy_node", "-p", "mode:=fast", "-p", "enabld:=true")
    assert (
        "command line: /**: enabld: /policy_node has no such parameter: did you mean enab" in said
    )
