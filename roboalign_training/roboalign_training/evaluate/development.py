"""Two policies of a training run on the same development episodes, to choose between them.

Driving runs as processes of its own, so that training needs no ROS.
"""

from __future__ import annotations

from pathlib import Path

from roboalign_policy.sim import SUITES
from roboalign_training.evaluate.checks import check_driving, check_ros
from roboalign_training.evaluate.closed_loop import (
    DrivenEpisode,
    DrivingOptions,
    describe_run,
    episodes_of_suites,
    run_closed_loop,
)
from roboalign_training.evaluate.seeds import CHOICE_SEED, MOST_SEEDS
from roboalign_training.learning.arguments import GrpoArguments
from roboalign_training.learning.run_callback import ended_by_signal
from roboalign_training.shared.fields import require
from roboalign_training.shared.run_layout import CANDIDATE, DEVELOPMENT, ConfigError


def check_development(base: Path, arguments: GrpoArguments) -> None:
    """Refuse, before training, what could not be driven after it.

    Args:
        base: folder of the policy that training starts from.
        arguments: of the run.

    Raises:
        ConfigError: there is no ROS, the policy is of another robot than the simulated arm, or so
            many episodes or simulators cannot be.
    """
    try:
        count = arguments.develop_episodes
        seeds = f"at most {MOST_SEEDS}, the seeds there are"
        require("develop_episodes", count, count <= MOST_SEEDS, seeds)
        check_driving(_episodes(arguments), _options(arguments))
        check_ros()
        describe_run(base, _options(arguments))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"choose: found 'driven', which needs the simulated arm; without it choose by "
            f"held_out: {error}"
        ) from error


def drive_development(base: Path, run: Path, arguments: GrpoArguments) -> list[tuple[bool, bool]]:
    """Let base and candidate drive the same episodes; those that were driven before count.

    Args:
        base: folder of the policy that training started from.
        run: folder of the run, with the candidate; results go to `development/` in it.
        arguments: of the run.

    Returns:
        Of each episode whether the base, and whether the candidate succeeded.

    Raises:
        Stopped: a signal came.
        RuntimeError: a node failed; what was finished is kept.
    """
    episodes, won = _episodes(arguments), []
    with ended_by_signal():
        for name, policy in (("base", base), (CANDIDATE, run / CANDIDATE)):
            print(f"grpo: driving {len(episodes)} development episodes: {name}", flush=True)
            out = run / DEVELOPMENT / name
            records = run_closed_loop(policy, episodes, out, _options(arguments))
            won.append([bool(record["success"]) for record in records])
    return list(zip(*won, strict=True))


def _episodes(arguments: GrpoArguments) -> list[DrivenEpisode]:
    return episodes_of_suites(SUITES, arguments.develop_episodes, CHOICE_SEED)


def _options(arguments: GrpoArguments) -> DrivingOptions:
    return DrivingOptions(
        workers=arguments.workers,
        replan_after_steps=arguments.replan_after_steps,
        think=arguments.think,
        keep_every=0,
    )
