"""Experiments: what is refused before anything is touched, and what the files say is planned."""

import datetime
import json
import os

import pytest
import yaml
from rich.console import Console

from roboalign_training.cli import main
from roboalign_training.demo import equal_policies, run, stages, trainer_options
from roboalign_training.demo.checks import check_options
from roboalign_training.demo.experiment import load_experiment, packaged_experiment
from roboalign_training.demo.run import read_state, run_stages
from roboalign_training.demo.stage_keys import prompts_of_a_batch
from roboalign_training.demo.stages import config_of, options_of, stages_of, training_keys
from roboalign_training.learning.training_options import OURS
from roboalign_training.shared.outputs import content_hash
from roboalign_training.shared.run_layout import ConfigError

SFT = {"stage": "sft", "from": "roboalign-tiny"}
GRPO = {"stage": "grpo", "from": "sft"}
BASE = {"stage": "base", "from": "roboalign-tiny"}


def written(tmp_path, **keys):
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(keys))
    return path


def arms(**more):
    return {"arms": {"sft": SFT, "grpo": GRPO, **more}}


def sft_with(**keys):
    return arms(sft={**SFT, **keys})


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"arm": {}}, "found the unknown key 'arm'.*; did you mean arms\\?"),
        ({}, "arms: found None, expected keys with values"),
        ({"arms": {}}, "arms: found {}, expected at least one arm"),
        ({**arms(), "episods": 5}, "found the unknown key 'episods'.*; did you mean episodes\\?"),
        ({**arms(), "episodes": "many"}, "episodes: found 'many', expected a whole number"),
        ({**arms(), "episodes": 1}, "episodes: found 1, expected at least 2"),
        ({**arms(), "workers": 2}, "found the unknown key 'workers'"),
        ({**arms(), "seeds": []}, "seeds: found \\[\\], expected a list of whole numbers"),
        ({**arms(), "seeds": [1, -2]}, "seeds: found .*, expected a list of whole numbers, 0 or"),
        ({**arms(), "seeds": [1, True]}, "seeds: found .*, expected a list of whole numbers"),
        ({**arms(), "seeds": [1, 2, 1]}, "seeds: found \\[1, 2, 1\\], expected each seed once"),
        ({"arms": {"My": SFT}}, "arms: found 'My', expected names of small letters"),
        ({"arms": {"bags": SFT}}, "arms: found 'bags', expected another name than record"),
        ({"arms": {"sft": 3}}, "arms.sft: found 3, expected keys with values"),
        (sft_with(form="x"), "arms.sft: found the unknown key 'form'.*; did you mean from\\?"),
        (sft_with(stage="stf"), "arms.sft.stage: found 'stf', expected one of base, sft, grpo, v"),
        (sft_with(stage=None), "arms.sft.stage: found None, expected one of"),
        (sft_with(**{"from": None}), "arms.sft.from: found None, expected another arm or a base"),
        (sft_with(**{"from": "gropo"}), "arms.sft.from: found 'gropo', .*; did you mean grpo\\?"),
        (sft_with(**{"from": "out/sft/policy"}), "arms.sft.from: found 'out/sft/policy', exp"),
        (sft_with(**{"from": "sft"}), "arms.sft.from: found the circle sft -> sft, expected arms"),
        (
            arms(sft={**SFT, "from": "more"}, more={**SFT, "from": "grpo"}),
            "arms.grpo.from: found the circle grpo -> sft -> more -> grpo, expected arms that",
        ),
        (arms(grpo={**GRPO, "from": "roboalign-tiny"}), "arms.grpo.from: .*, expected an arm"),
        (arms(base=BASE, grpo={**GRPO, "from": "base"}), "arms.grpo.from: found 'base', expected"),
        (arms(base={**BASE, "from": "sft"}), "arms.base.from: found 'sft', expected a base model"),
        (arms(base={**BASE, "seeds": [1]}), "arms.base.seeds: found \\[1\\], expected none"),
        (arms(base={**BASE, "options": {}}), "arms.base.options: found {}, expected none"),
        (sft_with(title=3), "arms.sft.title: found 3, expected a text"),
        (sft_with(title=" "), "arms.sft.title: found ' ', expected a text, not blank"),
        ({**arms(), "seeds": [2**32]}, "seeds: found \\[4294967296\\], expected seeds below 2"),
        (sft_with(**{"from": "out/sft"}), "arms.sft.from: found 'out/sft', expected another arm"),
        (sft_with(**{"from": "./sft"}), "arms.sft.from: found './sft', expected another arm"),
        (
            sft_with(options={"run_name": datetime.date(2026, 12, 1)}),
            "arms.sft.options.run_name: found datetime.date.*, expected texts, .*; quote a date",
        ),
        (
            sft_with(options={"learning_rate": float("nan")}),
            "arms.sft.options.learning_rate: found nan, expected texts, finite numbers",
        ),
        (sft_with(options={"max_steps": None}), "arms.sft.options: max_steps: found None, expect"),
        (
            sft_with(options={"scene_questions": 800_001}),
            "arms.sft.options.*scene_questions: found 800001, expected .*800000",
        ),
        *(
            (
                arms(grpo={**GRPO, "options": {key: value}}),
                f"arms.grpo.options.*{key}: found {value!r}, expected a whole number, at least",
            )
            for key, value in (
                ("per_device_train_batch_size", None),
                ("per_device_train_batch_size", "many"),
                ("steps_per_generation", 1.5),
                ("num_generations", None),
            )
        ),
        ({**arms(), "compare": [["sft", ["grpo"]]]}, "compare\\[0\\]: found \\['grpo'\\], exp"),
        (sft_with(seeds=[2]), "arms.grpo.seeds: found \\[1\\], expected some of those of sft"),
        (sft_with(options=[1]), "arms.sft.options: found \\[1\\], expected keys with values"),
        (
            sft_with(options={"max_stepz": 3}),
            "arms.sft.options: found the unknown key 'max_stepz'; did you mean max_steps\\?",
        ),
        (sft_with(options={"seed": 3}), "arms.sft.options: found 'seed', expected other keys"),
        (sft_with(options={"dataset": "x"}), "arms.sft.options: found 'dataset', expected other"),
        (sft_with(options={"max_seconds": -1}), "arms.sft.options.max_seconds: found -1.0, exp"),
        (sft_with(options={"max_seconds": "x"}), "arms.sft.options.max_seconds: found 'x', exp"),
        (sft_with(options={"learning_rate": 0}), "arms.sft.options: learning_rate: found 0, exp"),
        (
            arms(grpo={**GRPO, "options": {"choose": "dev"}}),
            "arms.grpo.options.choose: found 'dev', expected one of held_out, driven",
        ),
        *(
            (
                sft_with(replan_after_steps=value),
                f"arms.sft.replan_after_steps: found {value!r}, expected 0 to 8, the steps of a c",
            )
            for value in (9, -1, True, "4", 4.0, None)
        ),
        (
            arms(head={"stage": "vla", "from": "sft", "options": {"replan_after_steps": 4}}),
            "arms.head.options: found 'replan_after_steps', expected other keys: the experiment",
        ),
        ({**arms(), "develop_episodes": -1}, "develop_episodes: found -1, expected 0 or more"),
        ({"arms": {"choose": SFT}}, "arms: found 'choose', expected another name than record"),
        ({**arms(), "compare": [["sft"]]}, "compare\\[0\\]: found \\['sft'\\], expected two arms"),
        ({**arms(), "compare": [["sft", "gpo"]]}, "compare\\[0\\]: found 'gpo', .*you mean grpo"),
        (
            {**arms(grpo={**GRPO, "seeds": [1]}, b={**SFT, "seeds": [2]}), "seeds": [1, 2],
             "compare": [["b", "grpo"]]},
            "compare\\[0\\]: .*, expected arms with a training seed in common",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused_with_file_key_value_and_what_was_expected(
    tmp_path, keys, text, capsys
):
    path = written(tmp_path, **keys)
    with pytest.raises(ConfigError, match=f"^{path}: {text}"):
        load_experiment(path)
    out = tmp_path / "out"
    assert main(["experiment", str(path), "--out", str(out)]) == 2
    assert str(path) in capsys.readouterr().out.replace("\n", "")
    assert not out.exists()


def test_a_key_that_stands_twice_and_a_text_that_is_no_yaml_are_refused(tmp_path):
    path = tmp_path / "experiment.yaml"
    for text, said in (
        ("arms:\n  sft: {stage: sft, from: a/b}\n  sft: {}\n", "found the key 'sft' twice"),
        ("arms: [", "while parsing"),
        ("arms: 2026-13-45", "found '2026-13-45', expected a valid timestamp"),
        ("arms: !!map foo", "map"),
        ("- 3", "found \\[3\\], expected keys with values"),
        ("", "found None, expected keys with values"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=f"(?s)^{path}: .*{said}"):
            load_experiment(path)


def test_what_the_stages_would_refuse_is_refused_too(tmp_path):
    for keys, text in (
        ({**arms(), "replan_after_steps": 9}, "replan_after_steps: found 9, expected 0 to 8"),
        ({**arms(), "scale": 50.0}, "vocab_size: found 256, expected at least 427"),
        (
            arms(grpo={**GRPO, "options": {"samples": 15}}),
            "arms.grpo.options.samples: found 15, expected at least 16",
        ),
        (
            arms(grpo={**GRPO, "options": {"per_device_train_batch_size": 800}}),
            "arms.grpo.options.samples: found 'none, which is 128', expected at least 160",
        ),
        (
            {**arms(grpo={**GRPO, "options": {"samples": 98}}), "episodes": 2},
            "arms.grpo.options.samples: found 98, expected at most 97",
        ),
        (
            arms(head={"stage": "vla", "from": "sft", "options": {"layer": 99}}),
            "arms.head.options.layer: found 99.0, expected at most 4, the layers of the model",
        ),
        (
            {**sft_with(options={"held_out_episodes": "20"}), "episodes": 20},
            "arms.sft.options.held_out_episodes: found 20, expected 1 to 19",
        ),
        (
            arms(grpo={**GRPO, "options": {"develop_episodes": 1_000_001}}),
            "arms.grpo.options.develop_episodes: found 1000001, expected at most 1000000",
        ),
    ):
        with pytest.raises(ValueError, match=text):
            check_options(load_experiment(written(tmp_path, **keys)))


@pytest.mark.parametrize(
    ("stage", "options", "text"),
    [
        ("sft", {"lr_scheduler_type": "cosin"}, "cosin is not a valid SchedulerType"),
        ("sft", {"optim": "adamww"}, "adamww is not a valid OptimizerNames"),
        ("sft", {"bf16": "maybe"}, "--bf16: .*got maybe"),
        ("sft", {"learning_rate": None}, "learning_rate: found None, expected a number above 0"),
        ("sft", {"optim": None}, "optim: found None, expected a value"),
        ("grpo", {"max_steps": None}, "max_steps: found None, expected -1 or at least 1"),
        (
            "grpo",
            {"per_device_train_batch_size": 7},
            "generation_batch_size \\(7\\) must be",
        ),
        (
            "grpo",
            {"steps_per_generation": None, "generation_batch_size": 40},
            "generation_batch_size \\(40\\) must be divisible by the global batch",
        ),
    ],
)
def test_what_a_trainer_would_refuse_is_refused_before_the_first_stage(
    tmp_path, ran, stage, options, text
):
    """GRPO begins hours after the command."""
    entry = {"sft": SFT, "grpo": GRPO}[stage]
    path = written(tmp_path, **arms(**{stage: {**entry, "options": options}}))
    environment = dict(os.environ)
    with pytest.raises(ConfigError, match=f"^{path}: arms.{stage}.options.*{text}"):
        run_stages(load_experiment(path), tmp_path / "out", [], Console(quiet=True))
    assert not ran and not (tmp_path / "out").exists()
    assert dict(os.environ) == environment


def test_finished_trainings_are_not_parsed_again(tmp_path, ran, monkeypatch):
    """The trainers' library takes seconds to load."""
    experiment = load_experiment(written(tmp_path, **arms()))
    parsed = []
    monkeypatch.setattr(
        trainer_options, "parse_arguments",
        lambda kind, types, words: parsed.append(kind) or (OURS[kind](dataset="data"), None),
    )  # fmt: skip
    for redo, kinds in (([], ["sft", "grpo"]), ([], []), (["grpo"], ["grpo"])):
        run_stages(experiment, tmp_path / "out", redo, Console(quiet=True))
        assert parsed == kinds
        parsed.clear()


def test_alignment_against_continued_training_can_be_written():
    """Three seeds; both start from the SFT policy of their seed and train for the same time."""
    experiment = load_experiment(packaged_experiment("alignment"))
    check_options(experiment)
    stages = experiment.stages()
    for seed in (1, 2, 3):
        assert stages[f"sft_more-{seed}"] == stages[f"grpo-{seed}"] == ("dataset", f"sft-{seed}")
    assert len(stages) == 3 * 3 + 5
    assert list(stages_of(experiment)) == list(stages)
    more, grpo = (experiment.arms[name] for name in ("sft_more", "grpo"))
    assert more.options["max_seconds"] == grpo.options["max_seconds"]
    # The clock ends both, on a machine that does fifty steps a second, too.
    most = 50 * more.options["max_seconds"]
    steps = grpo.options["num_train_epochs"] * grpo.options["samples"]
    assert more.options["max_steps"] >= most
    assert steps / prompts_of_a_batch(grpo.options) >= most
    assert ("sft_more", "grpo") in experiment.compare
    assert options_of(experiment, "grpo-2")["seed"] == 2


def test_an_arm_may_stand_before_the_one_that_it_starts_from(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text(
        "seeds: [4, 5]\narms:\n  grpo: {stage: grpo, from: sft, seeds: [5]}\n"
        "  sft: {stage: sft, from: roboalign-tiny}\n"
    )
    experiment = load_experiment(path)
    assert list(experiment.policies()) == ["sft-4", "sft-5", "grpo"]
    assert experiment.policies()["grpo"].start == "sft-5"
    assert experiment.compare == [("grpo", "sft")], "as they stand in the file"


def test_options_count_as_their_type_however_they_are_written(tmp_path):
    for options, prompts in (
        ({"samples": "16"}, 16),
        ({"samples": 16, "held_out_episodes": "3"}, 16),
        ({"per_device_train_batch_size": "40"}, 8),
        ({"steps_per_generation": None, "gradient_accumulation_steps": 2}, 32),
        ({"steps_per_generation": None, "generation_batch_size": 160}, 32),
    ):
        keys = arms(grpo={**GRPO, "options": options})
        check_options(load_experiment(written(tmp_path, **keys)))
        assert prompts_of_a_batch(options) == prompts


def test_arms_without_a_common_training_seed_are_not_paired_unasked(tmp_path):
    a, b = ({**SFT, "seeds": [seed]} for seed in (1, 2))
    path = written(tmp_path, arms={"a": a, "b": b, "c": {**SFT, "seeds": [2]}})
    assert load_experiment(path).compare == [("b", "c")]


@pytest.fixture
def ran(monkeypatch):
    """Stages that only note their names."""
    names = []

    def stage_of(name):
        def stage(experiment, out, console):
            """Stands in."""
            names.append(name)
            return {}

        return stage

    def stand_ins(experiment):
        return {name: stage_of(name) for name in experiment.stages()}

    monkeypatch.setattr(run, "stages_of", stand_ins)
    return names


def test_one_seed_again_trains_and_drives_what_needs_it(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    path = written(tmp_path, **arms(), seeds=[1, 2])
    run_stages(load_experiment(path), out, [], quiet)
    around = ["open_loop", "closed_loop", "report"]
    assert ran == ["record", "dataset", "sft-1", "sft-2", "grpo-1", "grpo-2", *around]
    ran.clear()
    run_stages(load_experiment(path), out, ["sft-2"], quiet)
    assert ran == ["sft-2", "grpo-2", *around]
    ran.clear()
    run_stages(load_experiment(path), out, [], quiet)
    assert not ran


def test_a_further_seed_or_arm_is_trained_and_evaluated_beside_the_others(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    run_stages(load_experiment(written(tmp_path, **arms(), seeds=[1, 2])), out, [], quiet)
    kept = out / "closed_loop" / "sft-1" / "frames" / "a.npz"
    kept.parent.mkdir(parents=True)
    kept.write_text("driven before\n")
    seconds = read_state(out)["closed_loop"]["seconds"]
    ran.clear()
    run_stages(load_experiment(written(tmp_path, **arms(), seeds=[1, 2, 3])), out, [], quiet)
    around = ["open_loop", "closed_loop", "report"]
    assert ran == ["sft-3", "grpo-3", *around]
    assert kept.read_text() == "driven before\n", "what was driven is not driven again"
    assert read_state(out)["closed_loop"]["seconds"] >= seconds
    ran.clear()
    more = arms(long={"stage": "sft", "from": "roboalign-tiny", "seeds": [1]})
    run_stages(load_experiment(written(tmp_path, **more, seeds=[1, 2, 3])), out, [], quiet)
    assert ran == ["long", *around]


def test_arms_without_a_thought_may_change_places(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    first = {"stage": "grpo", "from": "sft", "options": {"think": False}}
    for names in ("ab", "ba"):
        keys = arms(**dict.fromkeys(names, first))
        del keys["arms"]["grpo"]
        run_stages(load_experiment(written(tmp_path, **keys)), out, [], quiet)
        assert ran[-1] == "report"
    assert ran.count("closed_loop") == ran.count("open_loop") == 1


def test_a_training_that_was_begun_with_other_options_is_refused_first(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    path = written(tmp_path, **sft_with(options={"max_steps": 5}))
    experiment = load_experiment(path)
    policy = experiment.policies()["sft"]
    config_of(policy, out).parent.mkdir(parents=True)
    config_of(policy, out).write_text(yaml.safe_dump(training_keys(policy, experiment)))
    (out / "sft").mkdir()
    (out / "sft" / "run.json").write_text("{}")
    (out / ".sft.seconds").write_text("3.0")
    other = load_experiment(written(tmp_path, **sft_with(options={"max_steps": 7})))
    text = "configs/sft.yaml: sft was begun with max_steps 5, expected 7: add --redo sft"
    with pytest.raises(ValueError, match=text):
        run_stages(other, out, [], quiet)
    assert not ran
    run_stages(other, out, ["sft"], quiet)
    assert "sft" in ran


def test_other_options_of_an_arm_are_refused_until_it_is_done_again(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    run_stages(load_experiment(written(tmp_path, **sft_with(options={"max_steps": 5}))), out, [],
               quiet)  # fmt: skip
    before = content_hash(out)
    other = load_experiment(written(tmp_path, **sft_with(options={"max_seconds": 5.0})))
    with pytest.raises(ValueError, match="sft was done with .*max_.* add --redo sft"):
        run_stages(other, out, [], quiet)
    fewer = load_experiment(written(tmp_path, arms={"sft": {**SFT, "options": {"max_steps": 5}}}))
    with pytest.raises(ValueError, match="found the stage grpo, expected some of"):
        run_stages(fewer, out, [], quiet)
    assert content_hash(out) == before
    ran.clear()
    run_stages(other, out, ["sft"], quiet)
    assert ran == ["sft", "grpo", "open_loop", "closed_loop", "report"]
    assert json.loads((out / "stages.json").read_text())["sft"]["options"]["seed"] == 1


def test_the_report_is_made_anew_where_it_shall_say_something_else(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    run_stages(load_experiment(written(tmp_path, **arms())), out, [], quiet)
    swapped = {"arms": {"grpo": GRPO, "sft": SFT}}
    for keys in (
        {**arms(), "compare": []},
        sft_with(title="supervised"),
        sft_with(title="supervised", text="what it is"),
        {"arms": swapped["arms"], "compare": [["sft", "grpo"]]},
    ):
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(keys, sort_keys=False))
        ran.clear()
        run_stages(load_experiment(path), out, [], quiet)
        assert ran == ["report"]
        run_stages(load_experiment(path), out, [], quiet)
        assert ran == ["report"], "once"


def test_a_policy_acts_as_it_was_trained_with_a_thought_or_without(tmp_path, monkeypatch):
    """Driven and open loop; the same weights that act in another way are another policy."""
    from roboalign_training.evaluate import open_loop

    silent = {"weight_think": "0", "weight_act": 0.75}
    keys = arms(base=BASE, silent={**SFT, "options": silent})
    keys["arms"]["quiet"] = {**GRPO, "options": {"think": "false"}}
    experiment = load_experiment(written(tmp_path, **keys))
    driven, opened, copied = {}, {}, []
    monkeypatch.setattr(
        equal_policies, "describe_run", lambda policy, options: {"policy_hash": "same"}
    )
    monkeypatch.setattr(stages, "summarise", lambda records: {})
    monkeypatch.setattr(
        stages, "run_closed_loop",
        lambda policy, of, out, how, console: driven.update({out.name: how.think}) or [],
    )  # fmt: skip

    def copy(source, policy, of, out, how):
        copied.append((source.name, out.name, how.think))
        return []

    monkeypatch.setattr(stages, "copy_closed_loop", copy)
    monkeypatch.setattr(
        open_loop, "open_loop_of",
        lambda policy, data, count, think: opened.update({policy.parent.name: think}) or {},
    )  # fmt: skip
    (tmp_path / "logs").mkdir()
    found = stages.closed_loop(experiment, tmp_path, Console(quiet=True))
    thoughtless = next(name for name in experiment.policies() if name in ("silent", "quiet"))
    assert driven == {"base": True, thoughtless: False}
    (other,) = {"silent", "quiet"} - {thoughtless}
    assert {n: think for _, n, think in copied} == {"sft": True, "grpo": True, other: False}
    assert {(n, of) for of, n, _ in copied} == {
        ("sft", "base"), ("grpo", "base"), (other, thoughtless)
    }  # fmt: skip
    assert all(found[source].get("same_as") is None for source, _, _ in copied)
    stages.open_loop(experiment, tmp_path, Console(quiet=True))
    assert set(opened.values()) == {True, False} and len(opened) == 2
    for stage in ("open_loop", "closed_loop"):
        assert sorted(options_of(experiment, stage)["without_thought"]) == ["quiet", "silent"]


def test_an_arm_says_how_much_of_its_chunks_is_driven(tmp_path, monkeypatch):
    """Others are driven as the experiment says, and training is told what is driven."""
    head = {"stage": "vla", "from": "sft"}
    keys = arms(head={**head, "replan_after_steps": 3}, other=head, base=BASE)
    keys["arms"]["grpo"] = {**GRPO, "replan_after_steps": 0}
    experiment = load_experiment(written(tmp_path, **keys, replan_after_steps=2))
    wanted = {"base": 2, "sft": 2, "grpo": 0, "head": 3, "other": 2}
    driven = {}
    monkeypatch.setattr(
        equal_policies, "describe_run", lambda policy, options: {"policy_hash": str(policy)}
    )
    monkeypatch.setattr(stages, "summarise", lambda records: {})
    monkeypatch.setattr(
        stages, "run_closed_loop",
        lambda policy, of, out, how, console: driven.update({out.name: how.replan_after_steps}),
    )  # fmt: skip
    stages.closed_loop(experiment, tmp_path, Console(quiet=True))
    assert driven == wanted
    policies = experiment.policies()
    told = {n: training_keys(policies[n], experiment) for n in ("sft", "grpo", "head", "other")}
    steps = {name: keys.get("replan_after_steps") for name, keys in told.items()}
    assert steps == {"sft": None, "grpo": 0, "head": 3, "other": 2}
    options = options_of(experiment, "closed_loop")
    assert options["replan_after_steps"] == 2
    assert options["replan_after_steps_of"] == {"grpo": 0, "head": 3}
    own = load_experiment(written(tmp_path, **arms(head=head)))
    assert "replan_after_steps" not in training_keys(own.policies()["head"], own), "its own choice"


def test_other_steps_of_a_chunk_are_refused_until_it_is_driven_again(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    run_stages(load_experiment(written(tmp_path, **arms())), out, [], quiet)
    other = load_experiment(written(tmp_path, **sft_with(replan_after_steps=4)))
    text = "closed_loop was done with replan_after_steps_of {}, expected {'sft': 4}: add --redo"
    with pytest.raises(ValueError, match=text):
        run_stages(other, out, [], quiet)
    run_stages(other, out, ["closed_loop"], quiet)
    ran.clear()
    head = {"stage": "vla", "from": "sft", "replan_after_steps": 4}
    more = sft_with(replan_after_steps=4)
    more["arms"]["head"] = head
    run_stages(load_experiment(written(tmp_path, **more)), out, [], quiet)
    assert ran == ["head", "open_loop", "closed_loop", "report"], "a new arm refuses nothing"
    more["arms"]["head"] = {**head, "replan_after_steps": 2}
    with pytest.raises(ValueError, match="head was done with replan_after_steps 4, expected 2"):
        run_stages(load_experiment(written(tmp_path, **more)), out, ["closed_loop"], quiet)
    state = read_state(out)
    del state["head"]["options"]["replan_after_steps"]  # as an earlier version left it
    stages.write_json(out / "stages.json", state)
    run_stages(load_experiment(written(tmp_path, **more)), out, ["closed_loop"], quiet)


def test_without_development_episodes_nothing_is_chosen(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    run_stages(load_experiment(written(tmp_path, **arms())), out, [], quiet)
    assert "choose" not in ran
    ran.clear()
    chosen = load_experiment(written(tmp_path, **arms(), develop_episodes=3))
    run_stages(chosen, out, [], quiet)
    assert ran == ["choose", "report"]
    only = load_experiment(written(tmp_path, arms={"base": BASE}, develop_episodes=3))
    assert "choose" not in only.stages(), "nothing was trained"


def test_a_new_arm_is_considered_too(tmp_path, ran):
    quiet, out = Console(quiet=True), tmp_path / "out"
    run_stages(load_experiment(written(tmp_path, **arms(), develop_episodes=3)), out, [], quiet)
    ran.clear()
    more = arms(long=SFT)
    run_stages(load_experiment(written(tmp_path, **more, develop_episodes=3)), out, [], quiet)
    assert ran == ["long", "open_loop", "closed_loop", "choose", "report"]


def test_the_pairs_of_the_demo():
    experiment = load_experiment(packaged_experiment("demo"))
    assert experiment.compare == [
        ("base", "sft"), ("sft", "grpo"), ("sft", "sft_head"), ("grpo", "grpo_head"),
        ("sft_head", "grpo_head"),
    ]  # fmt: skip
    heads = [experiment.arms[name] for name in ("sft_head", "grpo_head")]
    assert [head.start for head in heads] == ["sft", "grpo"]
    assert heads[0].options == heads[1].options and "max_seconds" in heads[0].options


def test_an_action_head_against_tokens_can_be_written():
    """All heads read the same model, and differ in one thing each."""
    experiment = load_experiment(packaged_experiment("action_head"))
    check_options(experiment)
    heads = {name: arm for name, arm in experiment.arms.items() if arm.stage == "vla"}
    assert {arm.start for arm in heads.values()} == {"sft"}
    plain = heads["head"].options
    more = {name: dict(arm.options.items() - plain.items()) for name, arm in heads.items()}
    assert more == {
        "head": {},
        "head_last": {"layer": 1.0},
        "head_middle": {"layer": 0.5},
        "head_first": {"layer": 0.25},
        "head_prompt": {"condition": "prompt"},
        "head_taught": {"own_thoughts": 0.0},
    }
    assert ("sft", "head") in experiment.compare


def test_thoughts_in_language_alone_against_thoughts_before_actions_can_be_written():
    """The heads differ in what they read, and the models in their mixture."""
    experiment = load_experiment(packaged_experiment("language_thought"))
    check_options(experiment)
    arms = experiment.arms
    assert arms["sft"].thinks and not arms["language"].thinks
    assert arms["language"].options["sources"] == {"thought": 0.35}
    assert {arm.start for arm in arms.values() if arm.stage == "vla"} == {"sft", "language"}
    plain = arms["head"].options
    for name, condition in (("language_head", "language_thought"), ("language_prompt", "prompt")):
        assert arms[name].options == {**plain, "condition": condition}
        assert arms[name].start == "language"
