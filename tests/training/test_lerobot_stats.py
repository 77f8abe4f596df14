"""Statistics of LeRobot's kind: the same figures as from all values at once."""

from __future__ import annotations

import numpy as np
import pytest

from roboalign_training.lerobot.stats import (
    NAMES,
    QUANTILES,
    ImageStats,
    merge_stats,
    sampled_frames,
    vector_stats,
)


def test_vectors():
    values = np.random.default_rng(0).normal(3.0, 2.0, (5000, 4)).astype(np.float32)
    stats = vector_stats(values)
    assert tuple(stats) == NAMES
    np.testing.assert_allclose(stats["mean"], values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats["std"], values.std(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(stats["min"], values.min(axis=0))
    np.testing.assert_array_equal(stats["max"], values.max(axis=0))
    assert stats["count"].tolist() == [5000]
    bin_width = (values.max(axis=0) - values.min(axis=0)) / 5000
    for name, share in QUANTILES.items():
        off = np.abs(stats[name] - np.quantile(values, share, axis=0))
        assert (off < 5 * bin_width + 0.02).all()


def test_numbers_constants_and_a_single_frame():
    stats = vector_stats(np.arange(11))
    assert stats["mean"].tolist() == [5.0]
    still = vector_stats(np.full((20, 2), 0.7, np.float32))
    for name in ("min", "max", "mean", *QUANTILES):
        np.testing.assert_allclose(still[name], 0.7, atol=1e-6)
    np.testing.assert_allclose(still["std"], 0.0, atol=1e-9)
    one = vector_stats(np.array([[1.0, 2.0]]))
    assert one["q99"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("size", [(20, 30), (310, 450)])
def test_images_are_as_from_all_their_pixels(size):
    images = np.random.default_rng(1).integers(3, 200, (5, *size, 3), dtype=np.uint8)
    stats = ImageStats()
    for image in images:
        stats.add(image)
    found = stats.result()
    step = 3 if size[1] > 300 else 1
    pixels = images[:, ::step, ::step].reshape(-1, 3)
    expected = vector_stats(pixels)
    for name in NAMES:
        assert found[name].shape == ((1,) if name == "count" else (3, 1, 1))
        if name != "count":
            np.testing.assert_allclose(found[name].ravel(), expected[name] / 255, atol=1e-9)
    assert found["count"].tolist() == [5]


def test_merged_statistics_are_those_of_both_together():
    rng = np.random.default_rng(2)
    one, other = rng.normal(0, 1, (300, 3)), rng.normal(5, 2, (700, 3))
    merged = merge_stats(vector_stats(one), vector_stats(other))
    whole = vector_stats(np.concatenate([one, other]))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-9)
    np.testing.assert_allclose(
        merged["q10"], 0.3 * vector_stats(one)["q10"] + 0.7 * vector_stats(other)["q10"]
    )


@pytest.mark.parametrize(("frames", "samples"), [(1, 1), (50, 50), (500, 105), (10_000, 1000)])
def test_how_many_frames_are_looked_at(frames, samples):
    """Source: the figures in the comment of LeRobot's `estimate_num_samples`."""
    found = sampled_frames(frames)
    assert len(found) == len(set(found)) == samples
    assert (found[0], found[-1]) == (0, frames - 1)
