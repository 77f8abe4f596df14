"""What stood in a stream's messages, against the contract: image size, joints, values."""

from __future__ import annotations

import math
from collections.abc import Iterator

from roboalign_policy.core.contract.faults import ERROR, did_you_mean
from roboalign_policy.core.contract.parts import Field
from roboalign_policy.core.doctor.finding import Finding
from roboalign_policy.core.doctor.stream_content import StreamContent
from roboalign_policy.core.frames.joint_readings import named_joint

_DEGREE = math.pi / 180


def check_content(content: StreamContent, where: str, publishers: int) -> Iterator[Finding]:
    """Find what a policy could not read, or would refuse.

    Args:
        content: what stood in the messages.
        where: key of the stream in the contract, as in `observations[0]`.
        publishers: how many there are on the topic.
    """
    if content.stream.is_image:
        yield from _image(content, where)
    elif content.unreadable or content.lacking:
        yield _fields(content, where, publishers)
    yield from _values(content, where)


def _image(content: StreamContent, where: str) -> Iterator[Finding]:
    stream = content.stream
    height, width = stream.shape[:2]
    wrong = {size: n for size, n in content.sizes.items() if size != (height, width)}
    if wrong:
        sizes = ", ".join(f"{w} x {h} px" for h, w in wrong)
        high, wide = max(wrong, key=wrong.get)
        yield Finding(
            ERROR,
            "image",
            stream.key,
            f"images of {sizes} (width x height)",
            f"{width} x {height} px, as {where}.shape says",
            f"set the camera's driver to {width} x {height}, or edit {where}.shape to "
            f"[{high}, {wide}, 3] (data sets and checkpoints of the other size do not fit then)",
        )
    if content.unreadable:
        reason, count = content.unreadable.most_common(1)[0]
        yield Finding(
            ERROR,
            "image",
            stream.key,
            f"{count} of {content.read} messages looked into cannot be read: {reason}",
            "images that can be decoded",
            _unreadable_fix(reason, where),
        )


def _unreadable_fix(reason: str, where: str) -> str:
    """What to do about images that cannot be read."""
    if ": range: found [" in reason:
        return f"leave {where}.range out, or edit {where}.topic to the topic of 16 bits or floats"
    if "pip install" in reason:
        return "install what is missing, in the environment of policy_node too"
    if reason.startswith("an image of "):
        return "look into the driver's log: it runs, and its camera gives no picture"
    ranged = (
        f"say in {where}.range which numbers of a depth or thermal image become black and white"
    )
    colour = (
        "set the driver's pixel format to rgb8 (usb_cam: `pixel_format`), or choose the camera's "
        f"colour topic: edit {where}.topic"
    )
    return f"{ranged}; or {colour}" if "range: found none" in reason else colour


def _fields(content: StreamContent, where: str, publishers: int) -> Finding:
    stream = content.stream
    if missing := content.lacking:
        names = ", ".join(content.names)
        joints, joint = [named_joint(field.path) for field in stream.fields], missing[0]
        index, taken = joints.index(joint), set(joints)
        hint = did_you_mean(joint, [name for name in content.names if name not in taken])
        return Finding(
            ERROR,
            "fields",
            stream.key,
            f"no joint {', '.join(missing)}; the messages name {names}",
            f"the joints of {where}.fields",
            f"edit {where}.fields[{index}].path{f' ({hint})' if hint else ''}, "
            "choose the topic that carries these joints, or start the driver that publishes them",
        )
    reason, count = content.unreadable.most_common(1)[0]
    part = f"{count} of {content.read} messages"
    fix = f"edit {where}.fields to what `ros2 topic echo --once {stream.topic}` shows"
    if publishers > 1 and count < content.read:
        fix = (
            f"{publishers} publishers share the topic, each with a part: give every one its own "
            f"(remap), and {where}.topic the one with these fields"
        )
    return Finding(
        ERROR,
        "fields",
        stream.key,
        f"{part} cannot be read: {reason}",
        f"the fields of {where}.fields in every message",
        fix,
    )


def _values(content: StreamContent, where: str) -> Iterator[Finding]:
    stream = content.stream
    fields = {field.name: (index, field) for index, field in enumerate(stream.fields)}
    for name, count in content.non_finite.items():
        yield Finding(
            ERROR,
            "values",
            f"{stream.key}.{name}",
            f"NaN or infinite in {count} of {content.read} messages",
            "finite numbers",
            "home or calibrate the device: its driver sends NaN for what it does not know; or "
            f"take {where}.fields[{fields[name][0]}] out of the contract",
        )
    for name, value in content.outside.items():
        index, field = fields[name]
        low, high = field.limits
        yield Finding(
            ERROR,
            "limits",
            f"{stream.key}.{name}",
            f"{value:.5g} {field.unit}",
            f"within {low:g} .. {high:g} {field.unit}",
            _limit_fix(field, f"{where}.fields[{index}]", value),
        )


def _limit_fix(field: Field, where: str, value: float) -> str:
    low, high = field.limits
    if field.unit == "rad" and field.gain == 1.0 and low <= value * _DEGREE <= high:
        return f"the driver sends degrees: edit {where}.gain to {_DEGREE:.8f}"
    if field.unit == "m" and field.gain == 1.0 and low <= value * 1e-3 <= high:
        return f"the driver sends millimetres: edit {where}.gain to 0.001"
    return (
        "move the arm back into its range by hand (the safety gate lets nothing pass while it is "
        f"outside), or correct {where}.limits, gain or offset"
    )
