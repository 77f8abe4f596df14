"""A small robot for tests of the safety gate: two joints or three deltas, a camera, a clock."""

from __future__ import annotations

import numpy as np

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.gate.safety_gate import SafetyGate

START_NS = 1_000_000_000_000
MOTION, HOLD, ALIVE = CandidateKind.MOTION, CandidateKind.HOLD, CandidateKind.ALIVE
END, FAULT = CandidateKind.END, CandidateKind.FAULT


def joint_contract(names=("a", "b"), **action):
    """Two joints at 20 Hz by trajectory, with speed and acceleration limits."""
    dims = [{"name": n, "unit": "rad", "limits": [-1.0, 1.0], "max_rate": 1.0} for n in names]
    dims[0].update({"max_acceleration": 10.0, "max_per_second": 0.6})
    dims[1].update({"max_acceleration": 10.0})
    fields = {n: {"path": f"points[0].positions[{n}]"} for n in names}
    command = {
        "topic": "arm/joint_trajectory",
        "type": "trajectory_msgs/msg/JointTrajectory",
        "joint_names": list(names),
        "fields": fields,
        "align": {"clock": "receive"},
    }
    spec = {"control_mode": "joint_position", "horizon": 4, "dims": dims, "commands": [command]}
    return contract_from_dict(_robot("two_joints", {**spec, **action}, names))


def delta_contract(**action):
    """Steps in x, y and a gripper at 20 Hz, inside of a workspace."""
    dims = [{"name": n, "unit": "0.05 m", "limits": [-1.0, 1.0]} for n in ("dx", "dy")]
    dims.append({"name": "gripper", "unit": "1", "limits": [-1.0, 1.0]})
    twist = {
        "topic": "twist",
        "type": "geometry_msgs/msg/TwistStamped",
        "fields": {
            "dx": {"path": "twist.linear.x", "gain": 1.0},
            "dy": {"path": "twist.linear.y", "gain": 1.0},
        },
    }
    gripper = {
        "topic": "gripper",
        "type": "std_msgs/msg/Float64MultiArray",
        "fields": {"gripper": {"path": "data[0]"}},
        "align": {"clock": "receive"},
    }
    box = {"stream": "state.ee", "x": [0.0, 0.5], "y": [-0.3, 0.3], "z": [0.0, 1.0]}
    spec = {
        "control_mode": "ee_delta",
        "horizon": 4,
        "dims": dims,
        "commands": [twist, gripper],
        "safety": {"workspace": box},
    }
    return contract_from_dict(_robot("two_deltas", {**spec, **action}))


def _robot(name, action, joints=("a", "b")):
    fields = [
        {
            "name": n,
            "path": f"position[{n}]",
            "unit": "rad",
            "limits": [-1.0, 1.0],
            "max_rate": 2.0,
        }
        for n in joints
    ]
    pose = [{"name": n, "path": f"pose.position.{n}", "unit": "m"} for n in "xyz"]
    return {
        "schema": "roboalign-contract/1",
        "name": name,
        "base_frame": "base",
        "rate_hz": 20.0,
        "observations": [
            {
                "key": "image.front",
                "topic": "camera",
                "type": "sensor_msgs/msg/Image",
                "shape": [8, 8, 3],
                "max_age_s": 0.1,
            },
            {
                "key": "state.joints",
                "topic": "joint_states",
                "type": "sensor_msgs/msg/JointState",
                "fields": fields,
                "max_age_s": 0.1,
            },
            {
                "key": "state.ee",
                "topic": "ee",
                "type": "geometry_msgs/msg/PoseStamped",
                "fields": pose,
                "max_age_s": 0.1,
            },
        ],
        "action": action,
    }


class World:
    """A gate, and everything around it in one clock."""

    def __init__(self, contract, **settings):
        self.gate = SafetyGate(contract, GateParameters(**settings))
        self.contract, self.t = contract, 0.0
        self.joints, self.position = np.zeros(2), np.array([0.2, 0.0, 0.2])
        self.pixels, self.silent, self.lag_s = 0, set(), {}
        self.frozen = False
        self.sent, self.safe = [], 0
        self.sequence = 0
        self.source = "p" * 64

    @property
    def now_ns(self):
        return START_NS + round(self.t * 1e9)

    def ready(self):
        """Streams alive, controllers there, enabled."""
        self.gate.controllers("")
        self.streams()
        assert self.gate.enable(self.now_ns, self.t) == ""
        return self

    def streams(self):
        """One sample of every stream that is not silent."""
        values = {"state.joints": self.joints, "state.ee": self.position}
        self.pixels += not self.frozen
        for key in ("image.front", *values):
            if key in self.silent:
                continue
            stamp_ns = self.now_ns - round(self.lag_s.get(key, 0.0) * 1e9)
            if key in values:
                self.gate.streams.sample(key, stamp_ns, self.now_ns, self.t, values[key].copy())
            else:
                self.gate.streams.sample(key, stamp_ns, self.now_ns, self.t, digest=self.pixels)

    def send(self, values, kind=MOTION, **changes):
        """One candidate now; returns what passed."""
        self.sequence += 1
        data = None if values is None else np.atleast_2d(np.asarray(values, float))
        spec = {
            "kind": kind,
            "sequence": self.sequence,
            "source": self.source,
            "stamp_ns": self.now_ns,
            "names": self.contract.action.names if data is not None else (),
            "step_s": 0.05,
            "data": data,
        }
        passed = self.gate.candidate(Candidate(**{**spec, **changes}), self.now_ns, self.t)
        if passed is not None:
            self.sent.append(passed.steps[0])
            self.gate.sent(passed, self.t)
        self.safe += self.gate.pop_safe()
        return passed

    def wait(self, seconds, tick_s=0.01, stream_s=0.03):
        """Let time pass: ticks, and samples of the streams."""
        end = self.t + seconds - 1e-9
        next_sample = self.t
        while self.t < end:
            self.t = round(self.t + tick_s, 6)
            if self.t >= next_sample:
                self.streams()
                next_sample += stream_s
            self.gate.tick(self.now_ns, self.t)
            self.safe += self.gate.pop_safe()

    def drive(self, values, steps=1, **changes):
        """Candidates every 0.05 s, the same or a list of them."""
        for index in range(steps):
            self.send(values(index) if callable(values) else values, **changes)
            self.wait(0.05)
