"""The two robots of the campaign: one is driven by a twist, one by joint positions."""

from __future__ import annotations

from typing import Any

from fault_campaign.patience import patience

CONTRACT_VARIABLE = "FAULT_CAMPAIGN_CONTRACT"  # environment: file of the contract
ROBOT_VARIABLE = "FAULT_CAMPAIGN_ROBOT"  # environment: TWIST_CONTRACT or JOINT_CONTRACT
PLANT_TOPIC = "plant"  # from the controller to the robot
POLICY_HASH = "f" * 64

RATE_HZ, HORIZON = 20.0, 8
CAMERA_HZ, JOINTS_HZ, POSE_HZ = 30.0, 100.0, 50.0
HEIGHT, WIDTH = 120, 160
MAX_AGE_S = 0.1
CAMERAS = {"image.front": "camera/front/image_raw", "image.wrist": "camera/wrist/image_raw"}
JOINTS = ("a", "b", "c")
TWIST, GRIPPER, JOINT_TRAJECTORY = (
    "servo/twist",
    "gripper/joint_trajectory",
    "arm/joint_trajectory",
)
TWIST_CONTRACT, JOINT_CONTRACT = "twist", "joints"
#: m a step at 1.0, and the factor from m/s to the action: 1 / (unit * rate).
STEP_M = 0.01
TWIST_GAIN = 1.0 / (STEP_M * RATE_HZ)
WORKSPACE = {"x": [0.2, 0.6], "y": [-0.2, 0.2], "z": [0.1, 0.5]}
CENTRE_M = (0.4, 0.0, 0.3)
JOINT_LIMITS_RAD = (-2.0, 2.0)
JOINT_SPEED_RAD_S = 2.0
_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"


def command_topics(name: str) -> dict[str, str]:
    """Topics of the controllers by name of the contract, with their message types."""
    if name == JOINT_CONTRACT:
        return {JOINT_TRAJECTORY: _TRAJECTORY}
    return {TWIST: "geometry_msgs/msg/TwistStamped", GRIPPER: _TRAJECTORY}


def contract(name: str) -> dict[str, Any]:
    """Contract as its YAML file holds it; ``name``: TWIST_CONTRACT or JOINT_CONTRACT."""
    return {
        "schema": "roboalign-contract/1",
        "name": f"faults_{name}",
        "base_frame": "base_link",
        "rate_hz": RATE_HZ,
        "observations": _observations(),
        "action": _joint_action() if name == JOINT_CONTRACT else _twist_action(),
    }


def _observations() -> list[dict[str, Any]]:
    cameras = [
        {
            "key": key,
            "topic": topic,
            "type": "sensor_msgs/msg/Image",
            "shape": [HEIGHT, WIDTH, 3],
            "max_age_s": MAX_AGE_S * patience(),
        }
        for key, topic in CAMERAS.items()
    ]
    low, high = JOINT_LIMITS_RAD
    joints = {
        "key": "state.joints",
        "topic": "joint_states",
        "type": "sensor_msgs/msg/JointState",
        "fields": [
            {
                "name": name,
                "path": f"position[{name}]",
                "unit": "rad",
                "limits": [low, high],
                "max_rate": JOINT_SPEED_RAD_S,
            }
            for name in JOINTS
        ],
        "max_age_s": MAX_AGE_S * patience(),
    }
    pose = {
        "key": "state.ee",
        "topic": "ee_pose",
        "type": "geometry_msgs/msg/PoseStamped",
        "fields": [{"name": n, "path": f"pose.position.{n}", "unit": "m"} for n in "xyz"],
        "max_age_s": MAX_AGE_S * patience(),
    }
    return [*cameras, joints, pose]


def _twist_action() -> dict[str, Any]:
    arm = [
        {"name": f"d{axis}", "unit": f"{STEP_M} m", "limits": [-1.0, 1.0], "max_acceleration": 200}
        for axis in "xyz"
    ]
    twist = {
        "topic": TWIST,
        "type": "geometry_msgs/msg/TwistStamped",
        "fields": {
            f"d{axis}": {"path": f"twist.linear.{axis}", "gain": TWIST_GAIN} for axis in "xyz"
        },
    }
    gripper = {
        "topic": GRIPPER,
        "type": _TRAJECTORY,
        "joint_names": ["gripper"],
        "fields": {"gripper": {"path": "points[0].positions[gripper]"}},
        "align": {"clock": "receive"},
    }
    return {
        "control_mode": "ee_delta",
        "horizon": HORIZON,
        "dims": [*arm, {"name": "gripper", "unit": "1", "limits": [-1.0, 1.0]}],
        "commands": [twist, gripper],
        "safety": {"workspace": {"stream": "state.ee", **WORKSPACE}},
    }


def _joint_action() -> dict[str, Any]:
    command = {
        "topic": JOINT_TRAJECTORY,
        "type": _TRAJECTORY,
        "joint_names": list(JOINTS),
        "fields": {name: {"path": f"points[0].positions[{name}]"} for name in JOINTS},
        "align": {"clock": "receive"},
    }
    return {
        "control_mode": "joint_position",
        "horizon": HORIZON,
        "dims": [
            {
                "name": name,
                "unit": "rad",
                "limits": list(JOINT_LIMITS_RAD),
                "max_rate": 1.0,
                "max_acceleration": 30.0,
            }
            for name in JOINTS
        ],
        "commands": [command],
        "safety": {"first_pose": 0.2, "blend_in_s": 0.2},
    }
