"""Image messages to what a policy sees, on a robot: mosaics and YUV go through cv_bridge there.

`core.messages` does the same by OpenCV where ROS has no cv_bridge and offline; the pixels are
equal, since cv_bridge calls the same functions of OpenCV. So OpenCV also stands in for a cv_bridge
that is installed and does not load, as where it was built for another NumPy; the log says so.
"""

from __future__ import annotations

import functools
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
from rclpy.logging import get_logger

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
    """cv_bridge where it is installed and loads, else OpenCV."""
    try:
        from cv_bridge import CvBridge, CvBridgeError

        bridge = CvBridge()
        bridge.encoding_to_cvtype2("rgb8")  # loads its C++ part, which the import does without
    except (ImportError, AttributeError, SystemError) as error:  # of a library for another NumPy
        if not (isinstance(error, ModuleNotFoundError) and error.name == "cv_bridge"):
            get_logger("roboalign_policy").warning(
                f"cv_bridge is installed and does not load ({type(error).__name__}: {error}): "
                "OpenCV converts mosaics and YUV, to the same pixels"
            )
        return opencv_colours

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
