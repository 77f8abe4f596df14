"""Image messages to what a policy sees, on a robot: mosaics and YUV go through cv_bridge there.

`core.messages` does the same by OpenCV where ROS has no cv_bridge and offline; the pixels are
equal, since cv_bridge calls the same functions of OpenCV.
"""

from __future__ import annotations

import functools
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from roboalign_policy.core.contract.parts import Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.encodings import Encoding, ToColours, opencv_colours
from roboalign_policy.core.messages.images import stream_image


def picture_from_msg(msg: Any, stream: Stream) -> np.ndarray:
    """Make what a policy sees of an image message; see `stream_image`."""
    return stream_image(msg, stream, _to_colours)


def _to_colours(pixels: np.ndarray, encoding: Encoding) -> np.ndarray:
    return _converter()(pixels, encoding)


@functools.cache
def _converter() -> ToColours:
    """cv_bridge where it is installed, else OpenCV."""
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ModuleNotFoundError as error:
        if error.name != "cv_bridge":
            raise  # it is there, and something that it needs is not
        return opencv_colours

    bridge = CvBridge()

    def convert(pixels: np.ndarray, encoding: Encoding) -> np.ndarray:
        height, width = pixels.shape[:2]
        # Without padding and in this machine's byte order: versions of cv_bridge differ there.
        plain = SimpleNamespace(
            encoding=encoding.bridge,
            height=height,
            width=width,
            step=pixels.strides[0],
            is_bigendian=sys.byteorder == "big",
            data=pixels.reshape(-1).view(np.uint8),
        )
        try:
            return bridge.imgmsg_to_cv2(plain, "rgb8" if encoding.bits == 8 else "rgb16")
        except CvBridgeError as error:
            raise SelectorError(f"cv_bridge: image encoding {encoding.name!r}: {error}") from error

    return convert
