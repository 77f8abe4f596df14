"""What is next in rendered moments of tasks, by index: the source `scene_thought` of the mixture.

Instructions with pictures that no demonstration shows: the simulator sets up a moment of a task,
and the thought follows from what its expert would do. It is asked for in words, as by the source
`thought`, so no action is needed.
"""

from __future__ import annotations

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.policy.prompt import build_question, camera_names, state_text
from roboalign_training.learning.reasoning import reasoning_text
from roboalign_training.learning.simulated_scenes import check_simulated
from roboalign_training.learning.source import SourceInputs, TrainingSample, question
from roboalign_training.shared.run_layout import ConfigError
from roboalign_training.thoughts.style import PLACE, Progress
from roboalign_training.thoughts.sub_goals import sub_goals

FIRST_SEED, MOMENTS_A_SEED, SEEDS = 100_000_000, 2_000_000, 400
"""Seeds of moments: above those of all scenes of pretraining, mixtures and evaluation."""


class MomentSource:
    """Moments of tasks, each rendered when it is asked for, about a millisecond a picture.

    Args:
        contract: of the simulated arm.
        seed: 0 .. 399; another seed has other moments.
        n: number of samples, up to 2 million.
        style: of the thoughts, one of `thoughts.style.STYLES`.

    Raises:
        ValueError: seed or n out of range.
    """

    def __init__(self, contract: Contract, seed: int, n: int, style: str = PLACE) -> None:
        if not 0 <= seed < SEEDS:
            raise ValueError(f"seed: found {seed}, expected 0 .. {SEEDS - 1}")
        if not 1 <= n <= MOMENTS_A_SEED:
            raise ValueError(f"moments: found {n}, expected 1 .. {MOMENTS_A_SEED}")
        self._contract, self._n, self._style = contract, n, style
        self._keys = tuple(stream.key for stream in contract.seen_images)
        self._first = FIRST_SEED + seed * MOMENTS_A_SEED
        self.origin = {"moment_seeds": [self._first, self._first + n - 1]}

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> TrainingSample:
        """The question what is next, and the thought; the same for the same index.

        Raises:
            IndexError: outside 0 .. n - 1.
        """
        if not 0 <= index < self._n:
            raise IndexError(f"index: found {index}, expected 0 .. {self._n - 1}")
        from roboalign_policy.sim.task_moment import random_moment

        seed = self._first + index
        moment = random_moment(seed, tuple(key.removeprefix("image.") for key in self._keys))
        now, then = moment.now.values(), moment.then.values()
        states = {key: np.stack([now[key], then[key]]) for key in then}
        goals = sub_goals(moment.task.instruction)
        progress = Progress(goals, moment.done, holds=moment.holds)
        return question(
            [now[key] for key in self._keys],
            build_question(moment.task.instruction, state_text(self._contract, now)),
            reasoning_text(self._contract, states, 0, self._style, progress),
            f"moment {seed} of {moment.task.name}",
            camera_names(self._keys),
        )


def scene_thoughts(inputs: SourceInputs, *, moments: int = 1_000_000) -> MomentSource:
    """The source `scene_thought`; moments are rendered by MuJoCo.

    Raises:
        ConfigError: the demonstrations are of another robot, or so many moments cannot be made.
    """
    contract, key = inputs.data.contract, "sources.scene_thought"
    check_simulated(contract, key, f"leave {key} out")
    try:
        return MomentSource(contract, inputs.seed % SEEDS, moments, inputs.data.thought_style)
    except ValueError as error:
        raise ConfigError(f"{key}.{error}") from error
