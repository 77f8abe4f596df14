"""Pretraining for real on eight scenes: a model, its card, resuming; and the parts of it."""

import json
import shutil
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from roboalign_policy.models.loading import load_mllm
from roboalign_policy.models.tiny import TinySize, make_tiny_model, make_tiny_processor
from roboalign_training.pretraining import pretrain_card, pretrain_cli
from roboalign_training.pretraining.config import PretrainConfig
from roboalign_training.pretraining.grounding import KINDS, SceneFacts, Thing
from roboalign_training.pretraining.moment_questions import KINDS as MOMENT_KINDS
from roboalign_training.pretraining.pretrain import SceneQuestions, begin_with
from roboalign_training.pretraining.pretrain_card import answer_questions, card_text, score_answers
from roboalign_training.pretraining.scene_cache import SceneCache, _render_block, facts_from_json

SIZE = {"hidden": 48, "layers": 2, "heads": 4, "vision_hidden": 32, "vision_depth": 1,
        "image_px": 32}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of four steps with a checkpoint after two; `again` runs it once more."""
    folder = tmp_path_factory.mktemp("pretrain")
    config = folder / "config.yaml"
    options = {
        "out": str(folder / "out"), "scenes": 8, "held_out_scenes": 4, "steps": 4, "batch": 2,
        "save_every": 2, "short_steps": 2, "row_tokens": 80, "threads": 1, "render_workers": 1,
        "size": SIZE,
    }  # fmt: skip
    config.write_text(yaml.safe_dump(options))

    def again():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pretrain_card, "QUESTIONS_PER_KIND", 2)
            assert pretrain_cli.main(["--config", str(config)]) == 0

    again()
    return SimpleNamespace(out=folder / "out", again=again)


def test_the_model_is_one_that_load_mllm_takes(run):
    mllm = load_mllm(run.out / "model", device="cpu")
    assert mllm.family == "qwen3_vl"
    assert len(mllm.tokenizer) == mllm.model.get_input_embeddings().weight.shape[0]
    image = np.zeros((64, 64, 3), np.uint8)
    answers = answer_questions(
        mllm.model, mllm.processor, [image] * 3, ["red cube ?"] * 3, batch=2
    )
    assert len(answers) == 3
    assert len(set(answers)) == 1, "in a batch or alone"


def test_the_card_says_what_was_done(run):
    card = json.loads((run.out / "model" / "card.json").read_text())
    assert card["config"]["steps"] == 4
    assert card["config"]["size"] == SIZE
    assert card["held_out_scenes"] == 4
    assert card["question_answer_samples"] >= 8, "at least one a row"
    weights = load_file(run.out / "model" / "model.safetensors")
    assert card["parameters"] == sum(w.size for w in weights.values())
    assert set(card["accuracy"]) <= {*KINDS, *MOMENT_KINDS}
    assert set(MOMENT_KINDS) <= set(card["accuracy"])
    for kind, entry in card["accuracy"].items():
        assert 0 <= entry["exact"] <= entry["n"] <= 2, kind
    text = (run.out / "model" / "README.md").read_text()
    assert "rendered\nscenes and, in 50% of the pictures, moments of tasks, 4 steps.\n" in text
    for kind in card["accuracy"]:
        assert f"\n| {kind} | " in text


def test_a_resumed_run_ends_where_the_whole_one_did(run):
    whole = load_file(run.out / "model" / "model.safetensors")
    first = load_file(run.out / "checkpoints" / "checkpoint-2" / "model.safetensors")
    key = "model.language_model.embed_tokens.weight"
    assert not np.array_equal(whole[key], first[key])
    kept = [*run.out.rglob("*.npz"), *run.out.glob("checkpoints/checkpoint-2/*")]
    written = {p: p.stat().st_mtime_ns for p in kept}
    shutil.rmtree(run.out / "checkpoints" / "checkpoint-4")
    shutil.rmtree(run.out / "model")
    run.again()
    resumed = load_file(run.out / "model" / "model.safetensors")
    for name, weight in whole.items():
        np.testing.assert_array_equal(resumed[name], weight, err_msg=name)
    assert {p: p.stat().st_mtime_ns for p in kept} == written, "nothing was done a second time"


@pytest.fixture
def rendering(monkeypatch):
    """Renders blocks in this process and notes them."""
    jobs = []

    class Pool:
        def __init__(self, workers, mp_context):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *given):
            pass

        def map(self, function, todo):
            for job in todo:
                jobs.append((job[1], job[2]))
                yield function(job)

    monkeypatch.setattr("roboalign_training.pretraining.scene_cache.ProcessPoolExecutor", Pool)
    monkeypatch.setattr("roboalign_training.pretraining.scene_cache.BLOCK", 3)
    return jobs


def test_scenes_are_rendered_once_and_another_number_of_them_is_honoured(tmp_path, rendering):
    first = SceneCache(tmp_path, 20, 5, 32)
    assert rendering == [(20, 3), (23, 2)]
    assert len(first) == 5
    assert first.images.shape == (5, 32, 32, 3)
    assert first.images.dtype == np.uint8
    rendering.clear()
    more = SceneCache(tmp_path, 20, 6, 32)
    assert rendering == [(23, 3)], "the short block is not taken for a whole one"
    fewer = SceneCache(tmp_path, 20, 4, 32)
    assert rendering == [(23, 3)]
    assert (len(more), len(fewer)) == (6, 4)
    np.testing.assert_array_equal(more.images[:4], fewer.images)
    np.testing.assert_array_equal(more.images[:5], first.images)
    assert [more.facts(i) for i in range(4)] == [fewer.facts(i) for i in range(4)]
    assert not list(tmp_path.glob("*.partial"))


def test_an_interrupted_rendering_is_taken_up(tmp_path, rendering):
    _render_block((tmp_path / "20-32.npz", 20, 3, 32))
    (tmp_path / "23-32.99.partial").write_bytes(b"half")
    SceneCache(tmp_path, 20, 6, 32)
    assert rendering == [(23, 3)]


def test_facts_come_back_from_json():
    facts = SceneFacts((Thing("red", "cube", (0.1, 0.2, 0.3)),), (0.3, 0.0, 0.2), True, False, "x")
    assert facts_from_json(json.dumps(asdict(facts))) == facts


class Scenes:
    """Ten scenes of one to five objects."""

    images = np.zeros((10, 8, 8, 3), np.uint8)

    def __len__(self):
        return 10

    def facts(self, index):
        things = (Thing("red", "cube", (0.4, 0.1, 0.0)),) * (1 + index % 5)
        return SceneFacts(things, (0.3, 0.0, 0.2), True, False)


def test_order_visits_all_scenes_alike_and_begins_with_short_rows():
    config = PretrainConfig(steps=12, short_steps=9, batch=4, size=SIZE)
    dataset = SceneQuestions(Scenes(), config, 8)
    assert len(dataset) == 48
    rounds = dataset.order[:40].reshape(4, 10)
    assert (np.sort(rounds, axis=1) == np.arange(10)).all(), "every scene once a round"
    assert not (rounds[0] == rounds[1]).all()
    assert (dataset.room[:36] == config.short_row_tokens).all()
    assert (dataset.room[36:] == config.row_tokens).all()


def test_an_index_has_its_questions_whenever_it_is_asked():
    config = PretrainConfig(steps=3, batch=4, moments=0.0)
    first, second = SceneQuestions(Scenes(), config, 8), SceneQuestions(Scenes(), config, 8)
    assert [first[i]["questions"] for i in (7, 2)] == [second[i]["questions"] for i in (7, 2)]
    assert first[7]["questions"] != first[2]["questions"]
    other = SceneQuestions(Scenes(), PretrainConfig(steps=3, batch=4, moments=0.0, seed=1), 8)
    assert first[7]["questions"] != other[7]["questions"]


def test_moments_begin_after_the_short_rows_and_are_of_an_index():
    config = PretrainConfig(steps=8, short_steps=2, batch=4, moments=0.5)
    dataset = SceneQuestions(Scenes(), config, 32)
    assert not dataset.is_moment[:8].any() and 0 < dataset.is_moment[8:].sum() < 24
    index = int(np.flatnonzero(dataset.is_moment)[0])
    first = dataset[index]
    again = SceneQuestions(Scenes(), config, 32)[index]
    assert first["questions"] == again["questions"]
    np.testing.assert_array_equal(first["image"], again["image"])
    assert first["image"].shape == (32, 32, 3) and first["image"].std() > 10, "a rendered picture"
    assert first["questions"][0][0].endswith("what is next ?")
    none = SceneQuestions(Scenes(), PretrainConfig(steps=8, short_steps=2, moments=0.0), 32)
    assert not none.is_moment.any()


def test_a_run_may_begin_with_the_weights_of_another(run):
    base = run.out / "model"
    size = TinySize(**SIZE)
    model = make_tiny_model(make_tiny_processor(size), size, seed=5)
    begin_with(model, str(base))
    for name, weight in load_mllm(base, device="cpu").model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    with pytest.raises(ValueError, match="base: found .*, expected a model of this size"):
        begin_with(make_tiny_model(make_tiny_processor()), str(base))


def test_scores_by_hand():
    kinds = ["where"] * 4 + ["count"] * 2 + ["gripper"] * 2 + ["next"] * 3
    expected = ["40 10", "40 10", "40 10", "40 10", "2", "3", "yes", "30 0 25"]
    found = ["40 10", "40 12", "44 7", "red", "2", "2", "no", "30 0 25"]
    expected += ["grasp at 40 10 2 : move up 3"] * 3
    found += ["grasp at 40 12 2 : move up 3", "grasp at 40 19 2 : stay", "grasp"]
    report = score_answers(kinds, expected, found)
    where = report["where"]
    assert (where["exact"], where["n"]) == (1, 4)
    assert (where["within_2_cm"], where["n_coordinates"]) == (2, 4)
    assert where["mean_error_cm"] == pytest.approx((0 + 2 + 5) / 3)
    assert (report["count"]["exact"], report["count"]["n"]) == (1, 2)
    assert "within_2_cm" not in report["count"]
    assert (report["gripper"]["within_2_cm"], report["gripper"]["n_coordinates"]) == (1, 1)
    assert (report["next"]["within_2_cm"], report["next"]["n_coordinates"]) == (1, 3)


def test_a_card_without_any_readable_coordinate_is_written_too():
    report = score_answers(["where"], ["40 10"], ["red"])
    assert report["where"]["mean_error_cm"] is None
    card = {
        "parameters": 1, "question_answer_samples": 2, "held_out_scenes": 1, "created": "today",
        "config": {"scenes": 1, "steps": 1}, "accuracy": report,
    }  # fmt: skip
    assert "| where | 1 | 0.0 | 0.0 - 79.3 | 0.0 |" in card_text(card)
