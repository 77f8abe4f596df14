"""A setting that was given to a node and would not be taken: it does not start, and says why."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roboalign_policy.core.parameters.declared import ParameterError
from roboalign_policy.nodes.start import module_of
from roboalign_policy.ros.parameters import check_no_words

GOOD = {
    "safety_gate_node": "contract: sim_panda, cool_down_s: 2.0",
    "policy_node": "max_chunk_age_s: 2.0",
    "recorder_node": "ring_s: 1.0",
    "sim_robot_node": "seed: 3",
}


def refused(node, *arguments):
    """What a node says that does not start."""
    return refused_words(node, "--ros-args", *arguments)


def refused_words(node, *words):
    """The same of a whole command line."""
    command = [sys.executable, "-m", module_of(node), *words]
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


@pytest.mark.parametrize("node", GOOD)
def test_what_stands_outside_the_arguments_of_ros_is_named(ros_domain, node):
    inside = ["--ros-args", "-p", "contract:=sim_panda"]
    said = refused_words(node, "--params-file", "cool.yaml", *inside)
    assert (
        "command line: found --params-file cool.yaml outside --ros-args, where it would not be "
        "taken; expected it behind --ros-args, and before any --" in said
    )
    said = refused_words(node, *inside, "--", "-p", "cool_down_s:=30.0")
    assert "command line: found -p cool_down_s:=30.0 outside --ros-args" in said


@pytest.mark.parametrize(
    "words", [["-p", "cool_down_s:=30.0"], ["cool_down_s:=30.0"], ["--cool_down_s", "30.0"]]
)
def test_every_form_of_a_word_outside_is_named_by_check(words):
    inside = ["--ros-args", "-p", "contract:=sim_panda"]
    check_no_words([*inside, "--"])
    check_no_words([*inside, "--", "--ros-args", "--log-level", "info"])
    said = f"command line: found {' '.join(words)} outside --ros-args"
    for given in ([*words, *inside], [*inside, "--", *words], words):
        with pytest.raises(ParameterError, match=said):
            check_no_words(given)


def test_the_entry_point_of_all_nodes_names_words_outside_too(ros_domain):
    command = [sys.executable, "-m", "roboalign_policy.nodes.start", "safety_gate_node"]
    command += ["cool_down_s:=30.0", "--ros-args", "-p", "contract:=sim_panda"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "found cool_down_s:=30.0 outside --ros-args" in done.stderr
