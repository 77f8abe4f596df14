"""Entries of /diagnostics: the policy's levels, and that the live node publishes them."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from policy_harness import fake_policies
from roboalign_msgs.msg import PolicyStatus

from roboalign_policy.ros.policy_diagnostics import policy_diagnostics
from roboalign_policy.ros.qos import reliable_qos


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("INACTIVE", DiagnosticStatus.WARN),
        ("IDLE", DiagnosticStatus.OK),
        ("RUNNING", DiagnosticStatus.OK),
        ("OBSERVATION_HOLD", DiagnosticStatus.WARN),
        ("CHUNK_HOLD", DiagnosticStatus.WARN),
        ("GATE_HOLD", DiagnosticStatus.WARN),
        ("FAULT", DiagnosticStatus.ERROR),
    ],
)
def test_every_state_has_its_level(state, level):
    status = PolicyStatus(state=getattr(PolicyStatus, f"STATE_{state}"), reason="why", refused=3)
    (entry,) = policy_diagnostics(status, "policy_node").status
    assert entry.level == level and entry.name == "policy_node: policy"
    assert entry.message == f"{state.lower().replace('_', ' ')}: why"
    assert {v.key: v.value for v in entry.values}["refused"] == "3"


@pytest.fixture
def start_policy(ros_domain, tmp_path):
    """Function that starts the node around the fake policy."""
    yield from fake_policies(tmp_path)


def test_the_node_publishes_them(start_policy, probe):
    found = probe.collect(DiagnosticArray, "/diagnostics", reliable_qos(10))
    start_policy()
    probe.until(lambda: len(found) >= 2, what="two entries")
    assert found[-1].status[0].name == "policy_node: policy"
