"""What tests of safety_gate_node share: its client, a sender of candidates, a controller."""

from __future__ import annotations

import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from policy_harness import GRIPPER, TWIST
from roboalign_msgs.msg import Candidate as CandidateMsg
from roboalign_msgs.msg import GateStatus, LatencyReport
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.ros.candidate_msgs import candidate_to_msg
from roboalign_policy.ros.qos import reliable_qos

STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)
DOWN = (0.0, 0.0, -0.2, 0.0, 0.0, 0.0, -1.0)


class GateClient:
    """Calls the gate's services, hears what it says and what reaches the controllers."""

    def __init__(self, probe, prefix=""):
        self.probe = probe
        self.status = probe.collect(GateStatus, "safety_gate_node/status", reliable_qos(50))
        self.reports = probe.collect(LatencyReport, "safety_gate_node/latency", reliable_qos(5))
        self.diagnostics = probe.collect(DiagnosticArray, "/diagnostics", reliable_qos(10))
        self.twists = probe.collect(TwistStamped, prefix + TWIST, reliable_qos(200))
        self.grippers = probe.collect(JointTrajectory, prefix + GRIPPER, reliable_qos(200))

    def state(self, wanted, timeout_s=20.0):
        """Wait for a state and return the status."""
        self.probe.until(
            lambda: self.status and self.status[-1].state == wanted,
            timeout_s,
            lambda: f"gate state {wanted}, {len(self.status)} heard, last {self.status[-1:]}",
        )
        return self.status[-1]

    def enable(self):
        """Enable, as often as it takes until all streams and controllers are seen."""
        end_s = time.monotonic() + 20.0
        while not (answer := self.call(SetBool, "enable", data=True)).success:
            assert time.monotonic() < end_s, answer.message
            self.probe.spin_for(0.2)

    def call(self, kind, name, **values):
        """Response of one of the gate's services."""
        return self.probe.call(kind, f"safety_gate_node/{name}", **values)

    def press(self):
        """Emergency stop by service."""
        return self.call(Trigger, "estop")

    def reset(self):
        """Reset."""
        return self.call(Trigger, "reset")


class Sender:
    """Sends candidates of contract sim_panda at 10 Hz with signs of life between them."""

    def __init__(self, probe, source="a" * 64):
        self.contract = load_contract("sim_panda")
        self._probe, self.source, self.sequence = probe, source, 0
        self.values, self.running = DOWN, True
        self._publisher = probe.node.create_publisher(CandidateMsg, "candidate", reliable_qos(10))
        self._count = 0
        probe.node.create_timer(0.02, self._tick)

    def send(self, kind, values=None, **changes):
        """Send one candidate now."""
        self.sequence += 1
        now_ns = time.time_ns()
        spec = {
            "kind": kind,
            "sequence": self.sequence,
            "source": self.source,
            "stamp_ns": now_ns,
            "step_s": 0.1,
            "observation_ns": now_ns - 5_000_000,
            "received_ns": now_ns - 4_000_000,
            "requested_ns": now_ns - 3_000_000,
            "answered_ns": now_ns - 2_000_000,
            "chunk_id": self.sequence,
        }
        if values is not None:
            spec.update(names=self.contract.action.names, data=np.array([values], float))
        candidate = Candidate(**{**spec, **changes})
        self._publisher.publish(candidate_to_msg(candidate, "base_link"))

    def _tick(self):
        if not self.running:
            return
        if self._count % 5 == 0:
            self.send(CandidateKind.MOTION, self.values)
        else:
            self.send(CandidateKind.ALIVE)
        self._count += 1


def moves(twist):
    """True where a twist moves the arm."""
    parts = (twist.twist.linear, twist.twist.angular)
    return any(getattr(part, axis) != 0.0 for part in parts for axis in "xyz")
