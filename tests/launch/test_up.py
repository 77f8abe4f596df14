"""`roboalign up` drives the simulated arm and leaves no process behind, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from starting import alive, children, drives_and_stops, wait_for

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)"
SUPERVISE = "import sys; from roboalign_training.up import supervise; sys.exit(supervise({}, 1.0))"


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


def test_up_drives_the_simulated_arm_and_the_stop_reaches_it(untrained_policy, tmp_path):
    pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: source scripts/env.sh")
    up = [sys.executable, "-m", "roboalign_training.up"]
    drives_and_stops([*up, "--sim", "--policy", str(untrained_policy)], tmp_path)
