"""Encodings of a raw image message, and how a mosaic or YUV becomes colours.

Source: sensor_msgs/image_encodings.hpp for names and layouts; cv_bridge/src/cv_bridge.cpp
(getConversionCodes) for the conversions of OpenCV: a mosaic is named by its first two pixels in
ROS, and by those of its second row, from the second column on, in OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from roboalign_policy.core.contract.path import SelectorError


@dataclass(frozen=True)
class Encoding:
    """How the pixels of a raw image lie in its message.

    Attributes:
        name: in the message.
        channels: numbers a pixel.
        dtype: of a number in the byte order of this machine, as numpy writes it: u1, u2 or f4.
        order: which channels are r, g and b; empty where OpenCV converts.
        opencv: name of OpenCV's conversion to rgb, of cv2.COLOR_*; "" where there is none.
        bridge: name that every version of cv_bridge knows.
    """

    name: str
    channels: int
    dtype: str
    order: tuple[int, ...] = ()
    opencv: str = ""
    bridge: str = ""

    @property
    def bits(self) -> int:
        """Bits of a number."""
        return 8 * np.dtype(self.dtype).itemsize

    @property
    def bytes_a_pixel(self) -> int:
        """Bytes of a pixel in the message."""
        return self.channels * np.dtype(self.dtype).itemsize

    @property
    def example(self) -> str:
        """A range as a contract may give it; empty of 8 bits, which take none."""
        if self.bits == 8:
            return ""
        if self.dtype == "f4":
            return "range: [0.3, 2.0] (metres)"
        if self.opencv:
            return "range: [0, 4095] (a sensor of 12 bits)"
        if self.name == "16UC1":
            return "range: [300, 2000] (millimetres)"
        return "range: [0, 65535] (all 16 bits)"


_MOSAICS = {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}
_YUV = {"yuv422": "UYVY", "uyvy": "UYVY", "yuv422_yuy2": "YUY2", "yuyv": "YUY2"}
_YUV_IN_BRIDGE = {"UYVY": "yuv422", "YUY2": "yuv422_yuy2"}


def _all() -> list[Encoding]:
    found = [
        Encoding("rgb8", 3, "u1", (0, 1, 2)),
        Encoding("bgr8", 3, "u1", (2, 1, 0)),
        Encoding("rgba8", 4, "u1", (0, 1, 2)),
        Encoding("bgra8", 4, "u1", (2, 1, 0)),
        Encoding("mono8", 1, "u1", (0, 0, 0)),
    ]
    for bits, dtype in ((8, "u1"), (16, "u2")):
        for ros, opencv in _MOSAICS.items():
            name = f"bayer_{ros}{bits}"
            found.append(Encoding(name, 1, dtype, (), f"Bayer{opencv}2RGB", name))
    for name, opencv in _YUV.items():
        bridge = _YUV_IN_BRIDGE[opencv]
        found.append(Encoding(name, 2, "u1", (), f"YUV2RGB_{opencv}", bridge))
    found += [Encoding(name, 1, "u2", (0, 0, 0)) for name in ("mono16", "16UC1")]
    found.append(Encoding("32FC1", 1, "f4", (0, 0, 0)))
    return found


ENCODINGS: dict[str, Encoding] = {encoding.name: encoding for encoding in _all()}
"""By name, what is read."""

ToColours = Callable[[np.ndarray, Encoding], np.ndarray]
"""(H, W, channels) of an encoding with `opencv` -> (H, W, 3) rgb of the same dtype."""


def encoding_of(name: str) -> Encoding:
    """Return the encoding of a name.

    Raises:
        SelectorError: it is not read; the text names those that are.
    """
    try:
        return ENCODINGS[name]
    except KeyError:
        raise SelectorError(f"image encoding {name!r} is none of {', '.join(ENCODINGS)}") from None


def size_fault(encoding: Encoding, height: int, width: int) -> str:
    """Return why there are no colours in a picture of this size; empty where there are."""
    if min(height, width) < 1:
        return f"an image of {width} x {height} pixels"
    if encoding.opencv.startswith("Bayer") and min(height, width) < 3:
        return f"a mosaic of {width} x {height} pixels, expected at least 3 x 3"
    if encoding.opencv.startswith("YUV") and width % 2:
        return f"{encoding.name} with an odd width, {width} pixels: two share their colour"
    return ""


def opencv_colours(pixels: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Convert a mosaic or YUV by OpenCV, as cv_bridge does.

    Args:
        pixels: (H, W, channels) of the encoding's dtype, C-contiguous; see `size_fault`.
        encoding: one with `opencv`.

    Returns:
        (H, W, 3) rgb of the same dtype.

    Raises:
        ImportError: OpenCV is not installed.
        SelectorError: OpenCV refuses the pixels.
    """
    cv2 = opencv(f"image encoding {encoding.name!r}")
    try:
        return cv2.cvtColor(pixels, getattr(cv2, f"COLOR_{encoding.opencv}"))
    except cv2.error as error:
        text = " ".join(str(error).split())
        raise SelectorError(f"OpenCV: image encoding {encoding.name!r}: {text}") from error


def opencv(purpose: str):
    """Return the module cv2, loaded when it is first needed: that takes a third of a second.

    Args:
        purpose: what takes it, for the error.

    Raises:
        ImportError: it is not installed; the text says how it is.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"{purpose} takes OpenCV ({error}): pip install opencv-python-headless"
        ) from error
    return cv2
