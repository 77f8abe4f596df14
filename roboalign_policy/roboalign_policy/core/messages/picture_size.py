"""The part of a picture that a contract keeps, and its size: the same live and offline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roboalign_policy.core.contract.parts import Stream
from roboalign_policy.core.messages.encodings import opencv


def check_resizes(stream: Stream) -> None:
    """Say whether `resize` of an image stream can be done here, before the first picture comes.

    Raises:
        ImportError: it takes OpenCV, which is not installed; the text says how it is.
    """
    unchanged = stream.shape[:2] if stream.crop is None else (stream.crop[3], stream.crop[2])
    if stream.resize is not None and tuple(stream.resize) != tuple(unchanged):
        opencv(f"`resize` of {stream.key}")


def cropped_and_resized(
    image: np.ndarray, crop: Sequence[int] | None, resize: Sequence[int] | None
) -> np.ndarray:
    """Cut a picture, then bring what is left to a size.

    Args:
        image: (H, W, 3) uint8.
        crop: (x, y, width, height), px, within the image, from its left upper corner; None: all.
        resize: (height, width), px; None: as it is. Sides need not keep their ratio. The filter
            is OpenCV's INTER_AREA: where a picture is made smaller, every pixel is the mean of
            the area that it stands for.

    Returns:
        uint8, C-contiguous; the image itself where nothing is to be done.

    Raises:
        ImportError: OpenCV, which resizes, is not installed.
    """
    if crop is not None:
        x, y, width, height = crop
        image = image[y : y + height, x : x + width]
    if resize is not None and image.shape[:2] != tuple(resize):
        cv2 = opencv("`resize` of an image stream")
        height, width = resize
        image = cv2.resize(
            np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA
        )
    return np.ascontiguousarray(image)
