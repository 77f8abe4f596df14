"""The PNG encoder: lossless for every image, readable by others, the same bytes each time."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from roboalign_training.images.image_storage import decode_image
from roboalign_training.images.png import encode_png


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1),
       st.sampled_from(["noise", "flat", "ramp"]))  # fmt: skip
def test_images_come_back_bit_for_bit(height, width, seed, kind):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "flat":
        image[:] = image[0, 0]
    elif kind == "ramp":
        image = np.broadcast_to(np.arange(width, dtype=np.uint8)[:, None], image.shape)
    data = encode_png(image)
    np.testing.assert_array_equal(decode_image(data), image)
    with Image.open(io.BytesIO(data)) as opened:
        opened.verify()
    assert encode_png(image.copy()) == data


def test_flat_and_noisy_images_are_both_small():
    """What serves the one would make the other several times larger."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    assert len(encode_png(blocks)) < 0.05 * blocks.size
    y, x = np.mgrid[0:128, 0:128]
    soft = 127 + 60 * (np.sin(x / 30) + np.cos(y / 23))
    noisy = (soft[..., None] + rng.normal(0, 3, (128, 128, 3))).clip(0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noisy).save(sink, "PNG", compress_level=1)
    assert len(encode_png(noisy)) < len(sink.getvalue())
