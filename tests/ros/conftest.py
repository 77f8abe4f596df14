"""Fixtures for tests with nodes in processes of their own.

A ROS domain a test, clean start and end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: source scripts/env.sh")
pytest.importorskip(
    "roboalign_msgs", reason="roboalign_msgs is not built: run `make build`, source scripts/env.sh"
)

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from roboalign_msgs.msg import RecordingHealth  # noqa: E402

from roboalign_policy.core.host.facts import free_domains, release_domains  # noqa: E402
from roboalign_policy.core.host.shared_memory import (  # noqa: E402
    abandoned,
    remove,
    shared_memory_files,
)
from roboalign_policy.nodes.node_process import NodeProcess  # noqa: E402
from roboalign_policy.nodes.start import module_of
from roboalign_policy.ros.qos import reliable_qos  # noqa: E402

# Tests run beside each other; torch would take a thread a core and let each spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Safe on Linux are 0 to 101: above, the ports of a domain reach into the range that the kernel
# gives away.
DOMAINS = range(11, 101)


@pytest.fixture(scope="session", autouse=True)
def signals_arrive():
    """Has the nodes that tests start hear SIGINT and SIGHUP.

    Under nohup, or in the background of a shell, they are ignored; children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def _shared_memory_of_file() -> Iterator[None]:
    """Leave none behind, whatever a test of the file did without `ros_domain`."""
    yield from _tidied()


@pytest.fixture
def _shared_memory() -> Iterator[None]:
    """Leave none behind: what killed nodes of this test left, and nobody uses."""
    yield from _tidied()


def _tidied() -> Iterator[None]:
    before = shared_memory_files()
    yield
    made = shared_memory_files() - before
    # A test beside this one may be about such files: it takes its own away.
    remove(abandoned(path for path in made if not path.name.startswith("fastrtps_test_")))


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch, _shared_memory: None) -> Iterator[int]:
    """A ROS domain for this test alone, on this machine only; also set in the environment."""
    (domain,) = free_domains(DOMAINS, 1)  # not that of another run, nor of a robot
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield domain
    release_domains([domain])


@pytest.fixture
def start_node(ros_domain: int, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Function ``start_node(name, **parameters)`` that starts one of `start.NODES`.

    All end with the test.
    """
    started = []

    def start(name: str, **parameters: Any) -> NodeProcess:
        log = tmp_path / f"{name}-{len(started)}.log"
        started.append(NodeProcess(module_of(name), parameters, log))
        return started[-1]

    yield start
    for process in reversed(started):
        process.stop()


class Probe:
    """A node of the test's own with its executor."""

    def __init__(self, context: Any):
        """Join the domain of ``context``."""
        self.node = Node("probe", context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.node)

    def until(self, condition: Callable[[], Any], timeout_s: float = 30.0, what: Any = "") -> Any:
        """Spin until ``condition()`` is true and return it; fails the test after ``timeout_s``.

        ``what`` is a text, or makes one when it has failed.
        """
        end_s = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > end_s:
                said = what() if callable(what) else what
                pytest.fail(f"waited {timeout_s:g} s for {said or condition}")
            self.executor.spin_once(timeout_sec=0.05)
        return value

    def spin_for(self, seconds: float) -> None:
        """Spin for a while."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, kind: Any, name: str, timeout_s: float = 30.0, **values: Any) -> Any:
        """Response of a service."""
        client = self.node.create_client(kind, name)
        if not client.wait_for_service(timeout_s):
            pytest.fail(f"service {name} is not there after {timeout_s:g} s")
        future = client.call_async(kind.Request(**values))
        self.until(future.done, timeout_s, f"the answer of {name}")
        self.node.destroy_client(client)
        return future.result()

    def collect(self, kind: Any, topic: str, qos: Any) -> list[Any]:
        """List that fills with the messages of a topic."""
        found: list[Any] = []
        self.node.create_subscription(kind, topic, found.append, qos)
        return found


@pytest.fixture
def probe(ros_domain: int) -> Iterator[Probe]:
    """A node of the test's own in the test's domain."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    made = Probe(context)
    try:
        yield made
    finally:
        made.node.destroy_node()  # else its participant stays while anything refers to it
        rclpy.try_shutdown(context=context)


@pytest.fixture
def health(probe):
    """Health messages as they come."""
    return probe.collect(RecordingHealth, "recorder_node/health", reliable_qos(1, latched=True))


@pytest.fixture
def recorder(start_node, tmp_path):
    """Function that starts a recorder with bags in tmp_path / bags and quick health."""

    def begin(**parameters):
        given = {
            "bag_dir": str(tmp_path / "bags"),
            "health_period_s": 0.1,
            "min_free_mb": 0,
            **parameters,
        }
        return start_node("recorder_node", **given)

    return begin
