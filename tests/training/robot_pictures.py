"""Cameras of every kind that robots have, one a name: their streams, and what they send."""

from __future__ import annotations

import io
import struct

import numpy as np
from conversion_bags import START_NS, jpeg, two_cameras
from demo_bags import STORE
from PIL import Image

from roboalign_policy.core.contract.contract import Contract, contract_from_dict
from roboalign_policy.core.messages.encodings import ENCODINGS

HEIGHT, WIDTH = 24, 32
HZ, SECONDS = 10, 1.5
DEPTH_HEAD = struct.pack("<i2f", 0, 10100.0, -1009.0)  # of 32FC1 as compressedDepth

RAW = {f"d{name.lower()}": name for name in ENCODINGS}
PADDED = {
    "padded": "rgb8",
    "padded_yuv": "yuv422_yuy2",
    "big_depth": "16UC1",
    "big_metres": "32FC1",
}
FILES = {
    "jpeg": "rgb8; jpeg compressed bgr8",
    "png": "rgb8; png compressed bgr8",
    "png16": "16UC1; png compressed ",
    "depth16": "16UC1; compressedDepth png",
    "depth32": "32FC1; compressedDepth png",
}
CUT = {
    "cropped": ("rgb8", {"crop": [3, 1, 20, 18]}),
    "resized": ("bgr8", {"resize": [12, 10]}),
    "cut_mosaic": ("bayer_grbg8", {"crop": [1, 1, 28, 20], "resize": [10, 14]}),
    "cut_depth": ("32FC1", {"crop": [0, 0, 32, 16], "resize": [8, 16]}),
    "cut_jpeg": ("jpeg", {"crop": [4, 2, 24, 20], "resize": [10, 12]}),
}
CAMERAS = (*RAW, *PADDED, *FILES, *CUT)


def kind_of(name: str) -> str:
    """Encoding of a raw camera, or its name among `FILES`."""
    return {**RAW, **PADDED, **{key: kind for key, (kind, _) in CUT.items()}}.get(name, name)


def many_cameras() -> Contract:
    """The simulated arm with all of them."""
    data = two_cameras().to_dict()
    model, *_ = data["observations"]
    model.pop("max_frozen_s", None)
    states = data["observations"][2:]
    images = []
    for name in CAMERAS:
        kind = kind_of(name)
        stream = {**model, "key": f"image.{name}", "topic": f"robot/{name}",
                  "shape": [HEIGHT, WIDTH, 3]}  # fmt: skip
        if kind in FILES:
            stream["type"] = "sensor_msgs/msg/CompressedImage"
        if kind in ("32FC1", "depth32"):
            stream["range"] = [0.3, 2.0]
        elif kind in ("png16", "depth16") or ENCODINGS.get(kind, ENCODINGS["rgb8"]).bits > 8:
            stream["range"] = [300, 60_000]
        images.append({**stream, **CUT.get(name, ("", {}))[1]})
    return contract_from_dict({**data, "observations": [*images, *states]})


def sent(name: str, number: int, ns: int | None = None):
    """The message number `number` of a camera, with types of rosbags."""
    t, kind = STORE.types, kind_of(name)
    ns = START_NS + round(number * 1e9 / HZ) if ns is None else ns
    stamp = t["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)
    header = t["std_msgs/msg/Header"](stamp, "camera")
    rng = np.random.default_rng([number, CAMERAS.index(name)])
    if kind in FILES:
        data = np.frombuffer(_file(kind, rng), np.uint8)
        return t["sensor_msgs/msg/CompressedImage"](header, FILES[kind], data)
    encoding = ENCODINGS[kind]
    shape = (HEIGHT, WIDTH * encoding.channels)
    if encoding.dtype == "f4":
        pixels = rng.uniform(0.1, 2.4, shape)
        pixels[rng.random(shape) < 0.1] = np.nan
        pixels[rng.random(shape) < 0.1] = np.inf
    else:
        pixels = rng.integers(0, 1 << encoding.bits, shape)
    big = name.startswith("big")
    rows = pixels.astype(np.dtype(encoding.dtype).newbyteorder(">" if big else "<"))
    rows = np.frombuffer(rows.tobytes(), np.uint8).reshape(HEIGHT, -1)
    pad = 5 if name in PADDED else 0
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=0xA5)
    return t["sensor_msgs/msg/Image"](
        header, HEIGHT, WIDTH, kind, int(big), rows.shape[1], rows.reshape(-1)
    )


def _file(kind: str, rng: np.random.Generator) -> bytes:
    if kind == "jpeg":
        return jpeg(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    sink = io.BytesIO()
    if kind == "png":
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    else:
        pixels = rng.integers(0, 1 << 16, (HEIGHT, WIDTH), dtype=np.uint16)
    Image.fromarray(pixels).save(sink, "PNG")
    return (DEPTH_HEAD if kind.startswith("depth") else b"") + sink.getvalue()


def camera_rows(seconds: float = SECONDS) -> tuple[tuple[int, str, object], ...]:
    """What all of them send: received ns, topic, message."""
    return tuple(
        (START_NS + round(number * 1e9 / HZ), f"/robot/{name}", sent(name, number))
        for number in range(int(seconds * HZ))
        for name in CAMERAS
    )
