"""How the policies of an experiment are driven, and in which episodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from roboalign_policy.sim import SUITES
from roboalign_training.demo.experiment import ArmPolicy, Experiment
from roboalign_training.demo.plan import Settings
from roboalign_training.evaluate.closed_loop import (
    DrivenEpisode,
    DrivingOptions,
    episodes_of_suites,
)
from roboalign_training.evaluate.seeds import BEST_SEED, CLOSED_LOOP_SEED


def driven_episodes(settings: Settings) -> list[DrivenEpisode]:
    """The episodes that each policy drives for the report."""
    return episodes_of_suites(SUITES, settings.closed_loop_episodes, CLOSED_LOOP_SEED)


def development_episodes(settings: Settings) -> list[DrivenEpisode]:
    """The episodes by which a policy is chosen."""
    return episodes_of_suites(SUITES, settings.develop_episodes, BEST_SEED)


def driving_options(experiment: Experiment, policy: ArmPolicy) -> DrivingOptions:
    """How a policy is driven."""
    return DrivingOptions(
        workers=experiment.workers,
        replan_after_steps=experiment.steps(policy.arm),
        think=policy.arm.thinks,
    )


def driven_as(experiment: Experiment) -> Callable[[ArmPolicy], Hashable]:
    """What tells apart how equal policies drive: a thought before they act, steps of a chunk."""
    return lambda policy: (policy.arm.thinks, experiment.steps(policy.arm))
