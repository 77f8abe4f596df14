"""Every key of a robot contract: kind, unit, default, range. The checker and the docs read it."""

from __future__ import annotations

from roboalign_policy.core import keys
from roboalign_policy.core.contract.key import Key
from roboalign_policy.core.contract.units import SI_UNITS

_GAIN = Key("number", "factor from the message's number to the value; see `offset`", 1.0)
_OFFSET = Key("number", "value = field * gain + offset", 0.0, low=-1e9, high=1e9)
_QOS = Key("section", "quality of service of the subscription or publisher", {}, section="qos")

_COMMAND_QOS = Key(
    "section", "quality of service", {"reliability": "reliable", "depth": 10}, section="qos"
)
_CONTROLLERS = Key(
    "texts",
    "nodes that control the arm by this topic (names as `ros2 node list` shows them, relative to "
    "the namespace): the gate needs each of them, and whoever else listens may come and go; left "
    "out: whoever listens when the gate is enabled, tools of ROS left out",
    None,
    least=1,
)

SCHEMA: dict[str, dict[str, Key]] = {
    "contract": {
        "schema": Key("text", "version of this schema", choices=(keys.CONTRACT_SCHEMA,)),
        "name": Key("identifier", "name of the robot"),
        "description": Key("text", "one line for people", ""),
        "base_frame": Key("text", "frame of poses and deltas, REP-103: x forward, y left, z up"),
        "rate_hz": Key(
            "number", "rate of frames and of actions", low=0, high=1000, open_low=True, unit="Hz"
        ),
        "observations": Key(
            "sections", "the streams the policy sees", section="observation", least=1
        ),
        "action": Key("section", "what the policy commands", section="action"),
        "task": Key(
            "section", "where the instruction arrives (std_msgs/msg/String)", {}, section="task"
        ),
        "prompt": Key(
            "section", "what the model sees and reads of the streams", {}, section="prompt"
        ),
        "extra_topics": Key(
            "sections", "recorded, never seen by the policy", (), section="extra_topic"
        ),
    },
    "observation": {
        "key": Key("text", "feature key: `image.<name>` or `state.<name>`, unique"),
        "topic": Key("topic", "topic, relative to the node's namespace, unique"),
        "type": Key("type", "message type"),
        "shape": Key("shape", "images only: size as it arrives", None, unit="px"),
        "range": Key(
            "pair",
            "images of more than 8 bits only: the numbers that become black and white",
            None,
            unit="the encoding's",
        ),
        "crop": Key(
            "box",
            "images only: the part that is kept, x and y of its left upper corner, in pixels of "
            "`shape`",
            None,
            unit="px",
        ),
        "resize": Key(
            "size",
            "images only: size that the part is brought to, height first as in `shape`",
            None,
            unit="px",
        ),
        "fields": Key(
            "sections", "states only: one entry a dimension", None, section="field", least=1
        ),
        "qos": _QOS,
        "align": Key(
            "section", "how samples are brought to the times of frames", {}, section="align"
        ),
        "max_age_s": Key(
            "number",
            "greatest age of a sample in a frame; older makes it invalid",
            low=0,
            high=60,
            open_low=True,
            unit="s",
        ),
        "max_frozen_s": Key(
            "number",
            "images: how long the same pixels are believed while the arm is commanded to move; "
            "`max_age_s` where left out",
            None,
            low=0,
            high=60,
            open_low=True,
            unit="s",
        ),
    },
    "field": {
        "name": Key("identifier", "name of the dimension, unique in the stream"),
        "path": Key(
            "text",
            "where the number stands in the message, as in `pose.position.x`, "
            "`points[0].positions[1]`, `position[joint_name]`",
        ),
        "unit": Key("unit", "SI unit of the value, after gain and offset", choices=SI_UNITS),
        "gain": _GAIN,
        "offset": _OFFSET,
        "limits": Key(
            "pair", "range the robot's maker gives for the value", None, unit="the field's"
        ),
        "max_rate": Key(
            "number",
            "greatest speed the robot's maker gives",
            None,
            low=0,
            open_low=True,
            unit="the field's / s",
        ),
    },
    "qos": {
        "reliability": Key(
            "text", "reliability", "best_effort", choices=("best_effort", "reliable")
        ),
        "durability": Key(
            "text", "durability", "volatile", choices=("volatile", "transient_local")
        ),
        "depth": Key(
            "integer", "history depth (keep last)", 5, low=1, high=10000, unit="messages"
        ),
    },
    "align": {
        "method": Key(
            "text",
            "`hold`: newest at or before t within `max_age_s`; `asof`: newest "
            "within `tolerance_s`; `drop`: as `asof`, but a frame without it is "
            "left out instead of being an error",
            "hold",
            choices=("hold", "asof", "drop"),
        ),
        "clock": Key(
            "text",
            "time of a sample: its header stamp or when it was received",
            "header",
            choices=("header", "receive"),
        ),
        "tolerance_s": Key(
            "number",
            "greatest distance for `asof` and `drop`, and from a frame to its command",
            0.05,
            low=0,
            high=10,
            unit="s",
        ),
    },
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
        "qos": _COMMAND_QOS,
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
        "qos": _COMMAND_QOS,
    },
    "task": {
        "topic": Key("topic", "topic of the instruction", keys.TASK_TOPIC),
        "qos": Key(
            "section",
            "quality of service",
            {"reliability": "reliable", "durability": "transient_local", "depth": 1},
            section="qos",
        ),
    },
    "prompt": {
        "state": Key(
            "sections", "the words of the state text, in order", (), section="prompt_state"
        ),
        "images": Key(
            "texts",
            "keys of the image streams that the model sees, in order; without it all of them",
            None,
            least=1,
        ),
    },
    "prompt_state": {
        "label": Key("identifier", "word before the number, unique"),
        "stream": Key("text", "key of a state stream"),
        "field": Key("text", "field of that stream"),
        "scale": Key("number", "the model reads round(value * scale)", None),
        "words": Key(
            "words",
            "words instead of a number: the first whose bound is above the value",
            None,
            least=2,
        ),
    },
    "extra_topic": {
        "topic": Key("topic", "topic, relative to the node's namespace, unique"),
        "type": Key("type", "message type"),
        "qos": _QOS,
    },
}
