"""Statistics as LeRobot computes them: by episode, then merged; quantiles from histograms.

Source: huggingface/lerobot, src/lerobot/datasets/compute_stats.py, releases 0.4 to 0.6. In 64 bit
here: LeRobot's 32-bit sums, and up to 0.5 its 8-bit squares of pixels, are less exact.
"""

from __future__ import annotations

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
_BINS, _EDGE = 5000, 1e-10
_LARGE, _SMALL = 300, 150  # px: from where on, and to what, pictures are thinned out

Stats = dict[str, np.ndarray]
"""Name of a statistic -> (D,) float64, of images (3, 1, 1); `count` is (1,) int64."""


def vector_stats(values: np.ndarray) -> Stats:
    """Statistics of the vectors (N, D) or numbers (N,) of one episode."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    mean = rows.mean(axis=0)
    found = {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": mean,
        "std": rows.std(axis=0),
        "count": np.array([len(rows)]),
    }
    for name, share in QUANTILES.items():
        if len(rows) < 2:
            found[name] = mean.copy()
        else:
            found[name] = np.array([_quantile(c, np.ones(len(c)), share) for c in rows.T])
    return found


class ImageStats:
    """Statistics of the images of one episode by channel, in 0 .. 1; holds counts, no images."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._counts = np.zeros((3, 256), np.int64)
        self._images = 0

    def add(self, image: np.ndarray) -> None:
        """Takes in an image, (H, W, 3) uint8; large ones are thinned out as LeRobot does."""
        height, width = image.shape[:2]
        step = 1 if max(height, width) < _LARGE else max(height, width) // _SMALL
        pixels = image[::step, ::step]
        for channel in range(3):
            self._counts[channel] += np.bincount(pixels[..., channel].ravel(), minlength=256)
        self._images += 1

    def result(self) -> Stats:
        """The statistics of what was added; at least one image."""
        found: dict[str, list] = {name: [] for name in NAMES if name != "count"}
        for counts in self._counts:
            levels = np.flatnonzero(counts).astype(np.float64)
            counts = counts[counts > 0]
            mean = np.average(levels, weights=counts)
            found["min"].append(levels[0])
            found["max"].append(levels[-1])
            found["mean"].append(mean)
            found["std"].append(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))
            for name, share in QUANTILES.items():
                found[name].append(_quantile(levels, counts, share))
        stats = {name: np.array(value).reshape(3, 1, 1) / 255 for name, value in found.items()}
        return {**stats, "count": np.array([self._images])}


def sampled_frames(count: int) -> list[int]:
    """The frames of an episode of `count` whose images go into the statistics."""
    least = min(100, count)
    samples = max(least, min(int(count**0.75), 10_000))
    return np.round(np.linspace(0, count - 1, samples)).astype(int).tolist()


def merge_stats(one: Stats, other: Stats) -> Stats:
    """Statistics of both together; of quantiles, LeRobot takes the mean by frames."""
    counts = np.array([one["count"][0], other["count"][0]], np.float64)
    share = counts / counts.sum()
    mean = share[0] * one["mean"] + share[1] * other["mean"]
    variance = sum(
        part * (s["std"] ** 2 + (s["mean"] - mean) ** 2)
        for part, s in zip(share, (one, other), strict=True)
    )
    return {
        "min": np.minimum(one["min"], other["min"]),
        "max": np.maximum(one["max"], other["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": one["count"] + other["count"],
        **{q: share[0] * one[q] + share[1] * other[q] for q in QUANTILES},
    }


def _quantile(values: np.ndarray, counts: np.ndarray, share: float) -> float:
    """A quantile of `values` (N,) that occur `counts` (N,) times, from a histogram of them."""
    edges = np.linspace(values.min() - _EDGE, values.max() + _EDGE, _BINS + 1)
    inside = np.histogram(values, bins=edges, weights=counts)[0]
    until = np.cumsum(inside)
    target = share * counts.sum()
    at = int(np.searchsorted(until, target))
    if at == 0:
        return float(edges[0])
    if at >= len(until):
        return float(edges[-1])
    fraction = (target - until[at - 1]) / inside[at]
    return float(edges[at] + fraction * (edges[at + 1] - edges[at]))
