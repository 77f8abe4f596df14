"""The keys of a contract's action: dimensions, commands, outputs, safety."""

from __future__ import annotations

from roboalign_policy.core import keys
from roboalign_policy.core.contract.key import Key

_CONTROLLERS = Key(
    "texts",
    "nodes that control the arm by this topic (names as `ros2 node list` shows them, relative to "
    "the namespace): the gate needs each of them, and whoever else listens may come and go; left "
    "out: whoever listens when the gate is enabled, tools of ROS left out",
    None,
    least=1,
)

ACTION_SCHEMA: dict[str, dict[str, Key]] = {
    "action": {
        "control_mode": Key(
            "text",
            "`ee_delta`: end-effector steps in `base_frame`; `joint_position`: absolute positions",
            choices=(keys.EE_DELTA, keys.JOINT_POSITION),
        ),
        "horizon": Key("integer", "actions in a chunk", low=1, high=256, unit="steps"),
        "dims": Key("sections", "the action vector, in order", section="dim", least=1),
        "commands": Key(
            "sections",
            "command messages: read when recording, written when driving",
            section="command",
            least=1,
        ),
        "safe": Key(
            "text",
            "what the safety gate sends last on every stop: `hold` (zero delta, or the present "
            "positions) or `stop` (trajectories without a point; joint_trajectory_controller "
            "rejects these, so use `hold` with it)",
            "hold",
            choices=("hold", "stop"),
        ),
        "safety": Key(
            "section", "what the safety gate asks beyond the limits", {}, section="safety"
        ),
        "outputs": Key(
            "sections",
            "messages written when driving in place of the commands of the same dimensions",
            (),
            section="output",
        ),
    },
    "dim": {
        "name": Key(
            "identifier",
            "name of the dimension, unique; for `ee_delta` one of dx dy dz "
            "droll dpitch dyaw gripper",
        ),
        "unit": Key("unit", 'what 1.0 stands for, as in "0.05 m", "rad" or "1"'),
        "limits": Key("pair", "range of the action", unit="the dimension's"),
        "saturate": Key(
            "number",
            "how far beyond its limits a predicted value is brought back to them; "
            "beyond that the chunk is refused",
            0.0,
            low=0,
            unit="the dimension's",
        ),
        "max_rate": Key(
            "number",
            "greatest change of a `joint_position` dimension",
            None,
            low=0,
            open_low=True,
            unit="the dimension's / s",
        ),
        "max_acceleration": Key(
            "number",
            "greatest change of speed, over one period; also of the ramp to standstill",
            None,
            low=0,
            open_low=True,
            unit="the dimension's / s^2",
        ),
        "max_per_second": Key(
            "number",
            "greatest way within any second, there and back counted twice",
            None,
            low=0,
            open_low=True,
            unit="the dimension's",
        ),
    },
    "command": {
        "topic": Key("topic", "topic, relative to the node's namespace, unique"),
        "type": Key("type", "message type"),
        "frame_id": Key("text", "frame_id of the header; `base_frame` where left out", None),
        "joint_names": Key(
            "texts",
            "JointTrajectory and JointState: the joints, in the order of the positions",
            None,
            least=1,
        ),
        "time_from_start_s": Key(
            "number",
            "JointTrajectory: time to reach the point; one period where left out",
            None,
            low=0,
            high=60,
            open_low=True,
            unit="s",
        ),
        "send": Key(
            "text",
            "`step`: one action a message; `chunk` (JointTrajectory): the whole rest of the chunk",
            "step",
            choices=("step", "chunk"),
        ),
        "controllers": _CONTROLLERS,
        "fields": Key(
            "named",
            "by action dimension: where it stands in the message",
            section="command_field",
            least=1,
        ),
        "qos": Key(
            "section",
            "quality of service",
            {"reliability": "reliable", "depth": 10},
            section="qos",
        ),
        "align": Key(
            "section",
            "how commands are brought to the times of frames",
            {"method": "asof"},
            section="align",
        ),
    },
    "command_field": {
        "path": Key("text", "where the number stands in the message"),
        "gain": Key(
            "number", "action = field * gain + offset; field = (action - offset) / gain", 1.0
        ),
        "offset": Key("number", "see `gain`", 0.0, low=-1e9, high=1e9),
    },
    "safety": {
        "workspace": Key(
            "section", "box in which the end effector must stay", None, section="workspace"
        ),
        "first_pose": Key(
            "number",
            "`joint_position`: greatest distance of a first target from the present position; a "
            "gripper's is free",
            0.2,
            low=0,
            open_low=True,
            unit="the dimension's",
        ),
        "blend_in_s": Key(
            "number",
            "time over which a new sender's motion is blended in from the present pose",
            0.5,
            low=0,
            high=10,
            unit="s",
        ),
    },
    "workspace": {
        "stream": Key("text", "key of a state stream with fields x, y, z in m"),
        "x": Key("pair", "forward, in `base_frame`", unit="m"),
        "y": Key("pair", "left, in `base_frame`", unit="m"),
        "z": Key("pair", "up, in `base_frame`", unit="m"),
    },
    "output": {
        "kind": Key(
            "text",
            "`joint_trajectory`, `joint_group` (Float64MultiArray): joints by inverse kinematics; "
            "`pose_target`: PoseStamped; `gripper_action`: control_msgs/action/GripperCommand",
            choices=keys.OUTPUT_KINDS,
        ),
        "topic": Key("topic", "topic, or the action's name; relative"),
        "stream": Key(
            "text",
            "state stream with the present joints (in the order of `joint_names`), or with the "
            "present pose (x, y, z, qx, qy, qz, qw)",
            None,
        ),
        "joint_names": Key("texts", "joint kinds: the joints, in order", None, least=1),
        "base": Key("text", "joint kinds: link of the URDF that is `base_frame`", None),
        "tip": Key("text", "joint kinds: link of the URDF that is moved", None),
        "urdf": Key("text", "joint kinds: URDF file; left out: topic robot_description", None),
        "controllers": _CONTROLLERS,
        "frame_id": Key("text", "frame_id of the header; `base_frame` where left out", None),
        "gain": Key("number", "gripper: action = position * gain + offset", 1.0),
        "offset": Key("number", "see `gain`", 0.0, low=-1e9, high=1e9),
        "max_effort": Key("number", "gripper: greatest force", 0.0, low=0, high=1e6, unit="N"),
        "qos": Key(
            "section",
            "quality of service",
            {"reliability": "reliable", "depth": 10},
            section="qos",
        ),
    },
}
