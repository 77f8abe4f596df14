"""Image messages to (H, W, 3) uint8 rgb arrays, with at most one copy."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from roboalign_policy.core.selector_errors import SelectorError

# encoding -> (channels, which of them are r, g, b). Source: sensor_msgs/image_encodings.hpp
_ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}


def decode_compressed(data: bytes | bytearray | memoryview) -> np.ndarray:
    """Decode a JPEG or PNG.

    Args:
        data: the bytes of one JPEG or PNG file.

    Returns:
        (H, W, 3) uint8 rgb.

    Raises:
        SelectorError: the data is neither, or is damaged.
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image  # optional: only contracts with CompressedImage need it
    except ImportError as error:
        raise ImportError(
            "decoding sensor_msgs/msg/CompressedImage takes Pillow: pip install pillow"
        ) from error
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SelectorError(
            f"compressed image of {len(data)} bytes is no readable JPEG or PNG: {error}"
        ) from error


def _pixels(msg: Any) -> np.ndarray:
    """View the data of a sensor_msgs/msg/Image as rgb; a copy only where the order differs."""
    try:
        channels, order = _ENCODINGS[msg.encoding]
    except KeyError:
        raise SelectorError(
            f"image encoding {msg.encoding!r} is none of {', '.join(_ENCODINGS)}"
        ) from None
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    data = np.frombuffer(msg.data, np.uint8)
    if step < width * channels:
        raise SelectorError(
            f"image step {step} is less than a row of {width} pixels of {channels} bytes"
        )
    if data.size != height * step:
        raise SelectorError(
            f"image data of {data.size} bytes, but height {height} x step {step} "
            f"is {height * step}"
        )
    rows = data.reshape(height, step)[:, : width * channels]  # drivers may pad rows
    pixels = rows.reshape(height, width, channels)
    if (channels, order) == _ENCODINGS["rgb8"]:
        return np.ascontiguousarray(pixels)
    rgb = np.empty((height, width, 3), np.uint8)
    for to, channel in enumerate(order):  # nine times as fast as copying pixels[..., ::-1]
        rgb[..., to] = pixels[..., channel]
    return rgb


def image_from_msg(msg: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """Convert an Image or CompressedImage message.

    Args:
        msg: sensor_msgs/msg/Image (rgb8, bgr8, rgba8, bgra8, mono8) or CompressedImage (JPEG,
            PNG), from rclpy or rosbags.
        shape: height, width, 3 of the contract, px.

    Returns:
        (H, W, 3) uint8 rgb, C-contiguous. For rgb8 without row padding it is a view of the
        message's buffer; do not write to it.

    Raises:
        SelectorError: encoding, size or data do not fit.
    """
    pixels = _pixels(msg) if hasattr(msg, "encoding") else decode_compressed(bytes(msg.data))
    if pixels.shape != tuple(shape):
        raise SelectorError(
            f"image of shape {pixels.shape}, but the contract says "
            f"{tuple(shape)} (height, width, 3)"
        )
    return pixels
