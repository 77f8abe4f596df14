"""Starting and stopping the suite as users do, and seeing whether the simulated arm moves."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOMAINS = itertools.count(45)


def children(pid):
    """Process ids below ``pid`` (direct children), from the kernel."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    """True while the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, timeout_s, what):
    until_s = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > until_s:
            pytest.fail(f"waited {timeout_s} s for {what}")
        time.sleep(0.05)
    return value


ARM_MOVES = """
import sys, time, rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from roboalign_policy.ros.qos import reliable_qos
rclpy.init()
node = rclpy.create_node("watcher")
poses, twists = [], []
node.create_subscription(PoseStamped, "ee_pose", poses.append, reliable_qos(10))
node.create_subscription(
    TwistStamped, "servo_node/delta_twist_cmds", twists.append, reliable_qos(10))
until_s = time.monotonic() + 90.0
def distance_m():
    if not poses:
        return 0.0
    a, b = poses[0].pose.position, poses[-1].pose.position
    return ((a.x - b.x) ** 2 + (a.y - b.y) ** 2 + (a.z - b.z) ** 2) ** 0.5
while time.monotonic() < until_s:
    rclpy.spin_once(node, timeout_sec=0.1)
    if len(twists) >= 10 and distance_m() > 1e-3:
        break
print(f"{len(poses)} poses, {len(twists)} commands, moved {distance_m() * 1e3:.1f} mm")
node.destroy_node()
rclpy.shutdown()
sys.exit(0 if len(twists) >= 10 and distance_m() > 1e-3 else 1)
"""


def drives_the_arm(command, tmp_path):
    """Start ``command``, see the simulated arm move, stop it by ctrl-C: nothing may be left."""
    pytest.importorskip("roboalign_msgs", reason="roboalign_msgs is not built: run `make build`")
    domain = str(11 + (os.getpid() * 7 + next(DOMAINS)) % 90)
    env = {**os.environ, "ROS_DOMAIN_ID": domain, "OMP_NUM_THREADS": "1"}
    log = tmp_path / "output.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
    try:
        watcher = subprocess.run(
            [sys.executable, "-c", ARM_MOVES], env=env, capture_output=True, text=True, timeout=150
        )
        nodes = children(process.pid)
        assert watcher.returncode == 0, watcher.stdout + watcher.stderr + log.read_text()[-4000:]
        assert len(nodes) == 2, log.read_text()[-4000:]
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does on ctrl-C
        process.wait(40)
    wait_for(lambda: not any(map(alive, nodes)), 5, "the nodes to end")
    assert "Traceback" not in log.read_text()
