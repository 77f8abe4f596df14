"""The process behind an endpoint: seen, gone, or never seen."""

from __future__ import annotations

import os
import subprocess
import sys

from roboalign_policy.core.graph.endpoint_process import EndpointProcesses, running_tails


def gid(pid, vendor=(1, 15)):
    return (*vendor, 9, 9, pid & 0xFF, pid >> 8 & 0xFF, 7, 7, 0, 0, 0, 0, 0, 0, 18, 4)


def test_a_process_that_was_seen_and_is_no_more_has_ended():
    seen = EndpointProcesses()
    assert seen.ended([gid(70_000), gid(5)], frozenset({70_000 & 0xFFFF, 5})) == []
    assert seen.ended([gid(70_000), gid(5)], frozenset({5})) == [gid(70_000)]
    assert seen.ended([gid(70_000), gid(5)], frozenset({5})) == [gid(70_000)]
    assert seen.ended([gid(5)], frozenset({5})) == []


def test_processes_elsewhere_and_other_middleware_are_not_judged():
    seen = EndpointProcesses()
    for _ in range(2):
        assert seen.ended([gid(3), gid(4, vendor=(1, 16))], frozenset({4})) == []
    assert seen.ended([gid(3), gid(4, vendor=(1, 16))], frozenset()) == []


def test_running_processes_are_found_and_ended_ones_are_not():
    assert os.getpid() & 0xFFFF in running_tails()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.pid & 0xFFFF in running_tails()
    process.kill()
    process.wait()
    assert process.pid & 0xFFFF not in running_tails()
