"""Sends candidates straight to the gate: as a sender that drives, or as a rogue beside the policy.

It follows the same circle as the policy, at 20 Hz (twist) or 100 Hz (joints), with signs of life
at 80 Hz between. A fault is one bad candidate, sent at the instant that the answer names; good
ones follow, so that what stops the arm must be the gate's latch and not the sender's silence.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from roboalign_msgs.msg import Candidate as CandidateMsg
from roboalign_msgs.msg import GateStatus
from sensor_msgs.msg import JointState

from fault_campaign.contracts import (
    CONTRACT_VARIABLE,
    JOINT_CONTRACT,
    RATE_HZ,
    ROBOT_VARIABLE,
)
from fault_campaign.control import serve
from fault_campaign.motion import home, joint_targets, twist_steps
from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.candidate_msgs import candidate_to_msg
from roboalign_policy.ros.qos import qos_from_contract, reliable_qos

SOURCE, ROGUE_SOURCE = "d" * 64, "e" * 64
JOINT_TICK_S, ALIVE_TICK_S = 0.01, 0.0125
_TWIST_TICKS = round(1 / RATE_HZ / ALIVE_TICK_S)


class Sender(Node):
    """Candidates of one contract."""

    def __init__(self) -> None:
        """Advertise; silent until it is told to drive."""
        super().__init__("sender")
        self._contract = load_contract(os.environ[CONTRACT_VARIABLE])
        self._is_joints = os.environ[ROBOT_VARIABLE] == JOINT_CONTRACT
        self._tick_s = JOINT_TICK_S if self._is_joints else ALIVE_TICK_S
        self._step_s = JOINT_TICK_S if self._is_joints else 1 / RATE_HZ
        self._driving, self._alive_only, self._source = False, False, SOURCE
        self._sequence, self._ticks, self._offset = 0, 0, 0.0
        self._target: np.ndarray | None = None
        self._measured = np.array(home(os.environ[ROBOT_VARIABLE]))
        self._lock = threading.Lock()  # faults are sent by the control thread
        self._end = self.create_publisher(CandidateMsg, "candidate", reliable_qos(10))
        key = "state.joints" if self._is_joints else "state.ee"
        stream = self._contract.stream(key)
        self.create_subscription(
            JointState if self._is_joints else PoseStamped,
            stream.topic,
            self._on_joints if self._is_joints else self._on_pose,
            qos_from_contract(stream.qos),
        )
        self.create_subscription(
            GateStatus, "safety_gate_node/status", self._on_status, reliable_qos(10)
        )
        self.create_timer(self._tick_s, self._tick)
        serve(self._handle)

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        what = request["do"]
        with self._lock:
            t_ns = time.monotonic_ns()
            if what in ("drive", "stay", "alive_only"):
                self._source, self._offset = SOURCE, request.get("offset", 0.0)
                self._driving, self._alive_only = what != "stay", what == "alive_only"
            elif what == "rogue":
                self._source = request.get("source", ROGUE_SOURCE)
                self._sequence = request.get("sequence", self._sequence)
                self._driving = True
            elif what == "bad":
                self._bad(request["kind"])
            else:
                raise ValueError(
                    f"do: found {what!r}, expected drive, stay, alive_only, rogue, bad"
                )
        return {"t_ns": t_ns}

    def _bad(self, kind: str) -> None:
        """Send one bad candidate now."""
        good, send = self._next(), functools.partial(self._send, CandidateKind.MOTION)
        names, now_ns = self._contract.action.names, self.get_clock().now().nanoseconds
        changed = good.copy()
        if kind == "repeated":
            self._sequence -= 1
            send(good)
        elif kind == "out_of_order":
            send(good, sequence=self._sequence - 5)
        elif kind == "old":
            send(good, stamp_ns=now_ns - 500_000_000)
        elif kind == "future":
            send(good, stamp_ns=now_ns + 500_000_000)
        elif kind == "old_observation":
            send(good, observation_ns=now_ns - 5_000_000_000)
        elif kind == "names":
            send(good, names=(*names[1:], names[0]))
        elif kind == "shape":
            self._send(CandidateKind.MOTION, good, values=1)
        elif kind == "unknown_kind":
            self._send(CandidateKind.MOTION, good, number=99)
        elif kind in ("nan", "inf"):
            changed[0] = float(kind)
            send(changed)
        elif kind == "out_of_limits":
            changed[0] = 1.5 * self._contract.action.high[0]
            send(changed)
        elif kind == "jump":
            changed[0] += 0.3
            send(changed)
        elif kind == "turn_round":
            send(np.concatenate([-changed[:3], changed[3:]]))
        elif kind == "fault":
            self._send(CandidateKind.FAULT, reason="asked for by the campaign")
        else:
            raise ValueError(f"kind: found {kind!r}, expected one of sender.py's faults")

    def _tick(self) -> None:
        with self._lock:
            if not self._driving:
                return
            self._ticks += 1
            due = self._is_joints or self._ticks % _TWIST_TICKS == 0
            if due and not self._alive_only:
                self._send(CandidateKind.MOTION, self._next())
            else:
                self._send(CandidateKind.ALIVE)

    def _next(self) -> np.ndarray:
        """(A,) the step that follows."""
        if not self._is_joints:
            return twist_steps(self._measured, 1)[0].astype(float)
        # Measured positions follow the targets: once the arm moves, targets follow one another.
        start = self._measured if self._target is None else self._target
        self._target = joint_targets(start, np.array([JOINT_TICK_S]))[0].astype(float)
        return self._target + np.array([self._offset, 0.0, 0.0])

    def _send(
        self,
        kind: CandidateKind,
        step: np.ndarray | None = None,
        *,
        number: int | None = None,
        values: int | None = None,
        **changes: Any,
    ) -> None:
        """Publish a candidate.

        Args:
            kind: what it says.
            step: (A,) its data.
            number: of the message's kind, in place of the right one.
            values: how many numbers stay in the data.
            changes: fields of `Candidate` that differ.
        """
        self._sequence += 1
        now_ns = self.get_clock().now().nanoseconds
        spec: dict[str, Any] = {
            "kind": kind,
            "sequence": self._sequence,
            "source": self._source,
            "stamp_ns": now_ns,
            "step_s": self._step_s,
            "observation_ns": now_ns - 10_000_000,
        }
        if step is not None:
            spec.update(names=self._contract.action.names, data=step[None])
        msg = candidate_to_msg(Candidate(**{**spec, **changes}), "base_link")
        if number is not None:
            msg.kind = number
        if values is not None:
            msg.data = msg.data[:values]
        self._end.publish(msg)

    def _on_joints(self, msg: JointState) -> None:
        self._measured = np.array(msg.position)

    def _on_pose(self, msg: PoseStamped) -> None:
        place = msg.pose.position
        self._measured = np.array([place.x, place.y, place.z])

    def _on_status(self, msg: GateStatus) -> None:
        if msg.state != msg.STATE_ACTIVE:
            self._target = None  # begin again from where the arm is


def main() -> int:
    """Run until told to stop; exit status."""
    return run_node(lambda _: Sender())


if __name__ == "__main__":
    sys.exit(main())
