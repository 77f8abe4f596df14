"""The demo's stages: done once, resumed, done again with all that follow, failing cleanly."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from roboalign_policy.sim import SUITES
from roboalign_training.demo import cli, stages
from roboalign_training.demo.plan import DemoConfig
from roboalign_training.demo.stages import (
    PRODUCTS,
    STAGES,
    StageFailed,
    read_state,
    record_jobs,
    run_stages,
)

QUIET = Console(quiet=True)


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Stages that note their run, leave their product and can be made to fail."""
    state = SimpleNamespace(ran=[], fail=None, out=tmp_path / "demo")

    def stand_in(name):
        def stage(config, out):
            """Stands in."""
            state.ran.append(name)
            for folder in PRODUCTS.get(name, ()):
                (out / folder).mkdir(exist_ok=True)
                (out / folder / f"by-{len(state.ran)}").touch()
            if state.fail == name:
                raise StageFailed(f"{name} ended with status 1")
            return {"made": name}

        return stage

    for name in STAGES:
        monkeypatch.setitem(STAGES, name, stand_in(name))

    def run(**options):
        state.ran.clear()
        run_stages(DemoConfig(out=str(state.out), **options), QUIET)
        return list(state.ran)

    state.run = run
    return state


def test_every_stage_runs_once_and_the_report_each_time(demo):
    assert demo.run() == list(STAGES)
    assert demo.run() == ["report"]
    state = read_state(demo.out)
    assert list(state) == list(STAGES)
    for name, entry in state.items():
        assert entry["result"] == {"made": name}
        assert entry["seconds"] >= 0


def test_a_failed_stage_keeps_what_was_finished_and_is_taken_up_again(demo):
    demo.fail = "sft"
    with pytest.raises(StageFailed):
        demo.run()
    assert list(read_state(demo.out)) == ["record", "dataset", "base"]
    assert (demo.out / "sft").is_dir(), "what the stage had made is there to go on from"
    demo.fail = None
    assert demo.run() == list(STAGES)[3:]
    assert list(read_state(demo.out)) == list(STAGES)


def test_seconds_of_interrupted_tries_count(demo):
    demo.fail = "grpo"
    with pytest.raises(StageFailed):
        demo.run()
    (demo.out / ".grpo.seconds").write_text("120.0")
    demo.fail = None
    demo.run()
    assert 120 <= read_state(demo.out)["grpo"]["seconds"] < 130
    assert not list(demo.out.glob(".*.seconds"))


def test_redo_forgets_a_stage_and_all_that_follow(demo):
    demo.run()
    kept = sorted((demo.out / "bags").iterdir())
    assert demo.run(redo=["sft"]) == ["sft", "grpo", "open_loop", "closed_loop", "report"]
    assert sorted((demo.out / "bags").iterdir()) == kept
    assert len(list((demo.out / "sft").iterdir())) == 1, "its old product was removed"
    assert demo.run(redo=["closed_loop", "grpo"])[0] == "grpo", "the first of several"


def test_redo_forgets_the_seconds_of_a_failed_try(demo):
    demo.fail = "sft"
    with pytest.raises(StageFailed):
        demo.run()
    (demo.out / ".sft.seconds").write_text("500.0")
    demo.fail = None
    demo.run(redo=["sft"])
    assert read_state(demo.out)["sft"]["seconds"] < 10


def test_redo_of_no_stage_is_refused_before_anything_is_removed(demo):
    demo.run()
    before = (demo.out / "stages.json").read_text()
    with pytest.raises(ValueError, match=r"redo: found \['fly'\], expected some of"):
        demo.run(redo=["fly", "record"])
    assert (demo.out / "stages.json").read_text() == before
    assert (demo.out / "bags").is_dir()


def test_finished_stages_of_other_options_are_not_taken_for_these(demo):
    demo.run(episodes=40)
    wanted = DemoConfig().episodes
    message = f"record was done with episodes 40, expected {wanted}: add --redo record"
    with pytest.raises(ValueError, match=message):
        demo.run()
    assert demo.run(episodes=40, workers=1, threads=1) == ["report"]
    with pytest.raises(ValueError, match="closed_loop was done with closed_loop_episodes 25"):
        demo.run(episodes=40, closed_loop_episodes=5)
    ran = demo.run(episodes=40, closed_loop_episodes=5, redo=["closed_loop"])
    assert ran == ["closed_loop", "report"]


def test_the_command_tells_a_failure_in_a_line(demo, capsys):
    demo.fail = "dataset"
    assert cli.main(["--out", str(demo.out)]) == 1
    told = capsys.readouterr().out
    assert "dataset ended with status 1" in told
    assert "Run the same command again" in told
    assert cli.main(["--out", str(demo.out), "--redo", "fly"]) == 1
    assert "expected some of" in capsys.readouterr().out


def test_an_interrupted_demo_says_how_to_go_on(demo, monkeypatch, capsys):
    def interrupt(config, out):
        """Ctrl-C."""
        raise KeyboardInterrupt

    monkeypatch.setitem(STAGES, "base", interrupt)
    assert cli.main(["--out", str(demo.out)]) == 130
    assert "run the same command again" in capsys.readouterr().out
    assert list(read_state(demo.out)) == ["record", "dataset"]


def test_demonstrations_are_spread_over_suites_and_tasks():
    jobs = record_jobs(120, 7, 0.05)
    assert [job["seed"] for job in jobs] == list(range(7, 127))
    assert {job["action_noise"] for job in jobs} == {0.05}
    for suite, tasks in SUITES.items():
        mine = [job["task"] for job in jobs if job["suite"] == suite]
        counts = [mine.count(task.name) for task in tasks]
        assert sum(counts) == 120 / len(SUITES)
        assert max(counts) - min(counts) <= 1


def test_stages_call_commands_with_options_that_exist(tmp_path, monkeypatch):
    """What SFT and GRPO are asked parses as their own command line would."""
    from trl import GRPOConfig, SFTConfig

    from roboalign_training.arguments import parse_arguments
    from roboalign_training.grpo import GrpoArguments
    from roboalign_training.sft import SftArguments

    calls = []

    def start(words, env):
        calls.append((words, env))
        kind = words[words.index("roboalign_training.cli") + 1]
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "result.json").write_text("{}")
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(subprocess, "Popen", start)
    config = DemoConfig(threads=3, sft_steps=11, sft_seconds=77.0, grpo_samples=5)
    for kind, types in (("sft", (SftArguments, SFTConfig)), ("grpo", (GrpoArguments, GRPOConfig))):
        STAGES[kind](config, tmp_path)
        words, env = calls.pop()
        assert words[:4] == [sys.executable, "-m", "roboalign_training.cli", kind]
        assert env["OMP_NUM_THREADS"] == "3"
        arguments, training = parse_arguments(kind, types, words[4:])
        assert arguments.dataset == str(tmp_path / "data")
        assert arguments.resume is True
        if kind == "sft":
            assert (training.max_steps, arguments.max_seconds) == (11, 77.0)
        else:
            assert (arguments.samples, arguments.base) == (5, str(tmp_path / "sft" / "policy"))


def test_the_dataset_stage_gives_the_figures_of_the_report(tmp_path, monkeypatch):
    index = SimpleNamespace(
        episodes={"a": {}, "b": {}}, frames=90, skipped=[{}],
        fitted={"tokens_per_chunk": {"mean": 9.25, "p95": 15.0, "max": 21}, "chunks": 88},
    )  # fmt: skip
    calls = []
    monkeypatch.setattr(stages, "_roboalign", lambda *words: calls.append(words))
    monkeypatch.setattr(stages, "load_index", lambda folder: index)
    assert STAGES["dataset"](DemoConfig(), tmp_path) == {
        "episodes": 2, "frames": 90, "skipped": 1, "tokens_per_chunk": 9.25,
        "tokens_per_chunk_max": 21, "chunks": 88,
    }  # fmt: skip
    from roboalign_training.data import convert_cli, fit_cli

    parsers = {"convert": convert_cli.parser, "fit-tokenizer": fit_cli.parser}
    for command, *options in calls:
        parsers[command]().parse_args([str(option) for option in options])


def test_a_command_that_fails_fails_the_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: SimpleNamespace(wait=lambda: 3))
    with pytest.raises(StageFailed, match="roboalign_training.cli sft .* ended with status 3"):
        STAGES["sft"](DemoConfig(), tmp_path)


def test_state_is_written_whole(demo):
    demo.run()
    assert json.loads((demo.out / "stages.json").read_text())
    assert not list(demo.out.glob("*.partial"))
