"""Arms of an experiment side by side: their policies, one a training seed, taken together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

from roboalign_training.evaluate.closed_loop import DrivenEpisode
from roboalign_training.shared.statistics import (
    clustered_wilson_interval,
    mcnemar_p,
    mean_interval,
    paired_mean_interval,
    sign_flip_p,
    wilson_interval,
)

Results = Mapping[DrivenEpisode, Mapping]
"""Records of one policy by episode."""


_ALIKE = 1e-9
"""Differences that are this near each other are the same but for rounding."""


@dataclass(frozen=True)
class ReportedArm:
    """One arm.

    Attributes:
        name: in the report.
        stage: how its policies are made: base, sft, grpo, vla.
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
        both, only_first, only_second, neither: pairs of episodes, of one scene and training seed,
            by who succeeded.
        scenes: how many different ones; each is driven with every training seed.
        p: that they succeed equally often, two-sided; of these policies, as a training is drawn
            but few times. None where they have no episode in common.
        test: which test that is: exact McNemar by scene, or with several pairs a scene the exact
            sign-flip test of their sums.
        difference: how much more often the second succeeds; None likewise.
        interval: of the difference, 95 %, over scenes, of these policies; None likewise.
        by_seed: the difference of each training seed; empty where neither arm has one.
        seed_interval: of the mean of these, 95 % by Student's t: of other trainings; None with
            fewer than two, or with none that differs from another: they tell no spread.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    scenes: int
    p: float | None
    test: str
    difference: float | None
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
    scenes: dict[DrivenEpisode, list[int]] = {}
    by_seed: dict[str, float] = {}
    for seed, one, other in _same_seed(first, second):
        old, new = results[one], results[other]
        pairs = {e: (bool(old[e]["success"]), bool(new[e]["success"])) for e in old if e in new}
        won += pairs.values()
        for episode, (before, after) in pairs.items():
            scenes.setdefault(episode, []).append(after - before)
        if seed is not None and pairs:
            by_seed[str(seed)] = sum(b - a for a, b in pairs.values()) / len(pairs)
    both, lost, gained = map(won.count, ((True, True), (True, False), (False, True)))
    n, seeds = len(won), list(by_seed.values())
    spread = None
    if len(seeds) > 1 and max(seeds) - min(seeds) > _ALIKE:
        spread = mean_interval(seeds, float(stdtrit(len(seeds) - 1, 0.975)))
    once = all(len(of) == 1 for of in scenes.values())
    p = mcnemar_p(lost, gained) if once else sign_flip_p([sum(of) for of in scenes.values()])
    return Pair(
        first.name,
        second.name,
        both,
        only_first=lost,
        only_second=gained,
        neither=won.count((False, False)),
        scenes=len(scenes),
        p=p if n else None,
        test="McNemar" if once else "sign flip",
        difference=(gained - lost) / n if n else None,
        interval=paired_mean_interval([sum(of) / len(of) for of in scenes.values()])
        if n
        else None,
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


def rate(policies: Sequence[Results], suite: str | None = None) -> dict:
    """Successes of policies of one arm, how many episodes and scenes, and the 95 % interval.

    The interval is Wilson's. With several policies it is of scenes, which each of them drives:
    what one scene is, easy or hard, it is for all, so that their episodes do not stand alone.

    Args:
        policies: results of each.
        suite: of its episodes alone; of all where left out.
    """
    scenes: dict[DrivenEpisode, list[bool]] = {}
    for results in policies:
        for episode, record in results.items():
            if suite in (None, record["suite"]):
                scenes.setdefault(episode, []).append(bool(record["success"]))
    clusters = [(sum(won), len(won)) for won in scenes.values()]
    successes, n = (sum(of) for of in zip(*clusters, strict=True)) if clusters else (0, 0)
    if n == len(scenes):
        interval = wilson_interval(successes, n)
    elif len(scenes) > 1:
        t = float(stdtrit(len(scenes) - 1, 0.975))
        interval = clustered_wilson_interval(clusters, t)
    else:
        interval = clustered_wilson_interval(clusters)
    return {"successes": successes, "n": n, "scenes": len(scenes), "interval": list(interval)}


def episodes_by_suite(policies: Mapping[str, Results]) -> dict[str, Sequence[DrivenEpisode]]:
    """Every episode that a policy drove, by suite and then by seed."""
    found: dict[str, set[DrivenEpisode]] = {}
    for results in policies.values():
        for episode in results:
            found.setdefault(episode.suite, set()).add(episode)
    return {suite: sorted(of, key=lambda e: (e.seed, e.task)) for suite, of in found.items()}
