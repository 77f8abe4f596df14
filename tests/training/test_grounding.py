"""Questions about scenes: every answer against a hand-made scene, and sources by index."""

import numpy as np
import pytest

from roboalign_training.pretraining.grounding import (
    COLOURS,
    KINDS,
    WEIGHTS,
    SceneFacts,
    Thing,
    centimetres,
    displacement_words,
    make_question,
    named_things,
)
from roboalign_training.pretraining.grounding_source import (
    FIRST_SEED,
    SCENES_A_SEED,
    SEEDS,
    GroundingSource,
)
from roboalign_training.pretraining.pretrain import HELD_OUT_SEED, TRAIN_SEED

FACTS = SceneFacts(
    things=(
        Thing("red", "cube", (0.40, 0.10, 0.02)),
        Thing("blue", "cube", (0.55, -0.20, 0.02)),
        Thing("white", "plate", (0.45, -0.05, 0.01)),
        Thing("", "drawer", (0.62, 0.25, 0.08)),
    ),
    gripper=(0.30, 0.0, 0.25),
    gripper_open=True,
    drawer_open=False,
    held=None,
)
CLOSED = SceneFacts(FACTS.things, FACTS.gripper, False, True, "red cube")
EMPTY = SceneFacts((), (0.3, 0.0, 0.25), True, False)
REACH = "reach the {} . state : x 30 y 0 z 25 gripper open ."

# Question, in each of its wordings, to answer: all that can be asked of FACTS.
ANSWERS = {
    "where": {
        f"{asked}": answer
        for name, answer in {
            "red cube": "40 10", "blue cube": "55 -20", "white plate": "45 -5", "plate": "45 -5",
            "drawer": "62 25",
        }.items()
        for asked in (f"where is the {name} ?", f"{name} ?")
    },
    "offset": {
        REACH.format("red cube"): "40 10 2 : forward 10 left 10 down 23",
        REACH.format("blue cube"): "55 -20 2 : forward 25 right 20 down 23",
        REACH.format("white plate"): "45 -5 1 : forward 15 right 5 down 24",
        REACH.format("plate"): "45 -5 1 : forward 15 right 5 down 24",
        REACH.format("drawer"): "62 25 8 : forward 32 left 25 down 17",
    },
    "what": {
        asked: answer
        for place, answer in {
            "40 10": "red cube", "55 -20": "blue cube", "45 -5": "white plate", "62 25": "drawer"
        }.items()
        for asked in (f"what is at {place} ?", f"at {place} ?")
    },
    "colour": {
        asked: answer
        for shape, place, answer in (
            ("cube", "40 10", "red"), ("cube", "55 -20", "blue"), ("plate", "45 -5", "white"),
        )
        for asked in (f"what colour is the {shape} at {place} ?", f"colour at {place} ?")
    },
    "extreme": {
        "which cube is farthest left ?": "red cube",
        "which cube is farthest right ?": "blue cube",
        "which cube is nearest to the gripper ?": "red cube",
    },
    "gripper": {"is the gripper open ?": "yes", "where is the gripper ?": "30 0 25"},
    "drawer": {"is the drawer open ?": "no"},
    "holding": {"what does the gripper hold ?": "nothing"},
    "caption": {
        "describe the scene .": "a red cube , a blue cube , a white plate and a closed drawer",
    },
}  # fmt: skip


def asked(facts, kind, count=400):
    """Many questions of a kind, those that fell to `gripper` left out."""
    rng = np.random.default_rng(0)
    made = [make_question(facts, rng, kind) for _ in range(count)]
    return [q for q in made if q.kind == kind]


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_every_question_of_a_kind_and_its_answer(kind):
    found = {q.question: q.answer for q in asked(FACTS, kind)}
    assert found == ANSWERS[kind]


def test_relations_are_the_robots():
    truth = {
        ("red cube", "left of", "blue cube"): "yes", ("red cube", "right of", "blue cube"): "no",
        ("blue cube", "in front of", "red cube"): "yes", ("red cube", "behind", "drawer"): "yes",
        ("blue cube", "behind", "red cube"): "no", ("drawer", "left of", "plate"): "yes",
    }  # fmt: skip
    found = {q.question: q.answer for q in asked(FACTS, "relation", 3000)}
    for (first, relation, second), answer in truth.items():
        assert found[f"is the {first} {relation} the {second} ?"] == answer
        assert found[f"{first} {relation} {second} ?"] == answer


def test_relations_that_are_too_close_to_call_are_not_asked():
    close = SceneFacts(
        (Thing("red", "cube", (0.4, 0.1, 0)), Thing("blue", "cube", (0.5, 0.12, 0))),
        (0.3, 0, 0.2), True, False,
    )  # fmt: skip
    questions = {q.question for q in asked(close, "relation")}
    assert questions
    assert not any("left" in q or "right" in q for q in questions)


def test_counts():
    found = {q.question: q.answer for q in asked(FACTS, "count", 2000)}
    assert found["how many cubes ?"] == found["how many cubes are there ?"] == "2"
    assert found["how many plates ?"] == "1"
    for colour in COLOURS[:7]:
        expected = "1" if colour in ("red", "blue") else "0"
        assert found[f"how many {colour} cubes ?"] == expected
    assert len(found) == 2 * (2 + 7)


def test_existence():
    present = {"red cube", "blue cube", "white plate"}
    found = {q.question: q.answer for q in asked(FACTS, "exists", 2000)}
    for colour in COLOURS:
        for shape in ("cube", "plate"):
            noun = f"{colour} {shape}"
            assert found[f"is there a {noun} ?"] == ("yes" if noun in present else "no")


def test_a_closed_gripper_and_an_open_drawer():
    assert {q.answer for q in asked(CLOSED, "drawer")} == {"yes"}
    assert {q.answer for q in asked(CLOSED, "holding")} == {"the red cube"}
    assert {q.question: q.answer for q in asked(CLOSED, "gripper")}[
        "is the gripper open ?"
    ] == "no"
    assert all("gripper closed ." in q.question for q in asked(CLOSED, "offset"))
    assert all(q.answer.endswith(" and an open drawer") for q in asked(CLOSED, "caption"))


@pytest.mark.parametrize(
    "kind", ["where", "offset", "what", "colour", "relation", "extreme", "drawer"]
)
def test_a_kind_that_a_scene_cannot_answer_falls_to_the_gripper(kind):
    assert make_question(EMPTY, np.random.default_rng(0), kind).kind == "gripper"


def test_kinds_are_drawn_by_their_weights():
    rng = np.random.default_rng(0)
    drawn = [make_question(FACTS, rng).kind for _ in range(8000)]
    shares = {kind: weight / WEIGHTS.sum() for kind, weight in zip(KINDS, WEIGHTS, strict=True)}
    for kind in ("where", "offset", "count", "caption"):
        assert drawn.count(kind) / len(drawn) == pytest.approx(shares[kind], abs=0.02)


def test_twins_are_named_by_their_side_and_triplets_not_at_all():
    twins = (Thing("red", "cube", (0.4, 0.1, 0)), Thing("red", "cube", (0.41, -0.1, 0)))
    named = named_things(SceneFacts(twins, (0, 0, 0), True, False))
    assert named == {"left red cube": twins[0], "right red cube": twins[1]}
    triplets = (*twins, Thing("red", "cube", (0.5, 0.0, 0)))
    assert named_things(SceneFacts(triplets, (0, 0, 0), True, False)) == {}
    plates = (Thing("white", "plate", (0.4, 0, 0)), Thing("grey", "plate", (0.5, 0, 0)))
    assert set(named_things(SceneFacts(plates, (0, 0, 0), True, False))) == {
        "white plate", "grey plate"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metres", "expected"), [(0.004, 0), (0.005, 1), (-0.005, -1), (0.125, 13), (-0.124, -12)]
)
def test_centimetres_round_half_away_from_zero(metres, expected):
    assert centimetres(metres) == expected


@pytest.mark.parametrize(
    ("delta", "words"),
    [((7, -3, -12), "forward 7 right 3 down 12"), ((-1, 2, 3), "back 1 left 2 up 3"),
     ((0, 0, 5), "up 5"), ((0, 0, 0), "stay")],
)  # fmt: skip
def test_displacements_in_words(delta, words):
    assert displacement_words(delta) == words


def test_every_question_is_in_words_of_the_tiny_vocabulary():
    from roboalign_policy.models.tiny_vocabulary import NUMBERS, WORDS

    known = {*WORDS, *map(str, NUMBERS), "?", ".", ":", ","}
    rng = np.random.default_rng(4)
    for _ in range(3000):
        q = make_question(FACTS if rng.random() < 0.5 else CLOSED, rng)
        assert set(f"{q.question} {q.answer}".split()) <= known, q


def test_a_source_gives_the_same_for_the_same_index():
    first, second, other = GroundingSource(3, 20), GroundingSource(3, 20), GroundingSource(4, 20)
    assert len(first) == 20
    for index in (17, 2, 3):  # in any order
        (image,), same = first[index].images, second[index]
        assert image.shape == (128, 128, 3)
        assert image.dtype == np.uint8
        assert first[index].messages == same.messages
        np.testing.assert_array_equal(image, same.images[0])
        assert not np.array_equal(image, other[index].images[0])
    np.testing.assert_array_equal(first[2].images, first[3].images, "eight questions a scene")
    assert not np.array_equal(first[2].images, first[17].images)
    assert first.origin == {"scene_seeds": [50_300_000, 50_300_002], "questions": 20}
    assert first[17].origin == "question 17 about rendered scene 50300002"


def test_seeds_of_sources_never_reach_those_of_pretraining():
    last = FIRST_SEED + (SEEDS - 1) * SCENES_A_SEED + SCENES_A_SEED - 1
    assert TRAIN_SEED + 30_000 < FIRST_SEED
    assert last < HELD_OUT_SEED


@pytest.mark.parametrize(("seed", "n"), [(-1, 5), (400, 5), (0, 0), (0, 800_001)])
def test_what_is_out_of_range_is_refused(seed, n):
    with pytest.raises(ValueError, match="found .* expected"):
        GroundingSource(seed, n)
    for index in (-1, 5):
        with pytest.raises(IndexError, match=f"found {index}, expected 0 .. 4"):
            GroundingSource(0, 5)[index]
