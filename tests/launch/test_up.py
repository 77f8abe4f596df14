"""`roboalign up` drives the simulated arm and leaves no process behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from starting import alive, children, domain, drives_and_stops, wait_for

from roboalign_training.commands.up import parse_options

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)"
SUPERVISE = """
import sys
from roboalign_training.commands.up import supervise
sys.exit(supervise({}, 1.0))
"""


def supervisor(*scripts):
    """`supervise` in a process of its own, over Python one-liners."""
    commands = [(f"n{i}", [sys.executable, "-c", script]) for i, script in enumerate(scripts)]
    code = SUPERVISE.format(repr(commands))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_up_leaves_no_process_behind(number):
    """Also one that ignores ctrl-C ends; when `up` itself is killed the kernel tells its nodes."""
    process = supervisor(SLEEP, SLEEP if number == signal.SIGKILL else STUBBORN)
    nodes = wait_for(lambda: len(found := children(process.pid)) == 2 and found, 20, "two nodes")
    time.sleep(0.5)  # the deaf one has to install its handler
    process.send_signal(number)
    code = process.wait(20)
    assert code == (0 if number != signal.SIGKILL else -signal.SIGKILL)
    wait_for(lambda: not any(map(alive, nodes)), 5, "the nodes to end")


def test_up_stops_all_when_one_ends():
    process = supervisor(SLEEP, "import time; time.sleep(0.5); raise SystemExit(3)")
    nodes = wait_for(lambda: len(found := children(process.pid)) == 2 and found, 20, "two nodes")
    assert process.wait(20) == 3
    assert not any(map(alive, nodes))


@pytest.fixture
def drive_the_simulator(untrained_policy, tmp_path):
    """The command; thoughts are short, so that a busy machine keeps the gate's time."""
    params = tmp_path / "policy.yaml"
    params.write_text("policy_node:\n  ros__parameters:\n    max_think_tokens: 8\n")
    up = [sys.executable, "-m", "roboalign_training.commands.up", "--sim"]
    return [*up, "--policy", str(untrained_policy), "--params", str(params)]


def test_up_drives_the_simulated_arm_and_the_stop_reaches_it(drive_the_simulator, tmp_path):
    pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: source scripts/env.sh")
    drives_and_stops(drive_the_simulator, tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--contract", "gone.yaml"], "--contract: gone.yaml: "),
        (
            ["--remote", "ws://host:1", "--contract", "sim_panda"],
            "found beside --remote",
        ),
        (["--namespace", "bad name"], "--namespace: found 'bad name': Invalid namespace"),
        (["--task", "red_cube_on_plat"], "did you mean red_cube_on_plate?"),
        (["--task", "nonsense", "--suite", "goal"], "expected one of red_on_blue_plate, red_on_"),
        (["--gate-params", "~/none.yaml"], "--gate-params: found '~/none.yaml' (no such file)"),
        (["--params", "."], "--params: found '.' (a folder), expected a parameter file"),
    ],
)
def test_up_names_what_it_cannot_use(options, said, tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse_options(["--sim", "--policy", str(tmp_path), *options])
    assert said in " ".join(capsys.readouterr().err.split())


def test_ups_policy_is_found_outside_of_the_checkout(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ROBOALIGN_POLICY", raising=False)
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "checkout" / "a" / "b" / "core" / "policy" / "x.py"
    monkeypatch.setattr("roboalign_policy.core.policy.default_place.__file__", str(place))
    with pytest.raises(SystemExit):
        parse_options(["--sim"])
    assert "`roboalign demo` make one" in " ".join(capsys.readouterr().err.split())
    policy = tmp_path / "checkout" / "out" / "demo" / "grpo" / "policy"
    policy.mkdir(parents=True)
    assert parse_options(["--sim"]).policy == str(policy)
    best = policy.parents[1] / "best.json"
    best.write_text("{}")
    with pytest.raises(SystemExit):
        parse_options(["--sim"])
    assert f"--policy: {best}: policy: found None" in " ".join(capsys.readouterr().err.split())


def test_up_drives_and_says_what_it_sees_and_how_the_task_ended(drive_the_simulator, tmp_path):
    pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: source scripts/env.sh")
    log = tmp_path / "log"
    env = {**os.environ, "ROS_DOMAIN_ID": domain(), "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(drive_the_simulator, stdout=file, stderr=file, env=env)
    try:
        wait_for(
            lambda: "time limit: not done after 48 steps, 4.8 s" in log.read_text(), 90, "end"
        )
    finally:
        process.send_signal(signal.SIGHUP)
        assert process.wait(40) == 0
    said = log.read_text()
    assert "task object/red_cube_on_plate, seed 0: put the red cube on the plate" in said
    assert "]: sees: x " in said and "; thinks: " in said
    assert said.count("time limit") == 1 and "holding: no chunk" not in said
