"""Intervals for reported figures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np


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
    return _wilson(successes / n, n, z) if n else (0.0, 1.0)


def clustered_wilson_interval(
    clusters: Sequence[tuple[int, int]], z: float = 1.959963984540054
) -> tuple[float, float]:
    """Wilson interval of a proportion whose trials come in clusters that are alike in themselves.

    Args:
        clusters: of each its successes and its trials, such as those of one scene.
        z: quantile: standard normal, 95 % two-sided by default, or Student's t with one degree of
            freedom less than clusters.

    Returns:
        Lower and upper bound in [0, 1], with as many trials as would tell as much if each stood
        alone: the binomial variance over that between clusters, at most all trials. Where all
        succeed, or none, no spread can be told, and each cluster counts as one trial.

    Raises:
        ValueError: successes outside 0 .. n of a cluster.

    Source: E. L. Korn and B. I. Graubard, Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data, Survey Methodology 24 (1998): the
    effective sample size, here in Wilson's interval; the variance is that of a ratio.
    """
    for won, of in clusters:
        if not 0 <= won <= of:
            raise ValueError(f"successes: found {won}, expected 0 .. n = {of}")
    clusters = [cluster for cluster in clusters if cluster[1]]
    successes, n = sum(won for won, _ in clusters), sum(of for _, of in clusters)
    if n == 0:
        return 0.0, 1.0
    share, count = successes / n, len(clusters)
    effective = float(count)
    if count > 1 and 0 < successes < n:
        between = sum((won - share * of) ** 2 for won, of in clusters)
        variance = count / (count - 1) * between / n**2
        binomial = share * (1 - share) / n
        effective = n * min(1.0, binomial / variance) if variance else float(n)
    return _wilson(share, effective, z)


def _wilson(p: float, n: float, z: float) -> tuple[float, float]:
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


def paired_mean_interval(
    differences: Sequence[float], z: float = 1.959963984540054
) -> tuple[float, float]:
    """Interval of a mean difference between two arms, of cases that both tried more than once.

    Args:
        differences: of each case the second arm's mean success less the first's, in [-1, 1]; one
            or more.
        z: standard normal quantile, 95 % two-sided by default.

    Returns:
        As `paired_interval`, which it is where each difference is -1, 0 or 1: two cases are added,
        of which half a one differs by 1 and half a one by -1.

    Raises:
        ValueError: no difference, or one outside [-1, 1].
    """
    if not differences or not all(-1 <= d <= 1 for d in differences):
        raise ValueError(f"differences: found {differences!r}, expected one or more of -1 to 1")
    total = len(differences) + 2
    centre = sum(differences) / total
    spread = math.sqrt((sum(d * d for d in differences) + 1) / total - centre**2)
    margin = z * spread / math.sqrt(total)
    return max(-1.0, centre - margin), min(1.0, centre + margin)


def sign_flip_p(sums: Sequence[int]) -> float:
    """Exact two-sided p-value that differences lie about zero as often on either side.

    Args:
        sums: of each case how many more successes the second arm had than the first; a case with
            0 says nothing.

    Returns:
        Among all ways to change their signs, the share whose sum is as far from zero or farther;
        `mcnemar_p` where each is -1, 0 or 1.

    Source: R. A. Fisher, The Design of Experiments (1935), section 21.
    """
    chances = np.ones(1)  # of the sums -reach .. reach
    for size, count in Counter(abs(int(s)) for s in sums if s).items():
        own = np.zeros(2 * size * count + 1)
        own[:: 2 * size] = [math.comb(count, k) / 2**count for k in range(count + 1)]
        chances = np.convolve(chances, own)
    reach, found = len(chances) // 2, abs(sum(int(s) for s in sums))
    far = np.abs(np.arange(-reach, reach + 1)) >= found
    return min(1.0, float(chances[far].sum()))


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
