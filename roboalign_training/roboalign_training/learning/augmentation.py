"""Light augmentation of training pictures: a crop that is brought back to size, and colour.

Everything is a function of (seed, epoch, draw), so a run that is resumed sees the pictures that
one in a single piece sees. Pictures that a model is scored on, or drives by, never come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from roboalign_training.learning.arguments import RunArguments
from roboalign_training.learning.option import require

_STREAM = 0x617567
"""Sets the random numbers apart from others that are drawn with the same seed."""
_COLOURS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass
class Augmentation:
    """Changes the pictures of a frame at random.

    Each camera gets a crop of its own: it is mounted by itself, and a crop is like a small shift
    of the mount. All get the same change of colour: the light falls on all of them, and what is
    red to one camera stays as red to the other.

    Attributes:
        crop: greatest share of the width or height that is cut off each side, 0 to below 0.5.
        colour: greatest relative change of brightness, contrast and saturation, 0 to below 1.
        seed: of the training.
        epoch: of the training, from 0; whoever counts epochs sets it.
    """

    crop: float
    colour: float
    seed: int
    epoch: int = 0

    def __call__(self, images: Sequence[np.ndarray], draw: int) -> tuple[np.ndarray, ...]:
        """The pictures of one frame, changed.

        Args:
            images: each (H, W, 3) uint8 rgb.
            draw: number of the frame, or of the sample: within an epoch the same number gets the
                same change.

        Returns:
            Pictures of the same shapes, uint8.
        """
        rng = np.random.default_rng([_STREAM, self.seed, self.epoch, draw])
        # All is drawn whether or not it is used: crops are the same with colour and without.
        factors = 1.0 + self.colour * rng.uniform(-1.0, 1.0, len(_COLOURS))
        cuts = self.crop * rng.uniform(0.0, 1.0, (len(images), 4))
        return tuple(
            self._changed(image, cut, factors) for image, cut in zip(images, cuts, strict=True)
        )

    def _changed(self, image: np.ndarray, cut: np.ndarray, factors: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(image)
        if self.crop:
            width, height = picture.size
            left, top, right, bottom = cut.tolist()
            box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
            picture = picture.resize(picture.size, Image.Resampling.BILINEAR, box=box)
        if self.colour:
            for kind, factor in zip(_COLOURS, factors.tolist(), strict=True):
                picture = kind(picture).enhance(factor)
        return np.array(picture)


def make_augmentation(arguments: RunArguments, training: Any) -> Augmentation | None:
    """The augmentation that is asked for; None where there is none.

    Args:
        arguments: of the run.
        training: the trainer's configuration.

    Raises:
        ConfigError: the data loader's processes would not hear of a new epoch.
    """
    if not arguments.augments:
        return None
    persistent = training.dataloader_persistent_workers
    require(
        "dataloader_persistent_workers", persistent, not persistent,
        "false with augment_crop or augment_colour: its processes would draw the first epoch's "
        "changes again",
    )  # fmt: skip
    return Augmentation(arguments.augment_crop, arguments.augment_colour, training.seed)
