"""Questions about moments of tasks: their answers are what the simulator knows."""

import collections

import numpy as np
import pytest

from roboalign_policy.sim.task_moment import random_moment
from roboalign_training.learning.thought_error import read_thought
from roboalign_training.pretraining.moment_questions import moment_question, moment_questions

MOMENTS = [random_moment(seed, others=4) for seed in range(60)]


def test_the_same_draw_gives_the_same_questions_and_the_task_comes_first():
    for moment in MOMENTS[:5]:
        first = moment_questions(moment, np.random.default_rng(3))
        assert first == moment_questions(moment, np.random.default_rng(3))
        assert first[0] == moment_question(moment, "next")
        assert f"task : {moment.task.instruction} ." in first[0].question


def test_kinds_and_how_many():
    made = [moment_questions(m, np.random.default_rng(i)) for i, m in enumerate(MOMENTS)]
    kinds = collections.Counter(q.kind for questions in made for q in questions)
    assert kinds["next"] == sum(1 + len(m.others) for m in MOMENTS)
    assert kinds["object"] > 10 and kinds["progress"] > 10
    own = kinds["next"] + kinds["object"] + kinds["progress"]
    assert kinds.total() - own == 2 * len(MOMENTS), "about the scene alone"


def test_what_is_next_is_a_thought_whose_way_ends_at_its_place():
    signs = {"forward": (0, 1), "back": (0, -1), "left": (1, 1), "right": (1, -1), "up": (2, 1),
             "down": (2, -1)}  # fmt: skip
    for moment in MOMENTS:
        for q in moment_questions(moment, np.random.default_rng(0), grounding=0):
            if q.kind != "next":
                continue
            _, place = read_thought(q.answer)
            words = q.question.split()
            at = np.array([int(words[words.index(axis) + 1]) for axis in "xyz"])
            way = q.answer.split(" : ")[1].split()[1:]
            for word, length in zip(way[::2], way[1::2], strict=True):
                axis, sign = signs[word]
                at[axis] += sign * int(length)
            assert tuple(at) == place, q


def test_progress_and_object_follow_the_goals():
    seen = set()
    for moment in MOMENTS:
        count = len(moment.task.goals)
        assert moment_question(moment, "progress").answer == f"{moment.done} of {count}"
        answer = moment_question(moment, "object").answer
        if moment.done == count:
            assert answer == "nothing"
        else:
            thing = str(moment.task.goals[moment.done]).split(" on ")[0].split(" in ")[0]
            relation = moment.task.relation
            expected = f"{relation} {thing}" if relation else thing.removesuffix(" open")
            assert answer == expected
        seen.add((moment.done, count))
    assert {(0, 1), (1, 1), (0, 2), (1, 2), (2, 2)} <= seen


@pytest.mark.parametrize("seed", range(3))
def test_other_tasks_are_about_what_is_there(seed):
    moment = random_moment(seed, others=4)
    nouns = {f"{o.colour} {o.shape}" for o in moment.scene.objects}
    for other in moment.others:
        for goal in other.goals:
            cube = getattr(goal, "cube", None)
            assert cube is None or cube.removesuffix(" 2") in nouns
