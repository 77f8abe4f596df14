"""A signal is an ordinary end, whatever the node was doing; so is the death of its starter."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from roboalign_policy.core.host.ending import ENDS_WITH

# On one processor that it shares, so that signals come at all kinds of moments.
BUSY_NEIGHBOUR = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
while True:
    pass
"""
# Nearly all the time a message is being converted, which makes 2,000 objects in Python.
BUSY_NODE = """
import os
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from roboalign_policy.nodes.spinning import run_node

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

def make(_):
    node = Node("busy")
    publisher = node.create_publisher(JointTrajectory, "plan", 10)
    plan = JointTrajectory(points=[JointTrajectoryPoint() for _ in range(1000)])
    node.create_subscription(JointTrajectory, "plan", lambda msg: publisher.publish(plan), 10)
    node.create_timer(0.01, lambda: publisher.publish(plan))
    print("ready", flush=True)
    return node

status = run_node(make)
print("ended", flush=True)
raise SystemExit(status)
"""
# Nothing to do: the executor's thread is in rclpy's wait.
IDLE_NODE = """
import sys
from rclpy.node import Node
from roboalign_policy.nodes.spinning import run_node

class Idle(Node):
    async def stop(self):
        print("stopped", flush=True)

def make(_):
    node = Idle("idle", start_parameter_services=False, enable_rosout=False)
    print("ready", flush=True)
    return node

status = run_node(make)
print("ended", flush=True)
sys.exit(status)
"""
# The same with a log of its own: in a terminal that is gone nothing can be written.
TERMINAL_NODE = """
import sys
from rclpy.node import Node
from roboalign_policy.nodes.spinning import run_node

class Idle(Node):
    async def stop(self):
        self.get_logger().info("stopping")
        open(sys.argv[1], "w").write("stopped")

def make(_):
    node = Idle("idle")
    print("ready", flush=True)
    return node

sys.exit(run_node(make))
"""
FAILING_NODE = """
import sys
from rclpy.node import Node
from roboalign_policy.nodes.spinning import run_node

class Failing(Node):
    def __init__(self):
        super().__init__("failing")
        self.create_timer(0.05, self.fail)
    def fail(self):
        raise RuntimeError("it broke")
    async def stop(self):
        print("stopped", flush=True)

print("ready", flush=True)
run_node(lambda _: Failing())
"""
# Begins by what nobody can interrupt, as the loading of a model is.
LOADING_NODE = """
import sys, threading
from rclpy.node import Node
from roboalign_policy.nodes.spinning import run_node

class Loading(Node):
    busy_loading = False
    def begin(self):
        self.busy_loading = True
        print("ready", flush=True)
        threading.Event().wait()

sys.exit(run_node(lambda _: Loading("loading")))
"""
# A starter that lives until it is killed, and a node of its own.
STARTER = """
import os, signal, subprocess, sys
value, code, out = sys.argv[1:]
start = open("/proc/self/stat").read().rpartition(")")[2].split()[19]
env = {**os.environ, "ROBOALIGN_ENDS_WITH": value.format(pid=os.getpid(), start=start)}
with open(out, "w") as file:
    node = subprocess.Popen([sys.executable, "-c", code], stdout=file, stderr=file, env=env)
print(node.pid, flush=True)
signal.pause()
"""
ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def started(code, env=None):
    """A process that has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


@pytest.fixture
def neighbour():
    """Something else that wants the processor."""
    process = subprocess.Popen([sys.executable, "-c", BUSY_NEIGHBOUR])
    yield
    process.kill()
    process.wait()


pytestmark = pytest.mark.usefixtures("start_node")  # takes away what is left in shared memory


@pytest.mark.parametrize(("number", "attempts"), [(signal.SIGINT, 5), (signal.SIGTERM, 1)])
def test_a_signal_among_messages_is_no_crash(ros_domain, neighbour, number, attempts):
    for attempt in range(attempts):
        process = started(BUSY_NODE)
        time.sleep(0.4 + 0.013 * attempt)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "ended\n"), err
        assert "Traceback" not in err


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_while_ros_waits_ends_in_order(ros_domain, number):
    for attempt in range(2):
        process = started(IDLE_NODE)
        time.sleep(0.05 * attempt)
        process.send_signal(number)
        process.send_signal(signal.SIGINT)  # the second one cuts nothing short
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "stopped\nended\n"), err
        assert "Traceback" not in err and "ending: SIG" in err


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_while_something_is_loaded_ends_at_once(ros_domain, number):
    process = started(LOADING_NODE)
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 0 and "Traceback" not in err, err


@pytest.mark.parametrize("value", ["parent", "{pid}", "{pid}:{start}"])
def test_a_node_ends_with_its_starter_where_it_is_told_so(ros_domain, tmp_path, value):
    said = orphaned(value, tmp_path / "out")
    wait_for(lambda: said().endswith("ended\n"))
    assert "which started this one, has ended" in said() and "Traceback" not in said()


def test_a_node_outlives_its_starter_where_nobody_says_otherwise(ros_domain, tmp_path):
    said = orphaned("", tmp_path / "out")
    time.sleep(1.0)
    assert said() == "ready\n"
    os.kill(said.pid, signal.SIGTERM)
    wait_for(lambda: said().endswith("ended\n"))


def test_a_starter_that_has_ended_before_ends_the_node_at_its_start(ros_domain):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for value in (f"{gone.pid}", f"{gone.pid}:1", f"{os.getpid()}:1"):  # the last: given out anew
        process = started(IDLE_NODE, {ENDS_WITH: value})
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, "stopped\nended\n"), err


@pytest.mark.parametrize("number", ENDINGS)
def test_a_signal_while_a_node_is_being_imported_is_no_crash(ros_domain, number):
    command = [sys.executable, "-m", "roboalign_policy.nodes.start", "sim_robot_node"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_for(lambda: _caught(process.pid) & 1 << (signal.SIGTERM - 1))  # Python does so by none
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")


def _caught(pid):
    """Signals that a process has handlers for, as bits; Source: proc(5)."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("SigCgt")).split()[1], 16)


def test_a_closed_terminal_is_an_ordinary_end(ros_domain, tmp_path):
    """The kernel sends SIGHUP, and every write to the terminal fails from then on."""
    said = tmp_path / "said"
    pid, master = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", TERMINAL_NODE, str(said)])
    seen = b""
    while b"ready\r\n" not in seen:  # its end too: what it cannot print is an error of its own
        seen += os.read(master, 1000)
    os.close(master)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert said.read_text() == "stopped"


def test_a_node_of_which_a_callback_fails_finishes_its_work_and_shows_the_error(ros_domain):
    process = started(FAILING_NODE)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "stopped\n"), err
    assert err.rstrip().endswith("RuntimeError: it broke")


def test_nohup_holds(ros_domain):
    process = started("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + IDLE_NODE)
    process.send_signal(signal.SIGHUP)
    time.sleep(1.0)
    assert process.poll() is None
    process.terminate()
    assert process.communicate(timeout=20)[0] == "stopped\nended\n"


def wait_for(condition, timeout_s=60):
    """Wait until ``condition()`` is true."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def orphaned(value, path):
    """What an idle node says whose starter was killed, as a function; its ``pid``."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, value, IDLE_NODE, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )

    def said():
        return path.read_text()

    said.pid = int(starter.stdout.readline())
    wait_for(lambda: said() == "ready\n")
    starter.kill()
    starter.communicate()
    return said
