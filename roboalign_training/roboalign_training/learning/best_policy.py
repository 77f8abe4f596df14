"""Which of several policies is the one to drive with, by development episodes that all drove.

The simplest stays unless another one succeeds more often, beyond noise, on the same episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from roboalign_training.learning.choice import LEVEL
from roboalign_training.shared.statistics import mcnemar_p


@dataclass(frozen=True)
class Comparison:
    """A policy beside the one that was kept so far.

    Attributes:
        first: the one that was kept so far.
        second: the other one.
        only_first, only_second: episodes in which one of the two alone succeeded.
        p: exact McNemar test, two-sided.
        level: p at which the second takes the first's place, if it succeeds more often.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p: float
    level: float

    @property
    def beyond_noise(self) -> bool:
        """Whether they differ by more than chance explains."""
        return self.p <= self.level

    @property
    def replaces(self) -> bool:
        """Whether the second one is kept from now on."""
        return self.only_second > self.only_first and self.beyond_noise

    def text(self) -> str:
        """The figures in words."""
        counts = f"{self.only_second} episodes to {self.only_first}, McNemar p = {self.p:.2g}"
        if self.replaces:
            verdict = f"better than {self.first} beyond noise"
        elif self.beyond_noise:
            verdict = f"worse than {self.first} beyond noise"
        else:
            verdict = f"no difference from {self.first} beyond noise"
        return f"{self.second}: {verdict} ({counts})"


@dataclass(frozen=True)
class BestPolicy:
    """The policy that was chosen, and by what.

    Attributes:
        name: of the policy.
        n: episodes that each drove; 0 where there was nothing to choose from.
        successes: of each policy.
        comparisons: in order.
    """

    name: str
    n: int
    successes: Mapping[str, int]
    comparisons: Sequence[Comparison]

    @property
    def why(self) -> str:
        """Rule and figures in a sentence."""
        if not self.comparisons:
            return "the only trained policy: the others, if any, are equal to it"
        won = ", ".join(f"{name} {count}" for name, count in self.successes.items())
        looked = "; ".join(comparison.text() for comparison in self.comparisons)
        level = self.comparisons[0].level
        return (
            f"successes in {self.n} development episodes: {won}. In the order of the arms one "
            f"takes the place of another only where it is better beyond noise "
            f"(p <= {level:.2g}): {looked}"
        )

    def record(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            "n": self.n,
            "successes": dict(self.successes),
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
        }


def only_one(name: str) -> BestPolicy:
    """Where there is nothing to choose from, and nothing was driven."""
    return BestPolicy(name, 0, {}, ())


def best_of(won: Mapping[str, Sequence[bool]]) -> BestPolicy:
    """Choose by the same episodes.

    Each policy is compared with the one that is kept so far, the first to begin with. The level of
    the test is shared by the comparisons (Bonferroni), so that chance alone replaces the first in
    at most `choice.LEVEL` of all cases.

    Args:
        won: of each policy, the simplest first, whether it succeeded in each episode; two or more.
    """
    kept, *others = won
    level, comparisons = LEVEL / len(others), []
    for name in others:
        pairs = list(zip(won[kept], won[name], strict=True))
        lost, gained = pairs.count((True, False)), pairs.count((False, True))
        comparison = Comparison(kept, name, lost, gained, mcnemar_p(lost, gained), level)
        comparisons.append(comparison)
        if comparison.replaces:
            kept = name
    successes = {name: sum(of) for name, of in won.items()}
    return BestPolicy(kept, len(won[kept]), successes, comparisons)
