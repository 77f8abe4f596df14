"""Image messages to (H, W, 3) uint8 rgb arrays, with at most one copy where that will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from roboalign_policy.core.contract.parts import Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.compressed import compressed_size, decode_compressed
from roboalign_policy.core.messages.encodings import (
    Encoding,
    ToColours,
    encoding_of,
    opencv_colours,
    size_fault,
)
from roboalign_policy.core.messages.picture_size import cropped_and_resized
from roboalign_policy.core.messages.value_range import check_range, to_8_bits

_RGB = (0, 1, 2)


def stream_image(msg: Any, stream: Stream, to_colours: ToColours = opencv_colours) -> np.ndarray:
    """Make what a policy sees of an image message: the one way live, in data sets and on pages.

    Args:
        msg: as for `image_from_msg`, of the size `stream.shape`.
        stream: image stream of the contract: size as sent, range, crop, resize.
        to_colours: as for `image_from_msg`.

    Returns:
        `stream.value_shape` uint8 rgb, C-contiguous; perhaps a view of the message's buffer.

    Raises:
        SelectorError: encoding, size, range or data do not fit.
    """
    image = image_from_msg(msg, stream.shape, stream.range, stream.key, to_colours)
    return cropped_and_resized(image, stream.crop, stream.resize)


def image_from_msg(
    msg: Any,
    shape: tuple[int, int, int],
    value_range: Sequence[float] | None = None,
    where: str = "",
    to_colours: ToColours = opencv_colours,
) -> np.ndarray:
    """Convert an Image or CompressedImage message, the whole picture as it was sent.

    Args:
        msg: sensor_msgs/msg/Image of an encoding in `encodings.ENCODINGS`, or CompressedImage
            (see `decode_compressed`), from rclpy or rosbags.
        shape: height, width, 3 of the contract, px.
        value_range: (low, high) of encodings of more than 8 bits; see `to_8_bits`.
        where: key of the stream, for errors of its range.
        to_colours: what converts mosaics and YUV.

    Returns:
        (H, W, 3) uint8 rgb, C-contiguous. For rgb8 without row padding it is a view of the
        message's buffer; do not write to it.

    Raises:
        SelectorError: encoding, size or data do not fit.
    """
    if hasattr(msg, "encoding"):
        check_image_msg(msg, shape, value_range, where)  # the size, before OpenCV gets the pixels
        return _pixels(msg, value_range, where, to_colours)
    pixels = decode_compressed(bytes(msg.data), msg.format, value_range, where)
    _check_shape(pixels.shape, shape)
    return pixels


def check_stream_image(msg: Any, stream: Stream) -> None:
    """Say whether `stream_image` takes a message, as far as can be told without its pixels.

    Of an Image that is all there is to say; the pixels of a CompressedImage may be damaged all
    the same.

    Raises:
        SelectorError: as `stream_image`.
    """
    check_image_msg(msg, stream.shape, stream.range, stream.key)


def check_image_msg(
    msg: Any,
    shape: tuple[int, int, int],
    value_range: Sequence[float] | None = None,
    where: str = "",
) -> None:
    """Say whether `image_from_msg` takes a message, as far as can be told without its pixels.

    Args:
        msg: as for `image_from_msg`.
        shape: as for `image_from_msg`.
        value_range: as for `image_from_msg`.
        where: as for `image_from_msg`.

    Raises:
        SelectorError: as `image_from_msg`.
    """
    if hasattr(msg, "encoding"):
        size = _rows(msg, _encoding(msg, value_range, where)).shape[:2]
    else:
        size = compressed_size(msg.data, msg.format, value_range, where)
    _check_shape((*size, 3), shape)


def _encoding(msg: Any, value_range: Sequence[float] | None, where: str) -> Encoding:
    """The encoding of a raw image, where it goes with the range."""
    found = encoding_of(msg.encoding)
    image = f"image encoding {found.name!r}"
    check_range(value_range, found.bits, image, found.example, where)
    return found


def _rows(msg: Any, encoding: Encoding) -> np.ndarray:
    """View the data of a sensor_msgs/msg/Image as (H, W x bytes a pixel) uint8, without padding.

    Raises:
        SelectorError: height, width, step and data do not go together.
    """
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    size = encoding.bytes_a_pixel
    data = np.frombuffer(msg.data, np.uint8)
    if step < width * size:
        raise SelectorError(
            f"image step {step} is less than a row of {width} pixels of {size} bytes"
        )
    if data.size != height * step:
        raise SelectorError(
            f"image data of {data.size} bytes, but height {height} x step {step} "
            f"is {height * step}"
        )
    if fault := size_fault(encoding, height, width):
        raise SelectorError(fault)
    rows = data.reshape(height, step)[:, : width * size]  # drivers may pad rows
    return rows.reshape(height, width, size)


def _pixels(
    msg: Any, value_range: Sequence[float] | None, where: str, to_colours: ToColours
) -> np.ndarray:
    """Convert the data of a sensor_msgs/msg/Image; a copy only where its order is another."""
    encoding = _encoding(msg, value_range, where)
    pixels = _rows(msg, encoding)
    if encoding.bits > 8:
        order = ">" if msg.is_bigendian else "<"
        pixels = np.ascontiguousarray(pixels).view(order + encoding.dtype)
        pixels = pixels.astype(encoding.dtype, copy=False)  # in the byte order of this machine
    if encoding.opencv:
        pixels = to_colours(np.ascontiguousarray(pixels), encoding)
    if value_range is not None:
        pixels = to_8_bits(pixels, value_range)
    if pixels.shape[2] == 3 and encoding.order in (_RGB, ()):
        return np.ascontiguousarray(pixels)
    rgb = np.empty((*pixels.shape[:2], 3), np.uint8)
    for to, channel in enumerate(encoding.order):  # nine times as fast as pixels[..., ::-1]
        rgb[..., to] = pixels[..., channel]
    return rgb


def _check_shape(found: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    if found != tuple(shape):
        raise SelectorError(
            f"image of shape {found}, but the contract says {tuple(shape)} (height, width, 3)"
        )
