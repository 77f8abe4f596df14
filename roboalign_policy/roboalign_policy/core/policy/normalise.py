"""Quantile normalisation of states and actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Keeps a dimension that never moves from dividing by zero.
#: Source: openpi `transforms.Normalize`, physical-intelligence/fast.
EPSILON = 1e-6

_ARRAYS = ("q01", "q99", "mean", "std", "low", "high")


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
    """

    q01: np.ndarray
    q99: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: int

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
        q01, q99 = np.quantile(x, [0.01, 0.99], axis=0)
        return cls(
            q01,
            q99,
            x.mean(axis=0),
            x.std(axis=0),
            x.min(axis=0),
            x.max(axis=0),
            len(x),
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
            if dims == 0 or array.shape != (dims,) or not np.isfinite(array).all():
                raise ValueError(
                    f"statistics: {name}: found shape {array.shape}, expected "
                    f"{(dims,)} of finite numbers"
                )
        if np.any(arrays["q01"] > arrays["q99"]):
            raise ValueError("statistics: found q01 above q99, expected q01 <= q99")
        return cls(count=data["count"], **arrays)
