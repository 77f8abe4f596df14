"""`roboalign sft` and `grpo` as commands: what they say, refuse, leave out and leave behind."""

import errno
import json
import logging
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from roboalign_training import grpo, grpo_cli, sft, sft_cli
from roboalign_training.bags.errors import DatasetError
from roboalign_training.learning.arguments import ConfigError, GrpoArguments, SftArguments
from roboalign_training.learning.choice import by_driving, by_held_out
from roboalign_training.learning.demonstrations import check_instructions
from roboalign_training.learning.dev_score import DevScore
from roboalign_training.learning.run_callback import RunCallback
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.learning.training_options import make_parser, read_options
from roboalign_training.learning.trl_fields import trl_fields
from roboalign_training.shared.library_log import library_log
from roboalign_training.shared.outputs import Found, OutputError
from roboalign_training.shared.progress import ChildFailed
from roboalign_training.shared.write_errors import write_fault


@pytest.fixture
def train(demonstrations, tiny_base, tmp_path, monkeypatch, capsys):
    """Runs `roboalign sft` on demonstrations; status, lines of stdout, stderr."""
    monkeypatch.setattr(sft, "dataset_hashes", lambda folder: demonstrations.hashes)

    def start(*options, data=demonstrations):
        monkeypatch.setattr(sft, "load_demonstrations", lambda *given: data)
        words = (
            f"--dataset x --base {tiny_base} --out {tmp_path / 'run'} --max_steps 3 "
            "--per_device_train_batch_size 4 --weight_scene 0 --dev_frames 3 "
            "--max_answer_tokens 8 --logging_steps 1"
        )
        status = sft_cli.main([*words.split(), *map(str, options)])
        said = capsys.readouterr()
        return status, said.out.strip().splitlines(), said.err

    return start


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--per_device_train_batch_size -4",
         "per_device_train_batch_size: found -4, expected a whole number, at least 1"),
        ("--learning_rate -1", "learning_rate: found -1, expected a number above 0"),
        ("--learning_rate nan", "learning_rate: found nan, expected a number above 0"),
        ("--learning_rate fast", "learning_rate: found 'fast', expected a number above 0"),
        ("--max_steps 2.5", "max_steps: found 2.5, expected the number of optimiser steps"),
        ("--datset foo", "there is no option --datset; did you mean --dataset?"),
        ("--learning-rat 1", "there is no option --learning-rat; did you mean --learning_rate?"),
        ("--freeze_vision perhaps", "--freeze_vision: found 'perhaps', expected true or false"),
        ("--held_out_episodes two", "--held_out_episodes: found 'two', expected a whole number"),
        ("--report_to tensorbord", "report_to: found 'tensorbord', expected none, or some of"),
        ("--weight_act inf", "weight_act: found inf, expected a finite number, 0 or more"),
        ("--scene_questions 0", "scene_questions: found 0, expected at least 1, or --weight_sce"),
        ("--scene_questions 900000", "scene_questions: found 900000, expected 0 to 800000"),
        ("--max_steps none", "max_steps: found 'none', expected the number of optimiser steps"),
        ("--logging_steps 0", "logging_steps: found 0, expected a number above 0"),
        ("--resume_from_checkpoint nowhere",
         "resume_from_checkpoint: found 'nowhere', expected it to be left out: the same command"),
        ("--resume-from-checkpoint true", "resume_from_checkpoint: found 'true', expected it to"),
        ("--do_predict", "do_predict: found 'true', expected it to be left out: `roboalign ev"),
        ("--do_train false", "do_train: found 'false', expected it to be left out: the command"),
        ("--do_eval true", "do_eval: found 'true', expected it to be left out: eval_strategy"),
    ],
)  # fmt: skip
def test_refusals_name_option_value_and_expectation(words, text, capsys):
    assert sft_cli.main(["--dataset", "x", *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("configuration refused: ")
    assert text in error
    assert len(error.splitlines()) == 1


def test_a_reporter_that_is_not_installed_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = "report_to: found 'comet_ml', expected .* install the Python package comet-ml"
    from roboalign_training.learning import trainer_checks

    with pytest.raises(ConfigError, match=text):
        trainer_checks.check_values(
            "sft", "sft.yaml", {"report_to": "none"}, {"report_to": ["comet_ml"]}
        )


def test_values_of_a_file_are_refused_with_its_name(tmp_path):
    file = tmp_path / "mine.yaml"
    for text, expected in (
        ("learning_rate: -2", "mine.yaml: learning_rate: found -2, expected a number above 0"),
        ("dev_frames: many", "mine.yaml: dev_frames: found 'many', expected a whole number"),
        ("freeze_vision: 3", "mine.yaml: freeze_vision: found 3, expected true or false"),
        ("max_steps: null", "mine.yaml: max_steps: found None, expected the number of optimiser"),
        ("seed: ", "mine.yaml: seed: found None, expected a whole number, 0 or more"),
        ("env: [a]", r"mine.yaml: env: found \['a'\], expected names and values as in {NAME: v"),
        ("env: off", r"mine.yaml: env: found False, expected names and values"),
        ("env: {A: [1]}", r"mine.yaml: env.A: found \[1\], expected a text or a number"),
        ("env: {A: }", r"mine.yaml: env.A: found None, expected a text or a number"),
        ("env: {A=B: 1}", r"mine.yaml: env: found 'A=B', expected the name of a variable"),
        ("run_name: 2026-12-01", r"mine.yaml: run_name: found '2026-12-01' \(date\), expected"),
        ("lr_scheduler_kwargs: {1: a}", "mine.yaml: lr_scheduler_kwargs: found the key 1, expec"),
        ("sources: {a: 2026-10-10}", r"mine.yaml: sources: a: found '2026-10-10' \(date\), exp"),
        ("sources: {a: {share: 1, b: [.nan]}}", r"sources: a.b\[0\]: found nan \(float\), expe"),
        ("run_name: 2026-13-45", "mine.yaml: line 1: found '2026-13-45', expected a valid timest"),
        ("env: !!map foo", "mine.yaml: line 1: expected a mapping node, but found scalar"),
        ("- a", "mine.yaml: found list, expected a mapping"),
        ("resume_from_checkpoint: x", "mine.yaml: resume_from_checkpoint: found 'x', expected it"),
        ("learning_rte: 1", "mine.yaml: unknown key 'learning_rte'; did you mean 'learning_rate'"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=expected):
            read_options("sft", ["--config", str(file), "--dataset", "x"])


def test_what_none_can_be_said_of_is_taken_from_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "max_length: null\nmax_grad_norm: null\nreport_to: null\nenv: {A: 1, B: 'on', C: true}\n"
        "run_name: '2026-12-01'\nlr_scheduler_kwargs: {a: [1, 0.5, .inf, null, false]}"
    )
    given = read_options("sft", ["--config", str(file), "--dataset", "x"])
    assert given.env == {"A": 1, "B": "on", "C": True}
    assert given.config["run_name"] == "2026-12-01"
    file.write_text("max_steps: null")
    read_options("sft", ["--config", str(file), "--dataset", "x", "--max_steps", "9"])
    with pytest.raises(ConfigError, match="max_steps: found None, expected -1 or at least 1"):
        read_options("grpo", ["--config", str(file), "--dataset", "x"])


def test_a_date_is_not_taken_for_a_share_on_the_command_line(capsys):
    for text, said in (
        ("{a: 2026-10-10}", "sources: a: found '2026-10-10' (date), expected a number, true or"),
        ("{a: {share: 1, since: 2026-10-10}}", "sources: a.since: found '2026-10-10' (date), ex"),
        ("{a: 2026-13-45}", "sources: found '2026-13-45', expected a valid timestamp, or quotes"),
    ):
        assert sft_cli.main(["--dataset", "x", "--sources", text]) == 2
        error = capsys.readouterr().err
        assert said in error, error


def test_weights_of_rewards_are_not_taken_and_ignored(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("reward_weights: [1.0, 0.0]")
    said = "reward_weights: found .*, expected it to be left out: rewards has each reward's weight"
    with pytest.raises(ConfigError, match=f"mine.yaml: {said}"):
        read_options("grpo", ["--config", str(file), "--dataset", "x"])
    with pytest.raises(ConfigError, match=f"^{said}"):
        read_options("grpo", ["--dataset", "x", "--reward_weights", "1", "0"])


REWARD_FAULTS = [
    ("{formt: 1.0}", "rewards: found 'formt', expected names of format, prefix, action; did you "
     "mean 'format'?"),
    ("{format: -1}", "rewards.format: found -1.0, expected a finite number, 0 or more"),
    ("{format: .inf}", "rewards.format: found inf, expected a finite number, 0 or more"),
    ("{format: 0, prefix: 0}", "rewards: found {format: 0.0, prefix: 0.0}, expected at least one"),
    ("{}", "rewards: found {}, expected at least one weight above 0"),
    ("{format: much}", "format: found 'much', expected a number"),
    ("{format: true}", "format: found True, expected a number"),
    ("{format: }", "format: found nothing, expected a number"),
    ("[format]", "found ['format'], expected names and values as in '{name: 0.5}'"),
    ("format", "found 'format', expected names and values as in '{name: 0.5}'"),
    ("{format: 1, format: 0}", "found the key 'format' twice, expected it once (first in line 1)"),
    ("{1: 0.5}", "found {1: 0.5}, expected names and values as in '{name: 0.5}'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fault"), REWARD_FAULTS)
def test_rewards_that_cannot_be_are_refused_in_a_file_and_on_the_command_line(
    text, fault, tmp_path, capsys
):
    file = tmp_path / "mine.yaml"
    file.write_text(f"rewards: {text}")
    for words in (["--rewards", text], ["--config", str(file)]):
        assert grpo_cli.main(["--dataset", "x", *words]) == 2
        said = capsys.readouterr().err
        assert fault in said, said
        assert "rewards" in said or f"{file}: line 1: " in said
        assert len(said.splitlines()) == 1


def test_rewards_are_the_same_from_a_file_and_the_command_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("rewards:\n  prefix: 1\n  format: 0\n")
    for words in (["--rewards", "{format: 0, prefix: 1}"], ["--config", str(file)]):
        ours = read_options("grpo", ["--dataset", "x", *words]).ours
        found = GrpoArguments(**ours)
        assert list(found.rewards.items()) == [("format", 0.0), ("prefix", 1.0)]
        assert found.record()["rewards"] == "{format: 0.0, prefix: 1.0}"
    assert GrpoArguments("x").rewards == {"format": 0.5, "prefix": 0.5}
    shown = " ".join(make_parser("grpo").format_help().split())
    assert "--rewards '{NAME: X, ...}'" in shown
    assert "(default: {format: 0.5, prefix: 0.5})" in shown


def test_a_run_with_other_rewards_is_not_gone_on_with(tmp_path):
    """Also where it has fewer of them, and where it is from before they could be chosen."""

    def configuration(**given):
        ours = GrpoArguments("x", **given)
        trainer = {"reward_weights": list(ours.rewards.values())}
        return {"arguments": {"grpo": ours.record(), "trainer": trainer}}

    judge = partial(RunFolder(tmp_path).judge, "grpo", base="roboalign-tiny", overwrite=False)
    record = {"kind": "grpo", **configuration()}
    old = json.loads(json.dumps(record))
    del old["arguments"]["grpo"]["rewards"]
    for there in (record, old):
        (tmp_path / "run.json").write_text(json.dumps(there))
        assert judge(configuration()) is Found.UNFINISHED
        assert judge(configuration(rewards={"prefix": 0.5, "format": 0.5})) is Found.UNFINISHED
        for rewards in ({"format": 0.5}, {"format": 0.5, "action": 0.5}):
            with pytest.raises(OutputError, match='grpo.rewards: found "{format: 0.5, prefix: 0'):
                judge(configuration(rewards=rewards))


def test_options_that_nobody_looks_at_are_those_that_transformers_leaves_to_the_script():
    from roboalign_training.learning import trainer_checks

    for kind in ("sft", "grpo"):
        unused = {n for n, f in trl_fields(kind).items() if "Not directly used by" in f.help}
        more = {"reward_weights", "packing", "save_only_model", "load_best_model_at_end"}
        assert unused == trainer_checks._USELESS.keys() - more
    read_options("sft", ["--dataset", "x"])
    trainer_checks.check_values("sft", "sft.yaml", {"resume_from_checkpoint": None}, {})


@pytest.mark.parametrize(
    ("config", "theirs", "name"),
    [
        ({"do_train": True, "do_eval": False, "do_predict": False}, {}, ""),
        ({"resume_from_checkpoint": False}, {}, ""),
        ({}, {"do_train": [], "do_eval": ["False"], "no_do_predict": []}, ""),
        ({}, {"do_train": ["true"], "resume_from_checkpoint": ["false"]}, ""),
        ({}, {"resume_from_checkpoint": ["null"]}, ""),
        ({"do_train": False}, {"do_train": ["true"]}, ""),
        ({"do_train": False}, {}, "sft.yaml: do_train: found False"),
        ({"do_eval": True}, {}, "sft.yaml: do_eval: found True"),
        ({"resume_from_checkpoint": True}, {}, "sft.yaml: resume_from_checkpoint: found True"),
        ({}, {"no_do_train": []}, "no_do_train: found 'true'"),
        ({}, {"do_predict": ["perhaps"]}, "do_predict: found 'perhaps'"),
    ],
)
def test_what_is_done_anyway_may_be_said(config, theirs, name):
    from roboalign_training.learning import trainer_checks

    if not name:
        return trainer_checks.check_values("sft", "sft.yaml", config, theirs)
    with pytest.raises(ConfigError, match=f"^{name}, expected it to be left out"):
        trainer_checks.check_values("sft", "sft.yaml", config, theirs)


@pytest.mark.parametrize(
    ("config", "theirs", "fault"),
    [
        ({"loss_type": "dr_grpo"}, {}, ""),
        ({"loss_type": "grppo"}, {"loss_type": ["dapo"]}, ""),
        ({"scale_rewards": False}, {}, ""),
        ({"scale_rewards": "none"}, {}, ""),
        ({"loss_type": "grppo"}, {}, "grpo.yaml: loss_type: found 'grppo', expected one of grpo,"),
        ({"loss_type": None}, {}, "grpo.yaml: loss_type: found None, expected one of grpo, dr_"),
        ({}, {"loss_type": ["GRPO"]}, "loss_type: found 'GRPO', expected one of grpo, dr_grpo"),
        ({}, {"loss_type": ["grpo", "dapo"]}, "loss_type: found 'grpo dapo', expected one of"),
        ({}, {"loss_type": []}, "loss_type: found '', expected one of grpo"),
        ({"importance_sampling_level": "word"}, {}, "found 'word', expected one of token, seq"),
        (
            {},
            {"scale_rewards": ["True"]},
            "scale_rewards: found 'True', expected one of group, batch, none",
        ),
        ({"multi_objective_aggregation": "mean"}, {}, "found 'mean', expected one of sum_then_n"),
    ],
)
def test_words_that_the_trainer_would_fail_on_in_its_first_step(config, theirs, fault):
    from roboalign_training.learning import trainer_checks

    if not fault:
        return trainer_checks.check_values("grpo", "grpo.yaml", config, theirs)
    with pytest.raises(ConfigError, match=fault):
        trainer_checks.check_values("grpo", "grpo.yaml", config, theirs)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_the_words_are_those_that_the_trainer_names_in_its_help(kind):
    import re

    from roboalign_training.learning.trainer_checks import CHOICES
    from roboalign_training.learning.trl_fields import trl_fields

    for name, choices in CHOICES[kind].items():
        text = trl_fields(kind)[name].help
        named = set(re.findall(r"[`'\"]+([a-z_]+)[`'\"]+", text))
        # chunked_nll is deprecated: still taken, and no longer named.
        words = {choice for choice in choices if isinstance(choice, str)} - {"chunked_nll"}
        assert words <= named, (name, words - named)
    listed = trl_fields("grpo")["loss_type"].help.split("Supported values are ")[1].split(". ")[0]
    assert set(re.findall(r"'(\w+)'", listed)) == set(CHOICES["grpo"]["loss_type"])


def test_one_name_for_one_thing_and_the_old_ones_say_so(capsys):
    new = read_options("sft", ["--dataset", "x", "--out", "here", "--dev-frames", "3"])
    assert capsys.readouterr().err == ""
    old = read_options("sft", ["--dataset", "x", "--output_dir", "here", "--dev_frames", "3"])
    assert capsys.readouterr().err == "roboalign sft: --output_dir is now called --out\n"
    assert new == old
    assert new.theirs == ["--output_dir", "here"]


def test_how_many_episodes_are_held_out_follows_the_data():
    by_default = SftArguments("x")
    assert [by_default.held_out_of(n) for n in (2, 9, 20, 159, 160, 1000)] == [1, 1, 2, 15, 16, 16]
    asked = GrpoArguments("x", held_out_episodes=6)
    assert asked.held_out_of(7) == 6
    with pytest.raises(ConfigError, match="held_out_episodes: found 6, expected 1 to 5: the data"):
        asked.held_out_of(6)
    with pytest.raises(ConfigError, match="dataset: found 1 episode, expected 2 or more"):
        by_default.held_out_of(1)
    assert GrpoArguments("x").samples_of(90, 16) == 90
    assert GrpoArguments("x").samples_of(900, 16) == 128
    with pytest.raises(ConfigError, match="samples: found 9, expected at least 16, the prompts"):
        GrpoArguments("x").samples_of(9, 16)


def test_a_robot_without_a_place_in_its_prompt_has_no_grasp_questions(
    train, demonstrations, tmp_path
):
    contract = demonstrations.contract
    kept = tuple(item for item in contract.prompt_state if item.label not in "xyz")
    other = replace(demonstrations, contract=replace(contract, prompt_state=kept))
    status, _, error = train("--weight_grasp", "0.1", data=other)
    assert status == 2
    assert "weight_grasp: found 0.1, expected 0: these demonstrations show no place" in error
    assert not (tmp_path / "run").exists(), "refused before anything is written"
    status, _, error = train(data=other)
    assert (status, error) == (0, "")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["mixture"]["grasp"] == 0


def test_a_run_says_its_steps_its_scores_and_what_it_left_out(
    train, demonstrations, monkeypatch, tmp_path
):
    monkeypatch.setattr(sft, "RunCallback", partial(RunCallback, line_every_s=0.0))
    usable = demonstrations.usable.copy()
    usable[[3, 4]] = False
    usable[12:24] = False
    data = replace(demonstrations, usable=usable)
    status, lines, error = train("--save_minutes", "1e-9", "--strict", data=data)
    assert error == ""
    assert lines[0] == f"sft: {data.folder}: 6 episodes, 72 frames of sim_panda"
    assert [line.split(",")[0] for line in lines[1:4]] == [f"step {n} of 3" for n in (1, 2, 3)]
    assert lines[2].startswith("step 2 of 3, loss ")
    assert lines[2].endswith(" s left")
    assert lines[-4].startswith("sft: 3 steps, 12 samples in ")
    assert lines[-3].startswith("sft: 3 held-out frames: format 0.000, prefix accuracy ")
    assert lines[-2].startswith(f"policy: {tmp_path / 'run' / 'policy'}; every step: ")
    assert lines[-1] == (
        "left out: 14 frames (no whole chunk of actions after it), 1 episode (no frame with a "
        "whole chunk of actions)"
    )
    assert status == 3
    run = tmp_path / "run"
    assert (run / "checkpoint-3").is_dir()
    assert not (run / "README.md").exists(), "TRL's card of a checkpoint"
    assert "what the libraries said" not in lines[-2] or (run / "log.txt").is_file()
    status, again, _ = train("--save_minutes", "1e-9", data=data)
    assert status == 0
    assert again[0] == "sft: this run has finished before; nothing was changed"
    assert again[1:] == lines[-4:]


def test_the_card_of_a_policy_says_what_it_is(train, tmp_path, tiny_base):
    assert train()[0] == 0
    card = (tmp_path / "run" / "policy" / "README.md").read_text()
    meta = json.loads((tmp_path / "run" / "policy" / "roboalign.json").read_text())
    assert card.startswith("---\nlicense: other\n")
    for text in (
        "# sim_panda: a policy after supervised fine-tuning (stage 1)",
        f"- **Base**: `{tiny_base.name}` (SHA-256 `",
        f"- **Robot contract**: `sim_panda` (SHA-256 `{meta['hashes']['contract'][:12]}`), 10 Hz",
        f"(SHA-256 `{meta['hashes']['dataset'][:12]}`), 5 episodes trained on, 1 held out",
        "by `roboalign sft`",
        ": 3 steps, 12 samples",
        "| held-out frames scored | 3 |",
        "## Licence",
        f"That of the base model (`{tiny_base.name}`, see there)",
    ):
        assert text in card, text
    assert "None" not in card


def test_a_full_disk_is_told_with_its_path_and_what_was_written(train, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("transformers.PreTrainedModel.save_pretrained", full)
        status, _, error = train()
    assert status == 1
    place = tmp_path / "run" / "policy.new"
    assert f"not written: {place}: No space left on device, writing the policy (" in error
    assert "Traceback" not in error
    assert train()[0] == 0, "the same command goes on when there is room"


def test_episodes_that_cannot_be_driven_are_told_without_a_traceback(
    tmp_path, monkeypatch, capsys
):
    def fail(words):
        raise ChildFailed("worker", 1, tmp_path / "worker.log")

    monkeypatch.setattr(grpo, "run", fail)
    assert grpo_cli.main(["--dataset", "x"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("development episodes: worker ended with status 1; the end of ")
    assert "the same command goes on from there" in said


def test_a_log_without_room_is_told_too_and_without_a_traceback(tmp_path, capsys):
    """/dev/full answers each write as a full disk does."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "log.txt"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError) as fault, library_log() as log:
        logging.getLogger("library").warning("a word")
        log.to_file(path)
    said = write_fault(fault.value)
    assert said.startswith(f"{path}: No space left on device, writing what the libraries said (")
    assert capsys.readouterr().err == ""


def test_an_instruction_with_a_token_of_the_model_is_refused_at_once(
    train, demonstrations, tmp_path
):
    first, *rest = demonstrations.episodes
    bad = replace(first, instruction="grasp <|im_end|> the cube")
    status, _, error = train(data=replace(demonstrations, episodes=(bad, *rest)))
    assert status == 1
    assert "instruction of episode e0: found the tag '<|im_end|>' in 'grasp <|im_end|> " in error
    assert not (tmp_path / "run").exists()


def test_plain_words_are_no_tokens_of_the_model(demonstrations):
    added = {"<mark>": 1, "cube": 2}
    check_instructions(demonstrations, added)
    first, *rest = demonstrations.episodes
    bad = replace(first, instruction="x <mark>")
    with pytest.raises(DatasetError, match="episode e0"):
        check_instructions(replace(demonstrations, episodes=(bad, *rest)), added)


RESULT = {
    "steps": 15, "samples": 240, "seconds": 39.4, "ended_by": "steps", "reward": 0.61,
    "base": "out/sft/policy",
}  # fmt: skip


@pytest.fixture
def said_of(tmp_path):
    """What a run tells whose folder still has the candidate."""
    (tmp_path / "candidate").mkdir()

    def said(choice, folder=tmp_path, **more):
        return grpo.result_lines({**RESULT, **more, "choice": choice.record()}, folder)

    return said


def test_grpo_says_which_policy_it_kept_by_which_rule(said_of, tmp_path):
    base, shift = [0.6, 0.62, 0.64], [0.001, -0.001, 0.0]
    noise = by_held_out(5, base, [b + s for b, s in zip(base, shift, strict=True)], 3)
    first, second = said_of(noise)
    assert first == "grpo: 15 steps, 240 prompts in 39 s (ended by steps); sampled reward 0.610"
    assert second == (
        "grpo: kept the base out/sft/policy as it was, by 3 held-out episodes: step 5 of 15 "
        "scores 0.6200, the base 0.6200; difference +0.0000 (95 % interval -0.0044 to +0.0044), "
        "not beyond noise in its favour; candidate/ has that step"
    )
    worse = by_driving(10, [(True, False)] * 9 + [(True, True)] * 20)
    assert said_of(worse)[1].endswith("worse beyond noise; candidate/ has that step")
    assert said_of(worse, tmp_path / "elsewhere")[1].endswith("worse beyond noise")
    better = by_held_out(5, base, [0.7, 0.72, 0.75], 3)
    assert "kept step 5 of 15, by 3 held-out episodes: step 5 of 15 scores" in said_of(better)[1]
    driven = by_driving(10, [(True, True)] * 20 + [(False, True)] * 8 + [(False, False)] * 20)
    assert said_of(driven)[1] == (
        "grpo: kept step 10 of 15, by 48 driven development episodes: step 10 of 15 succeeds in "
        "28, the base in 20; difference +0.1667 (95 % interval +0.0511 to +0.2689, McNemar p = "
        "0.0078), beyond noise"
    )


def test_grpo_says_that_a_step_is_of_before_an_interruption(said_of):
    choice = by_held_out(5, [0.5, 0.5, 0.5], [0.6, 0.6, 0.601], 2)
    said = said_of(choice, steps=4, reward=None)[1]
    assert said.startswith("grpo: kept step 5 of before an interruption, by 3 held-out episodes")


def test_scores_are_means():
    found = {"format": np.array([1.0, 0.5]), "prefix": np.array([0.5, 0.0]), "action": np.ones(2)}
    score = DevScore(found, {"format": 0.5, "prefix": 2.0, "action": 0.0})
    assert score.values.tolist() == [1.5, 0.25]
    assert score.means == {"format": 0.75, "prefix": 0.25, "action": 1.0}
    assert score.record() == {
        "dev_score": 0.875, "dev_format": 0.75, "dev_prefix_accuracy": 0.25, "dev_action": 1.0,
        "dev_frames": 2,
    }  # fmt: skip


def test_an_unfinished_run_with_other_ends_says_how_it_goes_on(tmp_path):
    def configuration(**more):
        arguments = {"max_seconds": 60.0, "weight_act": 0.1, **more}
        return {"arguments": {"sft": arguments, "trainer": {}}}

    record = {"kind": "sft", **configuration()}
    (tmp_path / "run.json").write_text(json.dumps(record))
    judge = partial(RunFolder(tmp_path).judge, "sft", base="roboalign-tiny", overwrite=False)
    assert judge(configuration()) is Found.UNFINISHED
    with pytest.raises(OutputError, match="found 60.0, now 90.0.*: add --resume true to go on"):
        judge(configuration(max_seconds=90.0))
    assert judge(configuration(max_seconds=90.0), resume=True) is Found.UNFINISHED
    with pytest.raises(OutputError, match="choose another folder, or add --overwrite$"):
        judge(configuration(max_seconds=90.0, weight_act=0.2))
