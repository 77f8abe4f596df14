"""ctrl-C while a node takes messages is an ordinary end, whatever the main thread was doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

# On one processor that it shares: rclpy's thread for signals, which shuts the context down, then
# comes after the main thread has seen ctrl-C.
BUSY_NEIGHBOUR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
while True:
    pass
"""
# Nearly all the time a message is being converted, which makes 2,000 objects in Python.
BUSY_NODE = """
import os
import rclpy
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from roboalign_policy.nodes.spinning import spin_until_shutdown

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
rclpy.init()
node = Node("busy")
publisher = node.create_publisher(JointTrajectory, "plan", 10)
plan = JointTrajectory(points=[JointTrajectoryPoint() for _ in range(1000)])
node.create_subscription(JointTrajectory, "plan", lambda msg: publisher.publish(plan), 10)
node.create_timer(0.01, lambda: publisher.publish(plan))
print("ready", flush=True)
try:
    spin_until_shutdown(node)
    print("ended", flush=True)
finally:
    rclpy.try_shutdown()
"""


@pytest.fixture
def neighbour():
    """Something else that wants the processor."""
    process = subprocess.Popen([sys.executable, "-c", BUSY_NEIGHBOUR])
    yield
    process.kill()
    process.wait()


@pytest.mark.usefixtures("start_node")  # takes away what processes leave in shared memory
@pytest.mark.parametrize(("number", "attempts"), [(signal.SIGINT, 8), (signal.SIGTERM, 2)])
def test_a_signal_among_messages_is_no_crash(ros_domain, neighbour, number, attempts):
    for attempt in range(attempts):
        process = subprocess.Popen(
            [sys.executable, "-c", BUSY_NODE],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.4 + 0.013 * attempt)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "ended\n"), err
        assert "Traceback" not in err
