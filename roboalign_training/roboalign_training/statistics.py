"""Intervals for reported figures."""

from __future__ import annotations

import math
from collections.abc import Sequence


def wilson_interval(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    Args:
        successes: number of successes, 0 .. n.
        n: number of trials; 0 gives (0, 1), nothing is known.
        z: standard normal quantile, 95 % two-sided by default.

    Returns:
        Lower and upper bound in [0, 1].

    Raises:
        ValueError: successes outside 0 .. n.

    Source: E. B. Wilson, Probable inference, J. Am. Stat. Assoc. 22 (1927).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes: found {successes}, expected 0 .. n = {n}")
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = p + z * z / (2 * n)
    margin = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - margin) / (1 + z * z / n)), min(
        1.0, (centre + margin) / (1 + z * z / n)
    )


def mean_interval(
    values: Sequence[float], z: float = 1.959963984540054
) -> tuple[float, float] | None:
    """Normal-theory 95 % interval of a mean: mean -+ z * s / sqrt(n), s with n - 1.

    Args:
        values: n numbers.
        z: standard normal quantile.

    Returns:
        Lower and upper bound; None for fewer than two values, of which no spread can be told.
    """
    n = len(values)
    if n < 2:
        return None
    mean = sum(values) / n
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    margin = z * spread / math.sqrt(n)
    return float(mean - margin), float(mean + margin)
