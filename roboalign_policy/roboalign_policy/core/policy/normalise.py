"""Quantile normalisation of states and actions, and statistics that can be merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Keeps a dimension that never moves from dividing by zero.
#: Source: openpi `transforms.Normalize`, physical-intelligence/fast.
EPSILON = 1e-6

# Probabilities of the sketch: dense at both ends, where q01 and q99 lie.
_KNOTS = 257
_PROBABILITIES = (1.0 - np.cos(np.pi * np.arange(_KNOTS) / (_KNOTS - 1))) / 2.0


@dataclass(frozen=True, eq=False)
class QuantileStats:
    """Statistics of D dimensions; q01 and q99 define the normalisation.

    Attributes:
        q01: (D,) float64, 1 % quantile.
        q99: (D,) float64, 99 % quantile.
        mean: (D,) float64.
        std: (D,) float64, of the population.
        low: (D,) float64, least value.
        high: (D,) float64, greatest value.
        count: number of samples.
        sketch: (257, D) float64, quantiles at fixed probabilities; `merge` needs them.
    """

    q01: np.ndarray
    q99: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: int
    sketch: np.ndarray

    @classmethod
    def from_samples(cls, x: np.ndarray) -> QuantileStats:
        """Compute the statistics of samples.

        Args:
            x: (N, D) numbers, N >= 1, finite.

        Raises:
            ValueError: another shape, no samples, or values that are not finite.
        """
        x = np.asarray(x, np.float64)
        if x.ndim != 2 or 0 in x.shape:
            raise ValueError(f"samples: found shape {x.shape}, expected (N, D) with N, D >= 1")
        bad = np.flatnonzero(~np.isfinite(x).all(axis=0))
        if bad.size:
            raise ValueError(
                f"samples: found non-finite values in dimensions {bad.tolist()}, "
                "expected finite numbers"
            )
        quantiles = np.quantile(x, [0.01, 0.99, *_PROBABILITIES], axis=0)
        return cls(
            quantiles[0],
            quantiles[1],
            x.mean(axis=0),
            x.std(axis=0),
            x.min(axis=0),
            x.max(axis=0),
            len(x),
            quantiles[2:],
        )

    @property
    def dims(self) -> int:
        """Number of dimensions D."""
        return len(self.q01)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if x.ndim == 0 or x.shape[-1] != self.dims:
            raise ValueError(f"values: found shape {x.shape}, expected (..., {self.dims})")
        return x

    def normalise(self, x: np.ndarray) -> np.ndarray:
        """Map q01..q99 to -1..1: `(x - q01) / (q99 - q01 + 1e-6) * 2 - 1`, without clipping.

        Args:
            x: (..., D) in data units.

        Returns:
            (..., D), float32 for float32 and else float64.

        Raises:
            ValueError: the last axis is not D.
        """
        x = self._checked(x)
        result = (x.astype(np.float64) - self.q01) / (self.q99 - self.q01 + EPSILON) * 2.0 - 1.0
        return result.astype(np.float32) if x.dtype == np.float32 else result

    def denormalise(self, x: np.ndarray) -> np.ndarray:
        """Invert `normalise`; shapes, dtypes and errors as there."""
        x = self._checked(x)
        result = (x.astype(np.float64) + 1.0) / 2.0 * (self.q99 - self.q01 + EPSILON) + self.q01
        return result.astype(np.float32) if x.dtype == np.float32 else result

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, exact (a float's shortest text reads back as itself)."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {"count": self.count, **arrays}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> QuantileStats:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: a key is missing, or a value of the wrong shape or not finite.
        """
        missing = [name for name in ("count", *_ARRAYS) if name not in data]
        if missing:
            raise ValueError(
                f"statistics: found no {', '.join(missing)}, expected count, {', '.join(_ARRAYS)}"
            )
        if (
            isinstance(data["count"], bool)
            or not isinstance(data["count"], int)
            or data["count"] < 1
        ):
            raise ValueError(f"statistics: count: found {data['count']!r}, expected a number >= 1")
        arrays = {}
        for name in _ARRAYS:
            try:
                arrays[name] = np.array(data[name], np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"statistics: {name}: found {type(data[name]).__name__} that is "
                    f"no array of numbers ({error})"
                ) from error
        dims = arrays["q01"].shape[-1] if arrays["q01"].ndim == 1 else 0
        for name, array in arrays.items():
            shape = (_KNOTS, dims) if name == "sketch" else (dims,)
            if dims == 0 or array.shape != shape or not np.isfinite(array).all():
                raise ValueError(
                    f"statistics: {name}: found shape {array.shape}, expected "
                    f"{shape} of finite numbers"
                )
        if np.any(arrays["q01"] > arrays["q99"]):
            raise ValueError("statistics: found q01 above q99, expected q01 <= q99")
        return cls(count=data["count"], **arrays)

    def merge(self, other: QuantileStats) -> QuantileStats:
        """Return the statistics of both sets of samples together.

        Count, mean, std, least and greatest value are exact; quantiles come from the sketches
        (257 points each), so q01 and q99 of equally sized parts are off by less than 0.2
        percentage points of probability.

        Raises:
            ValueError: the numbers of dimensions differ.
        """
        if other.dims != self.dims:
            raise ValueError(f"merge: found {other.dims} dimensions, expected {self.dims}")
        count = self.count + other.count
        share = other.count / count
        difference = other.mean - self.mean
        variance = (
            (1 - share) * self.std**2 + share * other.std**2 + share * (1 - share) * difference**2
        )
        wanted = np.concatenate([[0.01, 0.99], _PROBABILITIES])
        quantiles = np.stack(
            [
                _merged_quantiles(
                    (self.sketch[:, d], other.sketch[:, d]), (1 - share, share), wanted
                )
                for d in range(self.dims)
            ],
            axis=1,
        )
        return QuantileStats(
            quantiles[0],
            quantiles[1],
            self.mean + share * difference,
            np.sqrt(variance),
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            count,
            quantiles[2:],
        )


_ARRAYS = ("q01", "q99", "mean", "std", "low", "high", "sketch")


def _merged_quantiles(
    sketches: tuple[np.ndarray, ...], shares: tuple[float, ...], wanted: np.ndarray
) -> np.ndarray:
    """Return quantiles of a mixture of distributions known by their quantiles.

    Args:
        sketches: (K,) rising quantiles at `_PROBABILITIES`, one array a part.
        shares: share of each part, adding up to 1.
        wanted: (Q,) probabilities.

    Returns:
        (Q,) values.
    """
    grid = np.unique(np.concatenate(sketches))
    below, upto = np.zeros(len(grid)), np.zeros(len(grid))
    for knots, share in zip(sketches, shares, strict=True):
        # A value that takes a share of its own (a gripper's -1) is a jump: P(X < x) and
        # P(X <= x) differ there; from one value to the next the share grows linearly.
        values, first = np.unique(knots, return_index=True)
        left = _PROBABILITIES[first]
        right = _PROBABILITIES[np.append(first[1:], len(knots)) - 1]
        path = np.stack([left, right], axis=1).ravel()
        between = np.interp(grid, np.repeat(values, 2), path, left=0.0, right=1.0)
        at = np.minimum(np.searchsorted(values, grid), len(values) - 1)
        exact = values[at] == grid
        below += share * np.where(exact, left[at], between)
        upto += share * np.where(exact, right[at], between)
    return np.interp(wanted, np.stack([below, upto], axis=1).ravel(), np.repeat(grid, 2))
