"""Starting and stopping the suite as users do, and seeing whether the simulated arm moves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roboalign_policy.core.host.facts import free_domains

WATCHER = Path(__file__).with_name("stop_watcher.py")


def children(pid):
    """Process ids below ``pid`` (direct children), from the kernel."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")  # each thread has its own
    return [int(child) for path in lists for child in path.read_text().split()]


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


def domain():
    """A ROS domain that is not that of another run, nor of a robot."""
    return str(*free_domains(range(11, 101), 1))


def segments(pid):
    """Segments of the middleware in shared memory that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    found = (re.search(r"/dev/shm/fast(?:rtps|dds)_[0-9a-f]{16}$", line) for line in lines)
    return {match.group() for match in found if match}


def drives_and_stops(command, tmp_path):
    """Start ``command``, see the arm move, press the stop, see it stand; ctrl-C leaves nothing."""
    pytest.importorskip("roboalign_msgs", reason="roboalign_msgs is not built: run `make build`")
    env = {**os.environ, "ROS_DOMAIN_ID": domain(), "OMP_NUM_THREADS": "1"}
    log = tmp_path / "output.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
    try:
        watcher = subprocess.run(
            [sys.executable, str(WATCHER)], env=env, capture_output=True, text=True, timeout=150
        )
        nodes = children(process.pid)
        assert watcher.returncode == 0, watcher.stdout + watcher.stderr + log.read_text()[-4000:]
        assert len(nodes) == 3, log.read_text()[-4000:]
        shared = set().union(*map(segments, nodes))
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does on ctrl-C
        process.wait(40)
    wait_for(lambda: not any(map(alive, nodes)), 5, "the nodes to end")
    left = [path for path in shared if Path(path).exists()]
    assert not left, f"left in shared memory: {left}"
    assert "Traceback" not in log.read_text()
