"""How the images of a data set are stored: the choices, and the bytes that each makes of one."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image as PilImage

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.images.png import encode_png

AUTO, PNG, JPEG, VIDEO = "auto", "png", "jpeg", "video"
CHOICES = (AUTO, PNG, JPEG, VIDEO)
QUALITIES = {JPEG: (1, 100, 95), VIDEO: (0, 51, 23)}
"""Least, greatest and usual quality: of a JPEG, and the CRF of H.264 (lower is better)."""
_ORIENTATION = 0x0112  # EXIF: some readers turn such an image, and others do not
_BIT_DEPTH_AT = 24  # in a PNG


@dataclass(frozen=True)
class ImageStorage:
    """A choice.

    Attributes:
        choice: `auto`: the camera's own JPEG or PNG where it is what live sees, else PNG; `png`,
            `jpeg`, `video`.
        quality: See `QUALITIES`; None where images come out as they went in.
    """

    choice: str = AUTO
    quality: int | None = None

    @classmethod
    def checked(cls, choice: str, quality: int | None) -> ImageStorage:
        """A valid choice, with its usual quality where none is given.

        Raises:
            ValueError: When there is no such choice, or it has no such quality.
        """
        if choice not in CHOICES:
            raise ValueError(f"images: found {choice!r}, expected one of {', '.join(CHOICES)}")
        if choice not in QUALITIES:
            if quality is not None:
                raise ValueError(
                    f"quality: found {quality}, but images as {choice} lose nothing: leave it out"
                )
            return cls(choice)
        least, greatest, usual = QUALITIES[choice]
        quality = usual if quality is None else quality
        if not least <= quality <= greatest:
            raise ValueError(
                f"quality: found {quality}, expected {least} .. {greatest} for images as {choice}"
            )
        return cls(choice, quality)

    @property
    def lossy(self) -> dict | None:
        """Settings that change pixels and therefore belong to the content hash.

        None for lossless storage.
        """
        if self.choice in (AUTO, PNG):
            return None
        return {"images": self.choice, "quality": self.quality}

    def encode(self, image: np.ndarray, msg: Any, as_sent: bool) -> tuple[bytes, bool]:
        """The bytes to store, and whether they are the camera's own.

        Args:
            image: (H, W, 3) uint8, RGB; what `stream_image` made of the message.
            msg: The message.
            as_sent: Whether it is the picture in the message: no range, crop or resize.
        """
        if self.choice == JPEG:
            return encode_jpeg(image, self.quality), False
        if self.choice == AUTO and as_sent and not hasattr(msg, "encoding"):
            data = bytes(msg.data)
            if reads_alike(data):
                return data, True
        return encode_png(image), False


def video_rate(contract: Contract) -> Fraction:
    """Images a second in the videos of a data set."""
    return Fraction(contract.rate_hz).limit_denominator(1000)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Encodes an image (H, W, 3) uint8, RGB, as JPEG with colours at full resolution."""
    sink = io.BytesIO()
    PilImage.fromarray(image).save(sink, "JPEG", quality=quality, subsampling=0)
    return sink.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """Decodes an encoded image to (H, W, 3) uint8, RGB."""
    with PilImage.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def reads_alike(data: bytes) -> bool:
    """Whether every reader of JPEG and PNG sees in `data` the pixels that live sees.

    Not so where colours are converted (grey, CMYK, palettes, transparency, 16 bits), the image is
    to be turned, or there are several in it.
    """
    with PilImage.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        plain = image.mode == "RGB" and image.format in ("JPEG", "PNG")
        plain = plain and getattr(image, "n_frames", 1) == 1 and "transparency" not in image.info
        plain = plain and (image.format == "JPEG" or data[_BIT_DEPTH_AT] == 8)
        turned = "exif" in image.info and _ORIENTATION in image.getexif()
        return plain and not turned
