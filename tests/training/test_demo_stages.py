"""The demo's stages: done once, resumed, done again with all that follow, failing cleanly."""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from roboalign_policy.sim import SUITES
from roboalign_training.cli import main
from roboalign_training.demo import cli, equal_policies, run, stages
from roboalign_training.demo.experiment import (
    demo_experiment,
    load_experiment,
    packaged_experiment,
)
from roboalign_training.demo.plan import DemoConfig
from roboalign_training.demo.run import StageFailed, read_state, run_stages
from roboalign_training.demo.stages import grpo_samples, products_of, record_jobs, stages_of
from roboalign_training.evaluate import closed_loop, open_loop
from roboalign_training.evaluate.closed_loop import episodes_of_suites
from roboalign_training.evaluate.seeds import BEST_SEED, CLOSED_LOOP_SEED
from roboalign_training.learning.choice import by_driving
from roboalign_training.shared.outputs import OutputError, content_hash
from roboalign_training.shared.progress import run_child

QUIET = Console(quiet=True)
DEMO = demo_experiment(DemoConfig())
STAGES, PRODUCTS = stages_of(DEMO), products_of(DEMO)

REPORT = {
    "closed_loop": {}, "total": {}, "by_seed": {}, "same_as": {"grpo": "sft"}, "paired": [],
    "chosen": {"name": "sft", "why": "the others are no better"},
}  # fmt: skip
AFTER = ["open_loop", "closed_loop", "choose", "report"]
TRAINED = ("sft", "grpo", "sft_head", "grpo_head")


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Stages that note their run, leave their product and can be made to fail."""
    state = SimpleNamespace(ran=[], fail=None, same=False, out=tmp_path / "demo")

    def stand_in(name):
        def stage(experiment, out, console):
            """Stands in."""
            state.ran.append(name)
            for folder in PRODUCTS.get(name, ()):
                if "." in folder:
                    (out / folder).write_text(f"by-{len(state.ran)}")
                    continue
                (out / folder).mkdir(exist_ok=True)
                (out / folder / f"by-{len(state.ran)}").touch()
            if state.fail == name:
                raise StageFailed(name, 1, out / "logs" / f"{name}.log")
            if name in TRAINED:
                result = {"steps": 3, "left_out": {"frame": {"a cause": 2}}}
                if name == "grpo_head" and state.same:
                    result = {"steps": 3, "left_out": {}, "same_as": "sft_head"}
                if name == "grpo":
                    result["choice"] = by_driving(2, [(True, True)] * 48).record()
                (out / name / "result.json").write_text(json.dumps(result))
            if name == "report":
                (out / "report.json").write_text(json.dumps(REPORT))
                (out / "report.html").write_text(f"made in run {len(state.ran)}")
            taken = {"same_as": "sft_head"} if name == "grpo_head" and state.same else {}
            return {"made": name, **taken}

        return stage

    state.stages = {name: stand_in(name) for name in STAGES}
    monkeypatch.setattr(run, "stages_of", lambda experiment: state.stages)

    def start(**options):
        state.ran.clear()
        config = DemoConfig(out=str(state.out), **options)
        run_stages(demo_experiment(config), state.out, config.redo, QUIET)
        return list(state.ran)

    state.run = start
    return state


def test_every_stage_runs_once(demo):
    assert demo.run() == list(STAGES)
    before = content_hash(demo.out)
    assert demo.run() == []
    assert content_hash(demo.out) == before, "not one byte of a finished demo changes"
    assert demo.run(redo=["report"]) == ["report"]
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


def test_redo_forgets_a_stage_and_all_that_need_it(demo):
    demo.run()
    kept = sorted((demo.out / "bags").iterdir())
    assert demo.run(redo=["sft"]) == [*TRAINED, *AFTER]
    assert sorted((demo.out / "bags").iterdir()) == kept
    assert len(list((demo.out / "sft").glob("by-*"))) == 1, "its old product was removed"
    assert demo.run(redo=["closed_loop", "grpo"])[0] == "grpo", "the first of several"
    assert demo.run(redo=["base"]) == ["base", "closed_loop", "report"], "nothing starts from it"
    assert demo.run(redo=["open_loop"]) == ["open_loop", "report"]
    assert demo.run(redo=["sft_head"]) == ["sft_head", *AFTER]
    (demo.out / "best.json").write_text("old")
    demo.fail = "choose"
    with pytest.raises(StageFailed):
        demo.run(redo=["choose"])
    assert (demo.out / "best.json").read_text() == "by-1", "the old one was removed"


def test_redo_forgets_what_was_taken_from_another_training(demo):
    demo.same = True
    demo.run()
    assert demo.run(redo=["sft_head"]) == ["sft_head", "grpo_head", *AFTER]
    assert demo.run(redo=["grpo_head"]) == ["grpo_head", *AFTER]


def test_a_finished_demo_without_heads_gets_them_and_nothing_else_is_done_again(demo):
    """Its version neither knew other steps of a chunk for an arm, nor chose one."""
    demo.run()
    state = read_state(demo.out)
    for name in ("sft_head", "grpo_head", "choose"):
        del state[name]
    del state["closed_loop"]["options"]["replan_after_steps_of"]
    stages.write_json(demo.out / "stages.json", state)
    (demo.out / "best.json").unlink()
    kept = content_hash(demo.out / "sft")
    assert demo.run() == ["sft_head", "grpo_head", *AFTER]
    assert content_hash(demo.out / "sft") == kept
    steps = read_state(demo.out)["closed_loop"]["options"]["replan_after_steps_of"]
    assert steps == {"sft_head": 4, "grpo_head": 4}
    assert demo.run() == []


def test_a_file_in_the_place_of_the_folder_is_refused(demo, capsys):
    demo.out.touch()
    assert cli.main(["--out", str(demo.out)]) == 2
    told = capsys.readouterr().out
    assert "found a file, expected a folder or nothing" in told and "goes on" not in told


@pytest.mark.parametrize("redo", [[], ["dataset"]])
def test_a_folder_of_somebody_elses_results_is_refused(demo, redo):
    (demo.out / "data").mkdir(parents=True)
    (demo.out / "data" / "mine").touch()
    with pytest.raises(OutputError, match="found data and no stages.json, so no demo made that"):
        demo.run(redo=redo)
    assert [path.name for path in demo.out.rglob("*")] == ["data", "mine"]


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
    before = content_hash(demo.out)
    with pytest.raises(ValueError, match=r"redo: found \['fly'\], expected some of"):
        demo.run(redo=["fly", "record"])
    assert content_hash(demo.out) == before
    with pytest.raises(ValueError, match="record was done with episodes 1000, expected 16"):
        demo.run(redo=["sft"], episodes=16)
    assert content_hash(demo.out) == before, "the options are looked at before anything goes"


def test_finished_stages_of_other_options_are_not_taken_for_these(demo):
    demo.run(episodes=40)
    wanted = DemoConfig().episodes
    message = f"record was done with episodes 40, expected {wanted}: add --redo record"
    with pytest.raises(ValueError, match=message):
        demo.run()
    assert demo.run(episodes=40, workers=1, threads=1) == []
    with pytest.raises(ValueError, match="closed_loop was done with closed_loop_episodes 25"):
        demo.run(episodes=40, closed_loop_episodes=5)
    ran = demo.run(episodes=40, closed_loop_episodes=5, redo=["closed_loop"])
    assert ran == ["closed_loop", "report"]


def test_of_a_demo_of_the_last_release_only_grpo_is_done_again(demo):
    """It noted fewer options, and kept GRPO's step by another rule."""
    demo.run()
    state = read_state(demo.out)
    noted = {
        "record": {"episodes": 1000, "open_loop_episodes": 24, "action_noise": 0.05},
        "dataset": {"vocab_size": 256, "scale": 5.0},
        "sft": {"sft_seconds": 580.0, "sft_steps": 2100},
        "grpo": {"grpo_seconds": 120.0, "grpo_samples": 240},
        "open_loop": {"open_loop_frames": 120},
        "closed_loop": {"closed_loop_episodes": 25, "replan_after_steps": 0},
    }
    for name in ("sft_head", "grpo_head", "choose"):
        del state[name]
    for name, entry in state.items():
        entry["options"] = noted.get(name, {})
    stages.write_json(demo.out / "stages.json", state)
    with pytest.raises(ValueError, match="grpo was done with no .*choose, .*: add --redo grpo"):
        demo.run()
    with pytest.raises(ValueError, match="record was done with contract sim_panda, expected sim"):
        demo.run(redo=["grpo"], contract="sim_panda_wrist")
    assert demo.run(redo=["grpo"]) == ["grpo", "sft_head", "grpo_head", *AFTER]
    assert demo.run() == []


def test_a_recording_that_was_begun_with_other_options_is_not_gone_on_with(demo, monkeypatch):
    """All bags that are there would be converted, whoever they were recorded for."""

    def interrupt(module, jobs, bags, *words, **how):
        bags.mkdir(exist_ok=True)
        (bags / "ep").touch()
        if bags.name == demo.at:
            raise StageFailed("record", -2, demo.out / "log")

    monkeypatch.setitem(demo.stages, "record", stages.record)
    monkeypatch.setattr(stages, "_module", interrupt)
    demo.at = "bags-eval"
    begun = {"episodes": 16, "open_loop_episodes": 4}
    with pytest.raises(StageFailed):
        demo.run(**begun)
    before = content_hash(demo.out)
    for other, text in (
        ({"episodes": 12}, "bags.json: recording was begun with 16 episodes, expected 12"),
        ({"open_loop_episodes": 5}, "bags-eval.json: recording was begun with 4 episodes, exp"),
        ({"action_noise": 0.1}, "bags.json: recording was begun with episode 0 {.*0.05}, exp"),
        (
            {"contract": "sim_panda_wrist"},
            "record.json: recording was begun with contract sim_panda, expected sim_panda_wrist",
        ),
    ):
        with pytest.raises(ValueError, match=f"{text}.*: add --redo record, or choose another"):
            demo.run(**{**begun, **other})
        assert content_hash(demo.out) == before
    noted = (demo.out / "record.json").read_text()
    (demo.out / "record.json").unlink()  # as earlier versions left it
    with pytest.raises(ValueError, match="begun with contract sim_panda, expected sim_panda_w"):
        demo.run(**begun, contract="sim_panda_wrist")
    (demo.out / "record.json").write_text("{")
    with pytest.raises(ValueError, match="record.json: found no JSON .*: add --redo record"):
        demo.run(**begun)
    (demo.out / "record.json").write_text(noted)
    (demo.out / "bags.json").write_text("{")
    with pytest.raises(ValueError, match="begun with 0 episodes, expected 16"):
        demo.run(**begun)
    with pytest.raises(StageFailed):
        demo.run(redo=["record"], episodes=12)
    with pytest.raises(StageFailed):
        demo.run(redo=["record"], episodes=12, contract="sim_panda_wrist")
    with pytest.raises(ValueError, match="begun with contract sim_panda_wrist, expected sim_pan"):
        demo.run(episodes=12)
    demo.at = "nowhere"
    assert demo.run(episodes=12, contract="sim_panda_wrist") == list(STAGES)[1:]


def test_episodes_that_were_driven_with_other_options_are_not_reported(demo):
    demo.fail = "closed_loop"
    with pytest.raises(StageFailed):
        demo.run(closed_loop_episodes=2)
    folder = demo.out / "closed_loop" / "sft"
    folder.mkdir()
    lines = [json.dumps(vars(e)) for e in episodes_of_suites(SUITES, 2, CLOSED_LOOP_SEED)]
    (folder / "results.jsonl").write_text("\n".join([*lines, ""]))
    demo.fail = None
    message = f"{folder}: driving was begun with {len(SUITES)} episodes .*: add --redo closed_loop"
    with pytest.raises(ValueError, match=message):
        demo.run(closed_loop_episodes=1)
    ran = demo.run(closed_loop_episodes=3)
    assert ran == ["closed_loop", "choose", "report"], "more than there are"


def test_driving_that_was_begun_with_other_steps_of_a_chunk_is_refused(demo):
    demo.fail = "closed_loop"
    with pytest.raises(StageFailed):
        demo.run()
    folder = demo.out / "closed_loop" / "sft"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"settings": {"replan_after_steps": 0}}))
    text = "driving was begun with replan_after_steps 0, expected 4: add --redo closed_loop"
    with pytest.raises(ValueError, match=text):
        demo.run(replan_after_steps=4)
    (folder / "run.json").unlink()
    folder = demo.out / "closed_loop" / "sft_head"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"settings": {"replan_after_steps": 8}}))
    with pytest.raises(ValueError, match="sft_head/run.json: .* replan_after_steps 8, expected 4"):
        demo.run()
    (folder / "run.json").write_text(json.dumps({"settings": {"replan_after_steps": 4}}))
    demo.fail = None
    assert demo.run() == ["closed_loop", "choose", "report"]


def test_choosing_that_was_begun_with_other_episodes_is_refused(demo):
    demo.fail = "choose"
    with pytest.raises(StageFailed):
        demo.run()
    folder = demo.out / "choose" / "sft"
    folder.mkdir()
    lines = [json.dumps(vars(e)) for e in episodes_of_suites(SUITES, 17, BEST_SEED)]
    (folder / "results.jsonl").write_text("\n".join([*lines, ""]))
    text = "4 episodes that are not among those of develop_episodes 16: add --redo choose"
    with pytest.raises(ValueError, match=text):
        demo.run()
    demo.fail = None
    assert demo.run(redo=["choose"]) == ["choose", "report"]


def test_a_stage_that_cannot_do_with_what_was_recorded_is_no_refusal(demo, monkeypatch, capsys):
    def check(experiment, out, console):
        """As `check_prompts`."""
        raise ValueError("episodes: found 2, expected more")

    monkeypatch.setitem(demo.stages, "sft", check)
    assert cli.main(["--out", str(demo.out)]) == 1
    told = capsys.readouterr().out
    assert "sft: episodes: found 2, expected more" in told and "goes on" not in told
    assert list(read_state(demo.out)) == ["record", "dataset", "base"]


def test_the_command_tells_a_failure_in_a_line(demo, capsys):
    demo.fail = "dataset"
    assert cli.main(["--out", str(demo.out)]) == 1
    told = capsys.readouterr().out
    assert "dataset ended with status 1; the end of" in told
    assert "the same command goes on from here" in told
    assert main(["demo", "--out", str(demo.out), "--redo", "sft", "fly"]) == 2
    assert "--redo: found 'fly', expected one of record, dataset" in capsys.readouterr().err


def test_an_interrupted_demo_says_how_to_go_on(demo, monkeypatch, capsys):
    def interrupt(experiment, out, console):
        """Ctrl-C."""
        raise KeyboardInterrupt

    monkeypatch.setitem(demo.stages, "base", interrupt)
    assert cli.main(["--out", str(demo.out)]) == 130
    assert "run the same command again" in capsys.readouterr().out
    assert list(read_state(demo.out)) == ["record", "dataset"]


def test_sigterm_ends_the_program_of_a_stage_too(demo, monkeypatch, capsys):
    def sleep(experiment, out, console):
        """A long one."""
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        words = "import os, time; print(os.getpid(), flush=True); time.sleep(300)"
        (out / "logs").mkdir(exist_ok=True)
        run_child(
            [sys.executable, "-c", words], out / "logs" / "a.log", "a", lambda: (0, 0, ""), QUIET
        )

    monkeypatch.setitem(demo.stages, "base", sleep)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["--out", str(demo.out)]) == 130
    assert "run the same command again" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before
    pid = (demo.out / "logs" / "a.log").read_text().strip()
    assert not pid or not Path(f"/proc/{pid}").exists()
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
    """What SFT and GRPO are asked is taken by their own command line."""
    from roboalign_training.learning.training_options import OURS, read_options

    calls = []

    def start(words, log, label, count, console, environment):
        calls.append((words, environment))
        folder = Path(words[words.index("--out") + 1])
        (folder / "features").mkdir(parents=True)
        (folder / "result.json").write_text("{}")
        (folder / "run.json").write_text(json.dumps({"train_frames": 90}))

    monkeypatch.setattr(stages, "run_child", start)
    monkeypatch.setattr(stages, "check_prompts", lambda experiment, out: None)
    config = DemoConfig(
        threads=3, workers=1, sft_steps=11, sft_seconds=77.0, grpo_samples=20, develop_episodes=2,
        head_steps=13, head_seconds=55.0,
    )  # fmt: skip
    for name, kind in (("sft", "sft"), ("grpo", "grpo"), ("sft_head", "vla")):
        stages_of(demo_experiment(config))[name](demo_experiment(config), tmp_path, QUIET)
        assert not (tmp_path / name / "features").exists(), "hundreds of megabytes"
        words, env = calls.pop()
        assert words[:4] == [sys.executable, "-m", "roboalign_training.cli", kind]
        assert env == {"OMP_NUM_THREADS": "3"}
        given = read_options(kind, words[4:])
        arguments = OURS[kind](**given.ours)
        assert arguments.dataset == str(tmp_path / "data")
        assert given.theirs[-1] == str(tmp_path / name)
        assert given.config["seed"] == 1
        if kind == "sft":
            assert given.config["max_steps"] == 11
            assert (arguments.max_seconds, arguments.base) == (77.0, "roboalign-tiny")
        elif kind == "vla":
            assert (given.config["max_steps"], arguments.max_seconds) == (13, 55.0)
            assert arguments.base == str(tmp_path / "sft" / "policy")
            assert arguments.replan_after_steps == 4, "as it is driven in the demo"
        else:
            assert (arguments.samples, arguments.base) == (20, str(tmp_path / "sft" / "policy"))
            chosen = (arguments.choose, arguments.develop_episodes, arguments.workers)
            assert chosen == ("driven", 2, 1)


def test_grpo_prompts_follow_the_data_unless_asked_for(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"train_frames": 90}))
    assert grpo_samples(240, tmp_path) == 90
    assert demo_experiment(DemoConfig()).fewer_prompts
    asked = demo_experiment(DemoConfig(grpo_samples=200))
    assert not asked.fewer_prompts, "GRPO refuses it by name"


def test_the_packaged_demo_is_what_the_command_runs():
    written = load_experiment(packaged_experiment("demo"))
    assert (written.arms, written.settings) == (DEMO.arms, DEMO.settings)


def test_a_policy_that_is_another_one_is_not_driven_again(tmp_path, monkeypatch):
    """As where GRPO has kept its base."""
    drove, weights = [], {"base": "b", "sft": "s", "grpo": "s"}
    weights |= {"sft_head": "h", "grpo_head": "h"}

    def describe(policy, options):
        name = policy.parent.name if policy.name == "policy" else policy.name
        return {"policy": name, "policy_hash": weights[name], "settings": {}}

    def drive(policy, episodes, out, options, console):
        drove.append(out.name)
        (out / "frames").mkdir(parents=True)
        (out / "frames" / "x.npz").write_text(out.name)
        (out / "run.json").write_text(json.dumps(describe(policy, options)))
        records = [
            {**vars(e), "success": out.name == "sft", "valid_chunks": 2, "chunks": 2}
            for e in episodes
        ]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (out / "results.jsonl").write_text(text)
        return records

    monkeypatch.setattr(stages, "run_closed_loop", drive)
    for module in (equal_policies, closed_loop):
        monkeypatch.setattr(module, "describe_run", describe)
    asked = []
    monkeypatch.setattr(
        open_loop, "open_loop_of", lambda *of, **how: asked.append(of) or {"n": len(asked)}
    )
    (tmp_path / "logs").mkdir()
    opened = STAGES["open_loop"](DEMO, tmp_path, QUIET)
    once, twice = {"n": 1}, {"n": 2}
    heads = {"sft_head": twice, "grpo_head": twice}
    assert (opened, len(asked)) == ({"sft": once, "grpo": once, **heads}, 2)
    experiment = demo_experiment(DemoConfig(closed_loop_episodes=2))
    stage = stages_of(experiment)["closed_loop"]
    found = stage(experiment, tmp_path, QUIET)
    assert drove == ["base", "sft", "sft_head"]
    assert found["grpo_head"]["same_as"] == "sft_head"
    assert found["grpo"] == {**found["sft"], "same_as": "sft"}
    folder = tmp_path / "closed_loop"
    assert (folder / "grpo/results.jsonl").read_text() == (
        folder / "sft/results.jsonl"
    ).read_text()
    assert (folder / "grpo/frames/x.npz").read_text() == "sft"
    assert json.loads((folder / "grpo/run.json").read_text())["policy"] == "grpo"
    before = content_hash(folder / "grpo")
    grpo = tmp_path / "grpo/policy"
    episodes = episodes_of_suites(SUITES, 2, CLOSED_LOOP_SEED)
    closed_loop.copy_closed_loop(folder / "sft", grpo, episodes, folder / "grpo", None)
    assert content_hash(folder / "grpo") == before, "again changes nothing"
    with pytest.raises(ValueError, match="policy_hash: found b, expected s"):
        closed_loop.copy_closed_loop(folder / "base", grpo, episodes, folder / "new", None)
    more = episodes_of_suites(SUITES, 3, CLOSED_LOOP_SEED)
    with pytest.raises(ValueError, match="found no .*3000002, expected it"):
        closed_loop.copy_closed_loop(folder / "sft", grpo, more, folder / "new", None)


def test_a_copy_that_was_killed_is_gone_on_with(tmp_path, monkeypatch):
    source, out = tmp_path / "sft", tmp_path / "grpo"
    (source / "frames").mkdir(parents=True)
    (source / "frames" / "x.npz").touch()
    run_record = {"policy": {}, "policy_hash": "s", "settings": {}}
    (source / "run.json").write_text(json.dumps(run_record))
    monkeypatch.setattr(closed_loop, "describe_run", lambda policy, options: run_record)
    (episode,) = episodes_of_suites(dict(list(SUITES.items())[:1]), 1, CLOSED_LOOP_SEED)
    record = {**vars(episode), "success": True}
    (source / "results.jsonl").write_text(json.dumps(record) + "\n")
    copy = closed_loop.shutil.copytree

    def killed(*of, **how):
        copy(*of, **how)
        raise KeyboardInterrupt

    monkeypatch.setattr(closed_loop.shutil, "copytree", killed)
    with pytest.raises(KeyboardInterrupt):
        closed_loop.copy_closed_loop(source, tmp_path / "p", [episode], out, None)
    monkeypatch.setattr(closed_loop.shutil, "copytree", copy)
    assert closed_loop.copy_closed_loop(source, tmp_path / "p", [episode], out, None) == [record]
    assert (out / "frames" / "x.npz").exists()


def test_help_and_a_slip_of_the_pen(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    assert "--closed_loop_episodes N" in capsys.readouterr().out


def test_the_dataset_stage_gives_the_figures_of_the_report(tmp_path, monkeypatch):
    index = SimpleNamespace(
        episodes={"a": {}, "b": {}}, frames=90, skipped=[{}],
        fitted={"tokens_per_chunk": {"mean": 9.25, "p95": 15.0, "max": 21}, "chunks": 88},
    )  # fmt: skip
    calls = []
    monkeypatch.setattr(stages, "_roboalign", lambda *words, **how: calls.append(words))
    monkeypatch.setattr(stages, "load_index", lambda folder: index)
    assert STAGES["dataset"](DEMO, tmp_path, QUIET) == {
        "episodes": 2, "frames": 90, "skipped": 1, "tokens_per_chunk": 9.25,
        "tokens_per_chunk_max": 21, "chunks": 88,
    }  # fmt: skip
    from roboalign_training.conversion import convert_cli
    from roboalign_training.data import fit_cli

    parsers = {"convert": convert_cli.parser, "fit-tokenizer": fit_cli.parser}
    asked = [words[words.index("--contract") + 1] for words in calls if words[0] == "convert"]
    assert asked == [DEMO.settings.contract] * 2
    for command, *options in calls:
        parsers[command]().parse_args([str(option) for option in options])


def test_a_command_that_fails_names_its_log_and_shows_its_end(tmp_path, monkeypatch):
    program = "print('noise of others'); raise SystemExit('out/data: is no data set')"
    monkeypatch.setattr(
        stages, "run_child", lambda words, *rest: run_child([sys.executable, "-c", program], *rest)
    )
    monkeypatch.setattr(stages, "check_prompts", lambda experiment, out: None)
    (tmp_path / "logs").mkdir()
    with pytest.raises(StageFailed) as failed:
        STAGES["sft"](DEMO, tmp_path, QUIET)
    log = tmp_path / "logs" / "sft.log"
    assert f"ended with status 1; the end of {log}:" in str(failed.value)
    assert str(failed.value).endswith("noise of others\nout/data: is no data set")


def test_without_a_terminal_progress_is_a_line_now_and_then(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("roboalign_training.shared.progress.LINE_EVERY_S", 0.2)
    monkeypatch.setattr("roboalign_training.shared.progress.POLL_S", 0.05)
    command = [sys.executable, "-c", "import time; print('noise'); time.sleep(1)"]
    run_child(command, tmp_path / "x.log", "sft", lambda: (3, 9, "steps, 6 s left"), Console())
    said = capsys.readouterr().out
    assert "sft: 3 of 9 steps, 6 s left (" in said
    assert "noise" not in said
    assert (tmp_path / "x.log").read_text() == "noise\n"


def test_state_is_written_whole(demo):
    demo.run()
    assert json.loads((demo.out / "stages.json").read_text())
    assert not list(demo.out.glob("*.partial"))


def test_the_end_says_whose_policy_was_kept_and_what_was_left_out(demo, capsys):
    demo.same = True
    assert cli.main(["--out", str(demo.out)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert any(
        line.startswith("grpo: kept the base sft as it was, by 48 driven development episodes")
        for line in lines
    )
    assert "grpo is the same policy as sft: not driven again" in lines
    same = "grpo_head is the same training as sft_head, as both start from the same policy: not"
    assert any(line.startswith(same) for line in lines)
    chosen = f"sft drives by default ({demo.out / 'best.json'}): the others are no better"
    assert chosen in lines[-3:]
    causes = ", ".join(f"2 a cause ({name})" for name in TRAINED[:3])
    assert lines[-1] == f"left out: 6 frames ({causes})"
    assert cli.main(["--out", str(demo.out), "--strict"]) == 3
