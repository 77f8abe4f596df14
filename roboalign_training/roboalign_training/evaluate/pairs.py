"""Arms side by side: what each did on the same seed, and whether they differ beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roboalign_training.evaluate.closed_loop import DrivenEpisode
from roboalign_training.shared.statistics import mcnemar_p

Results = Mapping[DrivenEpisode, Mapping]
"""Records of one arm by episode."""


@dataclass(frozen=True)
class Pair:
    """Two arms on the episodes that both drove.

    Attributes:
        first, second: their names.
        both, only_first, only_second, neither: episodes by who succeeded.
        p: exact McNemar test, two-sided.
    """

    first: str
    second: str
    both: int
    only_first: int
    only_second: int
    neither: int
    p: float


def compare(arms: Mapping[str, Results]) -> list[Pair]:
    """Each arm with the one before it."""
    names = list(arms)
    return [_pair(arms, *two) for two in zip(names, names[1:], strict=False)]


def _pair(arms: Mapping[str, Results], first: str, second: str) -> Pair:
    shared = [episode for episode in arms[first] if episode in arms[second]]
    won = [(bool(arms[first][e]["success"]), bool(arms[second][e]["success"])) for e in shared]
    counts = [won.count(kind) for kind in ((True, True), (True, False), (False, True))]
    return Pair(first, second, *counts, won.count((False, False)), mcnemar_p(counts[1], counts[2]))


def episodes_by_suite(arms: Mapping[str, Results]) -> dict[str, Sequence[DrivenEpisode]]:
    """Every episode that an arm drove, by suite and then by seed."""
    found: dict[str, set[DrivenEpisode]] = {}
    for results in arms.values():
        for episode in results:
            found.setdefault(episode.suite, set()).add(episode)
    return {suite: sorted(of, key=lambda e: (e.seed, e.task)) for suite, of in found.items()}
