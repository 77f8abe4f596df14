"""Which policy a GRPO run keeps: its candidate only where that differs from the base beyond noise.

Two rules: held-out frames, where there is no simulator, and driven development episodes, where
there is one. Average figures of single answers do not rank policies, and a difference within noise
is none: in doubt the base is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from roboalign_training.shared.statistics import mcnemar_p, mean_interval, paired_interval

HELD_OUT, DRIVEN = "held_out", "driven"
RULES = (HELD_OUT, DRIVEN)
LEVEL = 0.05
"""Two-sided error that a difference from chance alone may have."""
LEAST_HELD_OUT = 3
"""Held-out episodes that a spread is known of: two that happen to be alike seem to have none."""
_ALIKE = 1e-9
"""Differences of mean scores that are this near each other are the same but for rounding."""


@dataclass(frozen=True)
class Choice:
    """What was kept, by which rule and by which figures.

    Attributes:
        rule: one of `RULES`.
        kept: step of the policy that is kept; 0: the base.
        candidate: step of the other policy that was looked at.
        n: pairs: held-out episodes, or development episodes.
        base, score: means over the pairs, of the base and of the candidate: held-out score, the
            weighted sum of the rewards, or share of successes.
        difference: of the candidate from the base.
        interval: of the difference, 95 %; None where the pairs tell no spread.
        only_base, only_candidate, p: of driven episodes, those in which one of the two alone
            succeeded, and the exact McNemar test; None by held-out frames.
        chosen_from: steps that the candidate is the best of. Where the same frames chose it, the
            interval is widened for it (Bonferroni).
        undecided: why the pairs cannot tell a difference from noise; empty where they can.
    """

    rule: str
    kept: int
    candidate: int
    n: int
    base: float
    score: float
    difference: float
    interval: tuple[float, float] | None
    only_base: int | None = None
    only_candidate: int | None = None
    p: float | None = None
    chosen_from: int = 1
    undecided: str = ""

    @property
    def worse(self) -> bool:
        """Whether the candidate is worse than the base, beyond noise."""
        if self.undecided or self.difference >= 0:
            return False
        if self.p is not None:
            return self.p <= LEVEL
        return self.interval is not None and self.interval[1] < 0

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def text(self, base: str, steps: int) -> str:
        """The rule, the figures, and what follows from them, in a sentence.

        Args:
            base: name of the policy that training started from; may be empty.
            steps: how many were trained.
        """
        of = f"of {steps}" if self.candidate <= steps else "of before an interruption"
        candidate = f"step {self.candidate} {of}"
        kept = candidate if self.kept else " ".join(f"the base {base} as it was".split())
        if self.rule == HELD_OUT:
            by = f"{self.n} held-out episodes"
            figures = f"scores {self.score:.4f}, the base {self.base:.4f}"
        else:
            by = f"{self.n} driven development episodes"
            won, lost = round(self.score * self.n), round(self.base * self.n)
            figures = f"succeeds in {won}, the base in {lost}"
        known = "no interval"
        if self.interval is not None:
            known = f"95 % interval {self.interval[0]:+.4f} to {self.interval[1]:+.4f}"
        if self.p is not None:
            known += f", McNemar p = {self.p:.2g}"
        beyond = "beyond noise" if self.kept else "not beyond noise in its favour"
        if self.worse:
            beyond = "worse beyond noise"
        if self.undecided:
            beyond = f"not to be told from noise: {self.undecided}"
        return (
            f"kept {kept}, by {by}: {candidate} {figures}; difference {self.difference:+.4f} "
            f"({known}), {beyond}"
        )


def choice_of(record: Mapping[str, Any]) -> Choice:
    """A choice from `Choice.record`."""
    interval = record["interval"]
    return Choice(**{**record, "interval": None if interval is None else tuple(interval)})


def by_held_out(
    step: int, base: Sequence[float], candidate: Sequence[float], chosen_from: int
) -> Choice:
    """Keep the candidate where its score is above the base's beyond the interval.

    Frames of one episode are alike, so that episodes are counted: a t interval over the paired
    differences of their means. Fewer than `LEAST_HELD_OUT`, or differences without any spread,
    decide nothing: the base is kept.

    Args:
        step: of the candidate.
        base: its mean score in each held-out episode.
        candidate: the same of the candidate.
        chosen_from: steps that the candidate had the best score of, on the same frames.
    """
    from scipy.special import stdtrit  # Student's quantiles

    differences = [new - old for old, new in zip(base, candidate, strict=True)]
    n = len(differences)
    spread, interval = max(differences) - min(differences) > _ALIKE, None
    if n > 1 and spread:
        quantile = float(stdtrit(n - 1, 1 - LEVEL / 2 / chosen_from))
        interval = mean_interval(differences, quantile)
    undecided = too_few(n)
    if not undecided and not spread:
        undecided = "every episode has the same difference, so that its spread is not known"
    kept = step if interval is not None and interval[0] > 0 and not undecided else 0
    means = [sum(values) / n for values in (base, candidate, differences)]
    return Choice(
        HELD_OUT, kept, step, n, *means, interval, chosen_from=chosen_from, undecided=undecided
    )


def too_few(episodes: int) -> str:
    """Why so many held-out episodes decide nothing; empty where they are enough."""
    if episodes >= LEAST_HELD_OUT:
        return ""
    count = "1 held-out episode" if episodes == 1 else f"{episodes} held-out episodes"
    return f"found {count}, expected {LEAST_HELD_OUT} or more"


def by_driving(step: int, pairs: Sequence[tuple[bool, bool]], chosen_from: int = 1) -> Choice:
    """Keep the candidate where it succeeds more often, beyond noise, on the same seeds.

    Args:
        step: of the candidate.
        pairs: whether the base and whether the candidate succeeded in each development episode.
        chosen_from: steps that the candidate was chosen from, on other episodes.
    """
    n = len(pairs)
    lost, won = pairs.count((True, False)), pairs.count((False, True))
    p = mcnemar_p(lost, won)
    kept = step if won > lost and p <= LEVEL else 0
    shares = [sum(pair[arm] for pair in pairs) / n for arm in (0, 1)]
    difference, interval = (won - lost) / n, paired_interval(lost, won, n)
    return Choice(
        DRIVEN, kept, step, n, *shares, difference, interval, lost, won, p, chosen_from
    )  # fmt: skip
