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


def paired_interval(
    only_first: int, only_second: int, n: int, z: float = 1.959963984540054
) -> tuple[float, float]:
    """Interval of how much more often the second of two arms succeeds than the first.

    Args:
        only_first: of n cases that both tried, those in which the first arm alone succeeded.
        only_second: the second alone.
        n: cases, 1 or more.
        z: standard normal quantile, 95 % two-sided by default.

    Returns:
        Lower and upper bound in [-1, 1]; of no width zero, however alike the two are.

    Raises:
        ValueError: counts that cannot be.

    Source: A. Agresti and Y. Min, Simple improved confidence intervals for comparing matched
    proportions, Stat. Med. 24 (2005): Wald's with half a case added to each of the four cells.
    """
    if min(only_first, only_second) < 0 or n < max(1, only_first + only_second):
        raise ValueError(
            f"found {only_first} and {only_second} of {n}, expected counts of 0 or more, "
            "together at most n, and n of 1 or more"
        )
    first, second, total = only_first + 0.5, only_second + 0.5, n + 2
    centre = (second - first) / total
    spread = math.sqrt(first + second - (second - first) ** 2 / total) / total
    return max(-1.0, centre - z * spread), min(1.0, centre + z * spread)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that two arms, tried on the same cases, succeed equally often.

    Args:
        only_first: cases in which the first arm alone succeeded.
        only_second: the second alone. Cases in which both did or none say nothing.

    Raises:
        ValueError: a count is negative.

    Source: Q. McNemar, Note on the sampling error of the difference between correlated
    proportions, Psychometrika 12 (1947); the exact binomial form.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"found {only_first} and {only_second}, expected counts of 0 or more")
    n, least = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)
