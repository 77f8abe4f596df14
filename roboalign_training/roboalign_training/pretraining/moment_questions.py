"""Language-only questions about moments of tasks: what is next, which object, how far it is.

The thought of a task, asked for in words, about scenes that no demonstration shows. Several things
are asked for in the same picture, as far as the scene allows them. No actions.
"""

from __future__ import annotations

import functools

import numpy as np

from roboalign_policy.core.contract.contract import Contract, load_contract
from roboalign_policy.core.policy.prompt import build_question, state_text
from roboalign_policy.sim.task_moment import Asked, TaskMoment
from roboalign_training.learning.reasoning import reasoning_text
from roboalign_training.learning.simulated_scenes import SIMULATED
from roboalign_training.pretraining.grounding import Question, make_question
from roboalign_training.pretraining.scene_cache import facts_of_scene
from roboalign_training.thoughts.sub_goals import sub_goals

KINDS = ("next", "object", "progress")
_ASIDE_SHARE = 0.25


@functools.lru_cache(maxsize=1)
def _contract() -> Contract:
    return load_contract(SIMULATED)


def moment_questions(
    moment: TaskMoment, rng: np.random.Generator, grounding: int = 2
) -> list[Question]:
    """Questions about a moment's front picture, in random order; those of its task come first.

    Args:
        moment: with other things that could be asked for.
        rng: source of randomness.
        grounding: how many are about the scene alone.
    """
    facts = facts_of_scene(moment.scene)
    own = Asked(moment.task.instruction, moment.task.goals, moment.done, moment.then)
    asides, rest = [], []
    for asked in (own, *moment.others):
        (asides if asked is own else rest).append(_next(moment, asked))
        if rng.random() < _ASIDE_SHARE:
            rest.append(_object(asked) if rng.random() < 0.5 else _progress(asked))
    rest += [make_question(facts, rng) for _ in range(grounding)]
    return asides + [rest[i] for i in rng.permutation(len(rest))]


def moment_question(moment: TaskMoment, kind: str) -> Question:
    """The question of a kind about a moment's own task."""
    own = Asked(moment.task.instruction, moment.task.goals, moment.done, moment.then)
    if kind == "next":
        return _next(moment, own)
    return _object(own) if kind == "object" else _progress(own)


def _next(moment: TaskMoment, asked: Asked) -> Question:
    now, then = moment.now.values(), asked.then.values()
    states = {key: np.stack([now[key], then[key]]) for key in then}
    words = build_question(asked.instruction, state_text(_contract(), now))
    return Question("next", words, reasoning_text(_contract(), states, 0))


def _object(asked: Asked) -> Question:
    goals = sub_goals(asked.instruction)
    thing = goals[asked.done].thing if asked.done < len(goals) else "nothing"
    return Question("object", f"task : {asked.instruction} . which object is next ?", thing)


def _progress(asked: Asked) -> Question:
    answer = f"{asked.done} of {len(asked.goals)}"
    return Question("progress", f"task : {asked.instruction} . how far is it ?", answer)
