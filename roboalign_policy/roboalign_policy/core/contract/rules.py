"""The rules of a contract that relate keys to each other; the schema checks keys one by one."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from roboalign_policy.core import keys
from roboalign_policy.core.contract.action_rules import (
    Fault,
    check_action,
    check_clock,
    check_commands,
    check_outputs,
    check_safety,
    once,
)
from roboalign_policy.core.contract.faults import WARNING, did_you_mean, shown
from roboalign_policy.core.contract.message_fields import path_fault, unit_fault

_LEAST_SPAN = 1e-36  # 255 / span, by which numbers become 8 bits, is finite as a float32
_STREAM_KEY = re.compile(r"(image|state)\.[a-z][a-z0-9_]*\Z")


def check_rules(data: dict[str, Any], fault: Fault) -> None:
    """Report every broken rule; values the schema refused are empty here and passed over.

    Args:
        data: the contract with defaults filled in.
        fault: called for every fault found.
    """
    _unique_topics(data, fault)
    _observations(data, fault)
    check_action(data, fault)
    check_commands(data, fault)
    check_outputs(data, fault)
    check_safety(data, fault)
    _prompt(data, fault)
    _prompt_images(data, fault)


def _unique_topics(data: dict[str, Any], fault: Fault) -> None:
    topics = [
        (o.get("topic", ""), f"observations[{i}].topic")
        for i, o in enumerate(data.get("observations", []))
    ]
    topics += [
        (c.get("topic", ""), f"action.commands[{i}].topic")
        for i, c in enumerate(data.get("action", {}).get("commands", []))
    ]
    topics += [
        (o.get("topic", ""), f"action.outputs[{i}].topic")
        for i, o in enumerate(data.get("action", {}).get("outputs", []))
    ]
    topics.append((data.get("task", {}).get("topic", ""), "task.topic"))
    topics += [
        (e.get("topic", ""), f"extra_topics[{i}].topic")
        for i, e in enumerate(data.get("extra_topics", []))
    ]
    once(topics, "topic", fault)


def _observations(data: dict[str, Any], fault: Fault) -> None:
    streams = data.get("observations", [])
    once(
        [(s.get("key", ""), f"observations[{i}].key") for i, s in enumerate(streams)], "key", fault
    )
    rate_hz = data.get("rate_hz") or 0.0
    for index, stream in enumerate(streams):
        at = f"observations[{index}]"
        key, kind = stream.get("key", ""), stream.get("type", "")
        if key and not _STREAM_KEY.match(key):
            fault(f"{at}.key", shown(key), "image.<name> or state.<name> in lower case")
        elif keys.is_image(key):
            _image(stream, kind, at, fault)
        elif key:
            _state(stream, kind, at, fault)
        check_clock(stream, kind, at, fault)
        align, max_age_s = stream.get("align", {}), stream.get("max_age_s", 0.0)
        if align.get("method") in ("asof", "drop") and align.get("tolerance_s", 0) > max_age_s > 0:
            fault(
                f"{at}.align.tolerance_s",
                f"{align['tolerance_s']:g} s",
                f"at most max_age_s, {max_age_s:g} s",
                "the smaller one decides",
                WARNING,
            )
        if align.get("method") == "hold" and rate_hz > 0 and 0 < max_age_s < 0.99 / rate_hz:
            fault(
                f"{at}.max_age_s",
                f"{max_age_s:g} s",
                f"at least one period, {1 / rate_hz:g} s",
                "a stream at the rate of the frames would go stale between two samples",
                WARNING,
            )


def _image(stream: dict[str, Any], kind: str, at: str, fault: Fault) -> None:
    if kind and kind not in keys.IMAGE_TYPES:
        fault(f"{at}.type", shown(kind), f"one of {', '.join(keys.IMAGE_TYPES)} for an image")
    if "shape" not in stream:
        fault(f"{at}.shape", "nothing", "[height, width, 3] in px", "the size the camera sends")
    frozen_s, max_age_s = stream.get("max_frozen_s"), stream.get("max_age_s", 0.0)
    if frozen_s is not None and frozen_s < max_age_s:
        fault(
            f"{at}.max_frozen_s",
            f"{frozen_s:g} s",
            f"at least max_age_s, {max_age_s:g} s",
            "between two images the pixels cannot change",
        )
    _range(stream, at, fault)
    _cut(stream, at, fault)
    if "fields" in stream:
        fault(f"{at}.fields", "fields of an image", "no fields", "only state streams have fields")


def _range(stream: dict[str, Any], at: str, fault: Fault) -> None:
    """The range of an image, in the float32 in which its numbers become 8 bits."""
    if not stream.get("range"):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.array(stream["range"], np.float64).astype(np.float32)
        span = high - low
    if not _LEAST_SPAN <= span < np.inf:
        fault(
            f"{at}.range",
            shown(stream["range"]),
            f"[low, high] that as 32-bit floats are at least {_LEAST_SPAN:g} and at most "
            f"{np.finfo(np.float32).max:.3g} apart",
        )


def _cut(stream: dict[str, Any], at: str, fault: Fault) -> None:
    """Crop and resize of an image, against the size that is sent."""
    if not stream.get("shape"):
        return
    high, wide, _ = stream["shape"]
    if crop := stream.get("crop"):
        x, y, width, height = crop
        if x + width > wide or y + height > high:
            fault(
                f"{at}.crop",
                f"{shown(crop)}, which reaches to x {x + width} and y {y + height}",
                f"[x, y, width, height] within the {wide} x {high} px (width x height) of shape",
            )
            return
        high, wide = height, width
    if (resize := stream.get("resize")) and (resize[0] > high or resize[1] > wide):
        fault(
            f"{at}.resize",
            shown(resize),
            f"[height, width], at most the [{high}, {wide}] that there are",
            "a larger picture holds no more, and takes more room in data sets",
            WARNING,
        )


def _state(stream: dict[str, Any], kind: str, at: str, fault: Fault) -> None:
    if kind in keys.IMAGE_TYPES:
        fault(f"{at}.type", shown(kind), "a message with numbers", "or a key image.<name>")
    for name in ("max_frozen_s", "range", "crop", "resize"):
        if name in stream:
            fault(f"{at}.{name}", shown(stream[name]), "none", "for images only")
    if "shape" in stream:
        fault(f"{at}.shape", shown(stream["shape"]), "no shape", "a state's shape is its fields")
    if "fields" not in stream:
        fault(f"{at}.fields", "nothing", "a list of name, path and unit, one a dimension")
    fields = stream.get("fields", [])
    once(
        [(f.get("name", ""), f"{at}.fields[{i}].name") for i, f in enumerate(fields)],
        "name",
        fault,
    )
    for index, field in enumerate(fields):
        where, path = f"{at}.fields[{index}]", field.get("path", "")
        expected = path_fault(kind, path) if path else None
        if expected:
            fault(f"{where}.path", shown(path), expected)
        elif path and field.get("unit") and field.get("gain") == 1.0:
            native = unit_fault(kind, path, field["unit"])
            if native:
                fault(
                    f"{where}.unit",
                    shown(field["unit"]),
                    native,
                    "another unit takes a gain other than 1",
                )


def _prompt(data: dict[str, Any], fault: Fault) -> None:
    words = data.get("prompt", {}).get("state", [])
    streams = {
        s["key"]: [f.get("name", "") for f in s.get("fields", [])]
        for s in data.get("observations", [])
        if keys.is_state(s.get("key", ""))
    }
    once(
        [(w.get("label", ""), f"prompt.state[{i}].label") for i, w in enumerate(words)],
        "label",
        fault,
    )
    for index, word in enumerate(words):
        at, stream, field = f"prompt.state[{index}]", word.get("stream", ""), word.get("field", "")
        if stream and stream not in streams:
            fault(
                f"{at}.stream",
                shown(stream),
                f"one of {', '.join(streams) or 'no stream'}",
                did_you_mean(stream, streams) or "state streams only",
            )
        elif stream and field and field not in streams[stream]:
            fault(
                f"{at}.field",
                shown(field),
                f"one of {', '.join(streams[stream])}",
                did_you_mean(field, streams[stream]),
            )
        if "words" in word and "scale" in word:
            fault(f"{at}.scale", shown(word["scale"]), "either scale or words")


def _prompt_images(data: dict[str, Any], fault: Fault) -> None:
    images = [o["key"] for o in data.get("observations", []) if keys.is_image(o.get("key", ""))]
    for index, key in enumerate(data.get("prompt", {}).get("images", [])):
        if key not in images:
            fault(
                f"prompt.images[{index}]",
                shown(key),
                f"one of {', '.join(images) or 'no stream'}",
                did_you_mean(key, images) or "image streams only",
            )
