"""The images of one camera as JPEGs: as many as fit, evenly chosen, the rest left out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

SIDE = 320
"""Pixels of an image's longer side, at most."""

QUALITY = 80


class Picture(NamedTuple):
    """One image: when it was, ns, and its JPEG."""

    time_ns: int
    jpeg: bytes


class Strip:
    """Takes images one by one and keeps every n-th, so that count and bytes stay bounded.

    Attributes:
        total: Images taken so far.
        step: Every so many-th is kept.
        pictures: Those, in order.
        size: (width, height) of the recorded images, pixels; of the first one.
        shown_size: (width, height) of the JPEGs.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        """An empty strip for `most` images and `most_bytes` of JPEG; one image is always kept."""
        self.total, self.step = 0, 1
        self.pictures: list[Picture] = []
        self.size = self.shown_size = (0, 0)
        self._most, self._most_bytes = most, most_bytes
        self._bytes = 0

    def add(self, time_ns: int, pixels: Callable[[], np.ndarray]) -> None:
        """Takes an image; `pixels` gives (H, W, 3) uint8 RGB and is called where it is kept."""
        number = self.total
        self.total += 1
        if number % self.step:
            return
        picture = Picture(time_ns, self._jpeg(pixels()))
        self.pictures.append(picture)
        self._bytes += len(picture.jpeg)
        while len(self.pictures) > 1 and (
            len(self.pictures) > self._most or self._bytes > self._most_bytes
        ):
            del self.pictures[1::2]
            self._bytes = sum(len(p.jpeg) for p in self.pictures)
            self.step *= 2

    def _jpeg(self, pixels: np.ndarray) -> bytes:
        """Makes an image small and encodes it."""
        image = Image.fromarray(pixels)
        if self.size == (0, 0):
            self.size = image.size
        image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
        self.shown_size = image.size
        sink = io.BytesIO()
        # Whole colour resolution: simulated images are small and have sharp edges.
        image.save(sink, "JPEG", quality=QUALITY, subsampling=0)
        return sink.getvalue()
