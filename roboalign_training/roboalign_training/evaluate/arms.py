"""Arms of an experiment side by side: their policies, one a training seed, taken together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

from roboalign_training.evaluate.closed_loop import DrivenEpisode
from roboalign_training.shared.statistics import (
    mcnemar_p,
    mean_interval,
    paired_interval,
    wilson_interval,
)

Results = Mapping[DrivenEpisode, Mapping]
"""Records of one policy by episode."""


@dataclass(frozen=True)
class ReportedArm:
    """One arm.

    Attributes:
        name: in the report.
        stage: how its policies are made: base, sft, grpo.
        title: what to call it in a sentence.
        text: what it is.
        policies: name of each, and its training seed; None for a base.
    """

    name: str
    stage: str
    title: str
    text: str
    policies: Mapping[str, int | None]

    @property
    def trained(self) -> bool:
        """Whether it learnt something."""
        return any(seed is not None for seed in self.policies.values())


@dataclass(frozen=True)
class Pair:
    """Two arms on the episodes that both drove, with each training seed that both have.

    Attributes:
        first, second: their names.
        both, only_first, only_second, neither: episodes by who succeeded.
        p: exact McNemar test, two-sided; of these policies, as a training is drawn but few times.
        difference: how much more often the second succeeds.
        interval: of the difference, 95 %, of these policies.
        by_seed: the difference of each training seed; empty where neither arm has one.
        seed_interval: of the mean of these, 95 % by Student's t: of other trainings; None with
            fewer than two.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    p: float
    difference: float
    interval: tuple[float, float] | None
    by_seed: Mapping[str, float]
    seed_interval: tuple[float, float] | None


def compare(
    arms: Sequence[ReportedArm],
    pairs: Iterable[tuple[str, str]],
    results: Mapping[str, Results],
) -> list[Pair]:
    """Pairs of arms, each on the same episodes and training seeds.

    Args:
        arms: all of them.
        pairs: names of the two.
        results: of each policy, by name.
    """
    known = {arm.name: arm for arm in arms}
    return [_pair(known[first], known[second], results) for first, second in pairs]


def _pair(first: ReportedArm, second: ReportedArm, results: Mapping[str, Results]) -> Pair:
    won: list[tuple[bool, bool]] = []
    by_seed: dict[str, float] = {}
    for seed, one, other in _same_seed(first, second):
        old, new = results[one], results[other]
        pairs = [(bool(old[e]["success"]), bool(new[e]["success"])) for e in old if e in new]
        won += pairs
        if seed is not None and pairs:
            gained = pairs.count((False, True)) - pairs.count((True, False))
            by_seed[str(seed)] = gained / len(pairs)
    both, lost, gained = map(won.count, ((True, True), (True, False), (False, True)))
    n, seeds = len(won), list(by_seed.values())
    spread = None
    if len(seeds) > 1:
        spread = mean_interval(seeds, float(stdtrit(len(seeds) - 1, 0.975)))
    return Pair(
        first.name,
        second.name,
        both,
        only_first=lost,
        only_second=gained,
        neither=won.count((False, False)),
        p=mcnemar_p(lost, gained),
        difference=(gained - lost) / n if n else 0.0,
        interval=paired_interval(lost, gained, n) if n else None,
        by_seed=by_seed,
        seed_interval=spread,
    )


def _same_seed(first: ReportedArm, second: ReportedArm) -> list[tuple[int | None, str, str]]:
    """Training seed and the two policies of it; a base stands beside each seed."""
    return [
        (new if old is None else old, one, other)
        for one, old in first.policies.items()
        for other, new in second.policies.items()
        if old is None or new is None or old == new
    ]


def rate(records: Iterable[Mapping]) -> dict:
    """Successes of records, how many they are, and the Wilson 95 % interval."""
    won = [bool(record["success"]) for record in records]
    interval = list(wilson_interval(sum(won), len(won)))
    return {"successes": sum(won), "n": len(won), "interval": interval}


def episodes_by_suite(policies: Mapping[str, Results]) -> dict[str, Sequence[DrivenEpisode]]:
    """Every episode that a policy drove, by suite and then by seed."""
    found: dict[str, set[DrivenEpisode]] = {}
    for results in policies.values():
        for episode in results:
            found.setdefault(episode.suite, set()).add(episode)
    return {suite: sorted(of, key=lambda e: (e.seed, e.task)) for suite, of in found.items()}
