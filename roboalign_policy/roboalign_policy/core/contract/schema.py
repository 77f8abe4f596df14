"""Every key of a robot contract: kind, unit, default, range. The checker and the docs read it."""

from __future__ import annotations

from roboalign_policy.core import keys
from roboalign_policy.core.contract.key import Key
from roboalign_policy.core.contract.schema_action import ACTION_SCHEMA
from roboalign_policy.core.contract.units import SI_UNITS

_GAIN = Key("number", "factor from the message's number to the value; see `offset`", 1.0)
_OFFSET = Key("number", "value = field * gain + offset", 0.0, low=-1e9, high=1e9)
_QOS = Key("section", "quality of service of the subscription or publisher", {}, section="qos")

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
    **ACTION_SCHEMA,
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
