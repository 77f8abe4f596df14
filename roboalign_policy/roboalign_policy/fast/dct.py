"""Checked actions to quantised DCT coefficients and back, for a whole batch at once."""

from __future__ import annotations

import numbers

import numpy as np
from scipy.fft import dct, idct

from roboalign_policy.fast.errors import ActionInputError, EmptyInputError, NonFiniteActionError

# Above this a float64 no longer holds every integer; no tokenizer reaches it.
_HUGE = float(2**53)


def check_actions(actions: object, ndim: int = 3, chunk: int | None = None) -> np.ndarray:
    """Returns actions as a finite float64 array, or says what is wrong with them.

    Args:
        actions: Array (N, T, D), or (T, D) with `ndim=2`, of integers or floats; nested lists of
            numbers are taken as well.
        ndim: Number of axes wanted: 3 for a batch, 2 for one chunk.
        chunk: Index to name in messages when one chunk of a list is checked.

    Returns:
        float64 array of the same shape.

    Raises:
        ActionInputError: Not numeric, ragged, or not `ndim` axes.
        EmptyInputError: One of the axes has length 0.
        NonFiniteActionError: NaN or infinity inside.
    """
    axes = "(N, T, D)" if ndim == 3 else "(T, D)"
    try:
        array = np.asarray(actions)
    except (ValueError, TypeError) as exc:
        raise ActionInputError(
            f"actions do not form an array {axes} of numbers: {exc}", chunk=chunk
        ) from exc
    if array.dtype.kind not in "fiu":
        raise ActionInputError(
            f"actions have dtype {array.dtype}, expected floats or integers", chunk=chunk
        )
    if array.ndim != ndim:
        hint = "; one chunk is actions[None]" if ndim == 3 and array.ndim == 2 else ""
        raise ActionInputError(
            f"actions have shape {array.shape}, expected {ndim} axes {axes}{hint}", chunk=chunk
        )
    if array.size == 0:
        raise EmptyInputError(f"actions have shape {array.shape}: nothing to encode", chunk=chunk)
    array = array.astype(np.float64, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise NonFiniteActionError(
            f"actions hold {array[where]} at {where[-2:]} (step, dimension)",
            chunk=where[0] if ndim == 3 else chunk,
        )
    return array


def check_size(value: object, name: str) -> int:
    """Returns a positive `int`, or says which argument is not one."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ActionInputError(f"{name} is {value!r}, expected an integer of at least 1")
    return int(value)


def quantise(actions: np.ndarray, scale: float) -> np.ndarray:
    """DCT-II along time (orthonormal), times scale, rounded half to even.

    Args:
        actions: float64 (..., T, D), finite.
        scale: Coefficients per unit of action.

    Returns:
        int64 (..., T, D); row k holds frequency k of all dimensions. Magnitudes beyond 2**53 are
        held there: the range check of the tokenizer names them.

    Source: Pertsch et al. 2025 (FAST), arXiv 2501.09747; `physical-intelligence/fast`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        coefficients = np.around(dct(actions, axis=-2, norm="ortho") * scale)
        # The sums of finite but absurd actions may overflow to inf or inf - inf.
        if not (coefficients.min() >= -_HUGE and coefficients.max() <= _HUGE):
            coefficients = np.nan_to_num(coefficients, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE)
            coefficients = np.clip(coefficients, -_HUGE, _HUGE)
        return coefficients.astype(np.int64)


def dequantise(coefficients: np.ndarray, scale: float) -> np.ndarray:
    """Inverse of `quantise` up to the rounding.

    Args:
        coefficients: Integers (..., T, D).
        scale: As in `quantise`.

    Returns:
        float64 (..., T, D), in the units of the actions.
    """
    return idct(np.asarray(coefficients, dtype=np.float64) / scale, axis=-2, norm="ortho")


def quantisation_bound(horizon: int, scale: float) -> float:
    """Greatest error that rounding DCT coefficients can make in a value, in normalised units.

    A coefficient is off by at most 0.5 / scale; in the worst step all of them add up.
    """
    k, t = np.arange(horizon)[:, None], np.arange(horizon)[None]
    basis = np.cos(np.pi * (2 * t + 1) * k / (2 * horizon)) * np.sqrt(2 / horizon)
    basis[0] = np.sqrt(1 / horizon)
    return float(np.abs(basis).sum(axis=0).max()) * 0.5 / scale
