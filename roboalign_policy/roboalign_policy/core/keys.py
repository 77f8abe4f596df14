"""Names that more than one part of the suite must spell alike."""

from __future__ import annotations

CONTRACT_SCHEMA = "roboalign-contract/1"

# Feature keys
IMAGE_PREFIX = "image."
STATE_PREFIX = "state."
ACTION = "action"

# Topics that are not in the contract (relative: the namespace is the node's)
TASK_TOPIC = "task"
EPISODE_TOPIC = "episode"

# Message types the core treats in a way of their own
IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE_TYPE = "sensor_msgs/msg/CompressedImage"
IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE)
JOINT_TRAJECTORY_TYPE = "trajectory_msgs/msg/JointTrajectory"
JOINT_STATE_TYPE = "sensor_msgs/msg/JointState"
TWIST_STAMPED_TYPE = "geometry_msgs/msg/TwistStamped"
POSE_STAMPED_TYPE = "geometry_msgs/msg/PoseStamped"
FLOAT_ARRAY_TYPE = "std_msgs/msg/Float64MultiArray"
STRING_TYPE = "std_msgs/msg/String"

# Custom data of a bag's metadata
BAG_CONTRACT = "roboalign.contract"
BAG_INSTRUCTION = "roboalign.instruction"
BAG_OUTCOME = "roboalign.outcome"
BAG_EPISODE_ID = "roboalign.episode_id"
BAG_TOOL = "roboalign.tool"
MCAP_BEGUN = "roboalign.begun"  # metadata record at the start of a file: what was known then
BAG_RECOVERED = "roboalign.recovered"

# Control modes
EE_DELTA = "ee_delta"
JOINT_POSITION = "joint_position"

# The steps of an end effector, in the order of a twist; the gripper is the seventh dimension
EE_DIMS = ("dx", "dy", "dz", "droll", "dpitch", "dyaw")
GRIPPER_DIM = "gripper"

# Outputs in place of commands
JOINT_TRAJECTORY_OUTPUT, JOINT_GROUP_OUTPUT = "joint_trajectory", "joint_group"
POSE_OUTPUT, GRIPPER_ACTION_OUTPUT = "pose_target", "gripper_action"
JOINT_OUTPUTS = (JOINT_TRAJECTORY_OUTPUT, JOINT_GROUP_OUTPUT)
OUTPUT_KINDS = (*JOINT_OUTPUTS, POSE_OUTPUT, GRIPPER_ACTION_OUTPUT)


def is_gripper(name: str) -> bool:
    """Tell whether a dimension is a gripper; an arm of several has its name before it."""
    return name == GRIPPER_DIM or name.endswith(f"_{GRIPPER_DIM}")


def is_image(key: str) -> bool:
    """Tell whether a feature key names an image stream."""
    return key.startswith(IMAGE_PREFIX)


def is_state(key: str) -> bool:
    """Tell whether a feature key names a state stream."""
    return key.startswith(STATE_PREFIX)


# Text of a policy's answer. Ordinary tokens, not special ones: trainers decode completions without
# special tokens, and the format reward would never see them.
THINK_START, THINK_END = "<think>", "</think>"
ANSWER_START, ANSWER_END = "<answer>", "</answer>"
ACTION_START, ACTION_END = "<ACTION_START>", "<ACTION_END>"


def fast_token(index: int) -> str:
    """Return the text of a FAST token in the vocabulary of a language model: `<fast_17>`."""
    return f"<fast_{index}>"
