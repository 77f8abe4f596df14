"""Questions about rendered scenes by index: the source `scene` of the SFT mixture."""

from __future__ import annotations

import numpy as np

from roboalign_training.learning.simulated_scenes import check_simulated
from roboalign_training.learning.source import SourceInputs, TrainingSample, question
from roboalign_training.pretraining.grounding import make_question
from roboalign_training.pretraining.scene_cache import facts_of_scene

QUESTIONS_A_SCENE = 8
FIRST_SEED, SCENES_A_SEED, SEEDS = 50_000_000, 100_000, 400
"""Scene seeds of mixtures, 50 to 90 million: pretraining's begin at 10, held-out ones at 90."""


class GroundingSource:
    """``n`` questions about rendered scenes.

    Scenes are rendered on first use and kept, 49 kB each.

    Args:
        seed: 0 .. 399; another seed has other scenes and other questions.
        n: number of samples, eight to a scene; up to 800000.

    Raises:
        ValueError: seed or n out of range.
    """

    def __init__(self, seed: int, n: int):
        if not 0 <= seed < SEEDS:
            raise ValueError(f"seed: found {seed}, expected 0 .. {SEEDS - 1}")
        most = SCENES_A_SEED * QUESTIONS_A_SCENE
        if not 1 <= n <= most:
            raise ValueError(f"n: found {n}, expected 1 .. {most}")
        self.seed, self.n = seed, n
        first = FIRST_SEED + seed * SCENES_A_SEED
        scenes = -(-n // QUESTIONS_A_SCENE)
        self.origin = {"scene_seeds": [first, first + scenes - 1], "questions": n}
        self._scenes: dict[int, tuple] = {}

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> TrainingSample:
        """A question about an image (128, 128, 3) uint8 rgb; the same for the same index.

        Raises:
            IndexError: outside 0 .. n - 1.
        """
        if not 0 <= index < self.n:
            raise IndexError(f"index: found {index}, expected 0 .. {self.n - 1}")
        scene = index // QUESTIONS_A_SCENE
        if scene not in self._scenes:
            from roboalign_policy.sim import random_scene

            sample = random_scene(FIRST_SEED + self.seed * SCENES_A_SEED + scene)
            self._scenes[scene] = (sample.image, facts_of_scene(sample))
        image, facts = self._scenes[scene]
        made = make_question(facts, np.random.default_rng((self.seed, index)))
        origin = f"question {index} about rendered scene {self.origin['scene_seeds'][0] + scene}"
        return question([image], made.question, made.answer, origin)


def scene_questions(inputs: SourceInputs, *, questions: int) -> GroundingSource:
    """The source `scene`; scenes are rendered by MuJoCo, when first asked for.

    Raises:
        ConfigError: the demonstrations are of another robot than the simulated arm.
    """
    check_simulated(inputs.data.contract, "weight_scene", "add --weight_scene 0")
    return GroundingSource(inputs.seed % SEEDS, questions)
