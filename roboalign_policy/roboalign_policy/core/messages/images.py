"""Image messages to (H, W, 3) uint8 rgb arrays, with at most one copy."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.image_format import ENCODINGS, check_format

# encoding -> (channels, which of them are r, g, b)
_ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
_PNG, _PNG_DEPTH_AT = b"\x89PNG\r\n\x1a\n", 24  # after signature, chunk head, width and height


def decode_compressed(data: bytes | bytearray | memoryview, form: str = "") -> np.ndarray:
    """Decode a JPEG or PNG.

    Args:
        data: the bytes of one JPEG or PNG file.
        form: `format` of the CompressedImage.

    Returns:
        (H, W, 3) uint8 rgb.

    Raises:
        SelectorError: the data is neither, is damaged, or is no 8-bit colour or grey picture.
        ImportError: Pillow is not installed.
    """
    check_format(form)
    with _opened(data) as image:
        # A conversion to what it is already would be a copy.
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def depth_fault(data: bytes | bytearray | memoryview, mode: str) -> str:
    """Return why an image file is no 8-bit colour or grey picture; empty where it is one.

    Args:
        data: the file.
        mode: Pillow's name of its pixels. Of colours with 16 bits it tells nothing.
    """
    if bytes(data[:8]) == _PNG and len(data) > _PNG_DEPTH_AT and data[_PNG_DEPTH_AT] > 8:
        return f"a PNG of {data[_PNG_DEPTH_AT]} bits a channel"
    if mode.startswith(("I", "F")):
        return f"an image of pixels {mode!r}, which are more than 8 bits"
    return ""


@contextmanager
def _opened(data: bytes | bytearray | memoryview) -> Iterator[Any]:
    """Open a JPEG or PNG with Pillow, which reads its head; what is wrong is a SelectorError."""
    try:
        # Optional: only contracts with CompressedImage need it.
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            "decoding sensor_msgs/msg/CompressedImage takes Pillow: pip install pillow"
        ) from error
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if fault := depth_fault(data, image.mode):
                raise SelectorError(f"compressed image is {fault}, expected 8-bit colour or grey")
            yield image
    except UnidentifiedImageError as error:  # whose text has the address of an object in it
        raise SelectorError(
            f"compressed image of {len(data)} bytes is no readable JPEG or PNG: "
            "it does not begin as one"
        ) from error
    except SelectorError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SelectorError(
            f"compressed image of {len(data)} bytes is no readable JPEG or PNG: {error}"
        ) from error


def _rows(msg: Any) -> tuple[np.ndarray, tuple[int, int, int]]:
    """View the data of a sensor_msgs/msg/Image as (H, W, channels); which are r, g, b."""
    try:
        channels, order = _ENCODINGS[msg.encoding]
    except KeyError:
        raise SelectorError(
            f"image encoding {msg.encoding!r} is none of {', '.join(ENCODINGS)}"
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
    return rows.reshape(height, width, channels), order


def _pixels(msg: Any) -> np.ndarray:
    """View the data of a sensor_msgs/msg/Image as rgb; a copy only where the order differs."""
    pixels, order = _rows(msg)
    if (pixels.shape[2], order) == _ENCODINGS["rgb8"]:
        return np.ascontiguousarray(pixels)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
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
    if hasattr(msg, "encoding"):
        pixels = _pixels(msg)
    else:
        pixels = decode_compressed(bytes(msg.data), msg.format)
    _check_shape(pixels.shape, shape)
    return pixels


def check_image_msg(msg: Any, shape: tuple[int, int, int]) -> None:
    """Say whether `image_from_msg` takes a message, as far as can be told without its pixels.

    Of an Image that is all there is to say; the pixels of a CompressedImage may be damaged all
    the same.

    Args:
        msg: as for `image_from_msg`.
        shape: as for `image_from_msg`.

    Raises:
        SelectorError: as `image_from_msg`.
    """
    if hasattr(msg, "encoding"):
        _check_shape((*_rows(msg)[0].shape[:2], 3), shape)
        return
    check_format(msg.format)
    with _opened(msg.data) as image:
        size = image.size
    _check_shape((size[1], size[0], 3), shape)


def _check_shape(found: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    if found != tuple(shape):
        raise SelectorError(
            f"image of shape {found}, but the contract says {tuple(shape)} (height, width, 3)"
        )
