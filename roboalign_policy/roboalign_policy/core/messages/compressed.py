"""Compressed image messages to pictures: JPEG, PNG, and depth as PNG. Pillow decodes them all."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.image_format import Content, content_of
from roboalign_policy.core.messages.value_range import check_range, to_8_bits

_PNG, _PNG_DEPTH_AT = b"\x89PNG\r\n\x1a\n", 24  # after signature, chunk head, width and height
_GREY = 0  # colour type of a PNG, the byte behind its depth
_DEPTH_HEAD = struct.Struct("<i2f")  # before the PNG: kind of compression, and two parameters
_EXAMPLES = {
    Content.DEPTH_M: "range: [0.3, 2.0] (metres)",
    Content.DEPTH_MM: "range: [300, 2000] (millimetres)",
    Content.DEEP: "range: [0, 65535] (all 16 bits)",
}
Data = bytes | bytearray | memoryview


def decode_compressed(
    data: Data, form: str = "", value_range: Sequence[float] | None = None, where: str = ""
) -> np.ndarray:
    """Decode the data of a CompressedImage.

    Args:
        data: one JPEG or PNG file, or depth as compressed_depth_image_transport sends it.
        form: `format` of the CompressedImage.
        value_range: (low, high) of more than 8 bits, see `to_8_bits`; None of colours.
        where: what has the range, as in "image.depth", for errors.

    Returns:
        (H, W, 3) uint8 rgb.

    Raises:
        SelectorError: the data is neither, is damaged, or is no picture of that kind.
        ImportError: Pillow is not installed.
    """
    content = _content(data, form, value_range, where)
    with _opened(_file(data, content), content) as image:
        if content is Content.COLOURS:
            # A conversion to what it is already would be a copy.
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
        numbers = np.array(image).astype(np.uint16)  # older versions of Pillow have int32 here
    if content is Content.DEPTH_M:
        numbers = _metres(numbers, data)
    grey = to_8_bits(numbers, value_range)
    return np.repeat(grey[..., None], 3, axis=2)


def compressed_size(
    data: Data, form: str, value_range: Sequence[float] | None, where: str
) -> tuple[int, int]:
    """Return height and width, px, as the head of a file says; see `decode_compressed`."""
    content = _content(data, form, value_range, where)
    with _opened(_file(data, content), content) as image:
        width, height = image.size
    return height, width


def depth_fault(data: Data, mode: str) -> str:
    """Return why an image file is no 8-bit colour or grey picture; empty where it is one.

    Args:
        data: the file.
        mode: Pillow's name of its pixels. Of colours with 16 bits it tells nothing.
    """
    if (bits := _png_bits(data)) > 8:
        return f"a PNG of {bits} bits a channel"
    if mode.startswith(("I", "F")):
        return f"an image of pixels {mode!r}, which are more than 8 bits"
    return ""


def _png_bits(data: Data) -> int:
    """Bits a channel of a PNG; 0 of other data."""
    if bytes(data[:8]) != _PNG or len(data) <= _PNG_DEPTH_AT + 1:
        return 0
    return data[_PNG_DEPTH_AT]


def _content(data: Data, form: str, value_range: Sequence[float] | None, where: str) -> Content:
    """What is in the data, where it goes with a range.

    A PNG of 16-bit grey whose format names no encoding is taken for `DEEP` where there is a range.
    """
    content = content_of(form)
    if content is Content.COLOURS and value_range is not None and _png_bits(data) == 16:
        content = Content.DEEP
    bits = 8 if content is Content.COLOURS else 32 if content is Content.DEPTH_M else 16
    name = f"compressed image of {content.value} (format {form!r})"
    check_range(value_range, bits, name, _EXAMPLES.get(content, ""), where)
    return content


def _file(data: Data, content: Content) -> Data:
    """The JPEG or PNG in the data."""
    if content not in (Content.DEPTH_M, Content.DEPTH_MM):
        return data
    if len(data) < _DEPTH_HEAD.size:
        raise SelectorError(
            f"compressed image of {len(data)} bytes as compressedDepth, expected a head of "
            f"{_DEPTH_HEAD.size} bytes before the PNG"
        )
    return data[_DEPTH_HEAD.size :]


def _metres(inverse: np.ndarray, data: Data) -> np.ndarray:
    """Depth, (H, W) float32, m, of quantised inverse depth; NaN where there is no measurement.

    Source: compressed_depth_image_transport, codec.cpp, decodeCompressedDepthImage.
    """
    _, a, b = _DEPTH_HEAD.unpack_from(data)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.float32(a) / (inverse.astype(np.float32) - np.float32(b))
    depth[inverse == 0] = np.nan
    return depth


@contextmanager
def _opened(data: Data, content: Content) -> Iterator[Any]:
    """Open a JPEG or PNG with Pillow, which reads its head; what is wrong is a SelectorError."""
    try:
        # Optional: only contracts with CompressedImage need it.
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            "decoding sensor_msgs/msg/CompressedImage takes Pillow: pip install pillow"
        ) from error
    formats = ("JPEG", "PNG") if content is Content.COLOURS else ("PNG",)
    kinds = " or ".join(formats)
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            if fault := _fault(data, image.mode, content):
                raise SelectorError(f"compressed image is {fault}")
            yield image
    except UnidentifiedImageError as error:  # whose text has the address of an object in it
        raise SelectorError(
            f"compressed image of {len(data)} bytes is no readable {kinds}: "
            "it does not begin as one"
        ) from error
    except SelectorError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SelectorError(
            f"compressed image of {len(data)} bytes is no readable {kinds}: {error}"
        ) from error


def _fault(data: Data, mode: str, content: Content) -> str:
    """Why a file does not hold what it should; empty where it does."""
    if content is Content.COLOURS:
        fault = depth_fault(data, mode)
        return f"{fault}, expected 8-bit colour or grey" if fault else ""
    if _png_bits(data) != 16 or data[_PNG_DEPTH_AT + 1] != _GREY:
        return f"a PNG of {_png_bits(data)} bits, pixels {mode!r}, expected 16-bit grey"
    return ""
