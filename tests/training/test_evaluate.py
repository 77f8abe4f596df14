"""Closed-loop bookkeeping and open-loop figures: counts, resuming, whose results they are."""

import dataclasses
import importlib.util
import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.policy.prediction import ChunkStatus, Prediction
from roboalign_policy.sim import SUITES
from roboalign_training.demo.plan import DemoConfig
from roboalign_training.evaluate import cli, closed_loop
from roboalign_training.evaluate.closed_loop import (
    JOBS,
    RESULTS,
    DrivenEpisode,
    DrivingOptions,
    drop_torn_line,
    episodes_of_suites,
    read_results,
    run_closed_loop,
    summarise,
)
from roboalign_training.evaluate.open_loop import evaluate_open_loop
from roboalign_training.evaluate.seeds import (
    BEST_SEED,
    CHOICE_SEED,
    CLOSED_LOOP_SEED,
    DEVELOPMENT_SEED,
    MOST_SEEDS,
    OPEN_LOOP_SEED,
    RECORD_SEED,
)
from roboalign_training.shared.outputs import OutputError, content_hash, only_writer
from roboalign_training.shared.progress import ChildFailed
from roboalign_training.shared.statistics import wilson_interval


def record(episode, success=True, **more):
    return {
        "suite": episode.suite, "task": episode.task, "seed": episode.seed, "success": success,
        "steps": 30, "chunks": 5, "valid_chunks": 4, "faults": ["undecodable"],
        "instruction": "grasp it", "reasonings": ["here"] * 5, **more,
    }  # fmt: skip


@pytest.fixture
def policy(tmp_path):
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "roboalign.json").write_text(json.dumps({"kind": "sft", "created": "today"}))
    return folder


@pytest.fixture
def worker(monkeypatch):
    """Stands in for the process that needs ROS: notes its jobs, writes results, may fail."""
    state = SimpleNamespace(jobs=[], stop_after=None, ros=True)
    find_spec = importlib.util.find_spec

    def find(name, *more):
        if name in ("rclpy", "roboalign_msgs"):
            return SimpleNamespace() if state.ros else None
        return find_spec(name, *more)

    def describe(policy, settings):
        how = {key: value for key, value in asdict(settings).items() if key != "workers"}
        steps = {"driven": how["replan_after_steps"] or 8, "of": 8}
        record = json.loads((policy / "roboalign.json").read_text())
        return {"policy": record, "settings": how, "chunk_steps": steps}

    def run(command, log, label, count, console):
        assert command[1:3] == ["-m", "roboalign_training.nodes.closed_loop_worker"]
        folder = closed_loop.Path(command[3])
        job = json.loads((folder / JOBS).read_text())
        state.jobs.append(job)
        with (folder / RESULTS).open("a") as file:
            for number, episode in enumerate(job["episodes"]):
                if number == state.stop_after:
                    file.write('{"suite": "obj", "faults": {}')  # killed while writing
                    file.flush()
                    raise ChildFailed("closed_loop_worker", -9, log)
                file.write(json.dumps(record(DrivenEpisode(**episode))) + "\n")
        assert count()[:2] == (len(job["episodes"]), len(job["episodes"]))

    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setattr("roboalign_training.shared.progress.run_child", run)
    monkeypatch.setattr(closed_loop, "describe_run", describe)
    return state


def test_episodes_take_tasks_in_turn_from_seeds_of_their_own():
    episodes = episodes_of_suites(SUITES, 6, 3_000_000)
    assert len(episodes) == len(set(episodes)) == 6 * len(SUITES)
    for suite, tasks in SUITES.items():
        mine = [e for e in episodes if e.suite == suite]
        assert [e.seed for e in mine] == list(range(3_000_000, 3_000_006))
        assert [e.task for e in mine] == [tasks[i % len(tasks)].name for i in range(6)]


def test_seeds_of_the_demo_never_meet():
    config = DemoConfig()
    used = [
        range(RECORD_SEED, RECORD_SEED + config.episodes),
        range(OPEN_LOOP_SEED, OPEN_LOOP_SEED + config.open_loop_episodes),
        range(DEVELOPMENT_SEED, DEVELOPMENT_SEED + 10_000),
        range(CLOSED_LOOP_SEED, CLOSED_LOOP_SEED + config.closed_loop_episodes),
        range(CHOICE_SEED, CHOICE_SEED + config.develop_episodes),
        range(BEST_SEED, BEST_SEED + config.develop_episodes),
    ]
    purposes = [RECORD_SEED, OPEN_LOOP_SEED, DEVELOPMENT_SEED, CLOSED_LOOP_SEED, CHOICE_SEED]
    assert np.diff([*purposes, BEST_SEED]).min() >= MOST_SEEDS, "however many are asked for"
    assert sum(map(len, used)) == len(set().union(*used))


def test_summarise_counts_by_suite_with_intervals():
    records = [
        record(DrivenEpisode(suite, "t", i), success=i < won)
        for suite, won in (("object", 3), ("goal", 0))
        for i in range(4)
    ]
    found = summarise(records)
    assert found["suites"] == {
        "object": {"successes": 3, "n": 4, "interval": list(wilson_interval(3, 4))},
        "goal": {"successes": 0, "n": 4, "interval": list(wilson_interval(0, 4))},
    }
    assert found["decode"] == {"valid": 32, "n": 40}


def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path):
    whole = [record(DrivenEpisode("object", "t", i)) for i in range(2)]
    text = "".join(json.dumps(r) + "\n" for r in whole)
    for torn in ('{"suite": "object", "a": {}', '{"suite"', json.dumps(whole[0])):
        (tmp_path / RESULTS).write_text(text + torn)
        assert list(read_results(tmp_path)) == [DrivenEpisode("object", "t", i) for i in range(2)]
        drop_torn_line(tmp_path)
        assert (tmp_path / RESULTS).read_text() == text
    (tmp_path / RESULTS).write_text('{"torn')
    drop_torn_line(tmp_path)
    assert (tmp_path / RESULTS).read_text() == ""


def test_no_results_yet(tmp_path):
    assert read_results(tmp_path) == {}
    drop_torn_line(tmp_path)
    assert not (tmp_path / RESULTS).exists()


def test_finished_episodes_are_not_driven_again(policy, worker, tmp_path):
    episodes = episodes_of_suites(SUITES, 2, 7)
    out = tmp_path / "out"
    first = run_closed_loop(policy, episodes[:3], out, DrivingOptions())
    assert [r["seed"] for r in first] == [e.seed for e in episodes[:3]]
    both = run_closed_loop(policy, episodes, out, DrivingOptions())
    assert [(r["suite"], r["seed"]) for r in both] == [(e.suite, e.seed) for e in episodes]
    assert [len(job["episodes"]) for job in worker.jobs] == [3, len(episodes) - 3]
    assert worker.jobs[0]["policy"] == str(policy)
    run_closed_loop(policy, episodes, out, DrivingOptions())
    assert len(worker.jobs) == 2, "nothing was left to drive"


def test_a_killed_worker_leaves_what_was_finished(policy, worker, tmp_path):
    episodes, out = episodes_of_suites(SUITES, 1, 7), tmp_path / "out"
    worker.stop_after = 2
    with pytest.raises(RuntimeError, match=r"ended by signal 9; the end of .*logs/worker\.log"):
        run_closed_loop(policy, episodes, out, DrivingOptions())
    worker.stop_after = None
    records = run_closed_loop(policy, episodes, out, DrivingOptions())
    assert len(records) == len(episodes)
    assert [len(job["episodes"]) for job in worker.jobs] == [4, 2]


def test_results_of_another_policy_or_setting_are_refused(policy, worker, tmp_path):
    episodes, out = episodes_of_suites(SUITES, 1, 7)[:1], tmp_path / "out"
    run_closed_loop(policy, episodes, out, DrivingOptions(workers=2))
    run_closed_loop(policy, episodes, out, DrivingOptions(workers=5))  # changes no result
    before = content_hash(out)
    with pytest.raises(ValueError, match="settings.think: found true, now false; nothing was ch"):
        run_closed_loop(policy, episodes, out, DrivingOptions(think=False))
    (policy / "roboalign.json").write_text(json.dumps({"kind": "grpo", "created": "today"}))
    with pytest.raises(ValueError, match='policy.kind: found "sft", now "grpo"'):
        run_closed_loop(policy, episodes, out, DrivingOptions())
    assert content_hash(out) == before
    (out / "notes.txt").write_text("mine")
    run_closed_loop(policy, episodes, out, DrivingOptions(), overwrite=True)
    assert len(worker.jobs) == 2, "driven anew"
    assert (out / "notes.txt").read_text() == "mine"


def words_of(policy, out):
    words = ["closed-loop", "--policy", str(policy), "--out", str(out)]
    return [*words, "--suites", "goal", "--episodes", "2"]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("--replan-after-steps -1", "replan_after_steps: found -1, expected 0 to 8, the steps"),
        ("--replan-after-steps 9", "replan_after_steps: found 9, expected 0 to 8, the steps"),
        ("--seed -1", "seed: found -1, expected 0 to 18446744073709551615"),
        (f"--seed {2**64 - 1}", f"seed: found {2**64}, expected 0 to 18446744073709551615"),
        ("--workers 101 --episodes 101", "workers: found 101, expected at most 100: each pair"),
    ],
)
def test_what_cannot_be_driven_is_refused_before_anything_is_removed(
    policy, worker, tmp_path, capsys, more, text
):
    out = tmp_path / "out"
    assert cli.main(words_of(policy, out)) == 0
    before = content_hash(out)
    for words in (more.split(), [*more.split(), "--overwrite"]):
        assert cli.main([*words_of(policy, out), *words]) == 2
        assert text in capsys.readouterr().err
        assert content_hash(out) == before


def test_without_ros_nothing_is_removed(policy, worker, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(words_of(policy, out)) == 0
    before, worker.ros = content_hash(out), False
    for more in (["--overwrite"], ["--episodes", "3"]):
        assert cli.main([*words_of(policy, out), *more]) == 1
        assert "rclpy: found no such package in " in capsys.readouterr().err
        assert content_hash(out) == before
    assert cli.main(words_of(policy, out)) == 0, "all is driven"
    assert cli.main(words_of(policy, tmp_path / "new")) == 1
    assert not (tmp_path / "new").exists()


def test_results_that_another_process_is_writing_are_not_removed(policy, worker, tmp_path):
    episodes, out = episodes_of_suites(SUITES, 1, 7), tmp_path / "out"
    run_closed_loop(policy, episodes, out, DrivingOptions())
    before = content_hash(out)
    with only_writer(out), pytest.raises(OutputError, match="another process is writing there"):
        run_closed_loop(policy, episodes, out, DrivingOptions(), overwrite=True)
    assert content_hash(out) == before


def test_what_another_process_has_driven_meanwhile_is_not_driven_again(
    policy, worker, tmp_path, monkeypatch
):
    episodes, out = episodes_of_suites(SUITES, 1, 7), tmp_path / "out"
    run_closed_loop(policy, episodes[:1], tmp_path / "other", DrivingOptions())
    monkeypatch.setattr(closed_loop, "check_ros", lambda: (tmp_path / "other").rename(out))
    assert len(run_closed_loop(policy, episodes, out, DrivingOptions())) == len(episodes)
    assert [len(job["episodes"]) for job in worker.jobs] == [1, len(episodes) - 1]


def test_a_policy_of_another_robot_is_refused_in_a_line(policy, tmp_path, monkeypatch):
    parts = SimpleNamespace(contract=load_contract("so101"), hash="h" * 64, images=())
    monkeypatch.setattr("roboalign_policy.models.checkpoint.read_checkpoint", lambda *given: parts)
    with pytest.raises(ValueError, match="was trained for so101, and contract sim_panda is") as it:
        run_closed_loop(policy, [], tmp_path / "out", DrivingOptions())
    assert "rate_hz: found 10.0, expected 30.0" in str(it.value)
    assert len(str(it.value).splitlines()) == 1
    assert len(str(it.value)) < 600, "no contract is printed"
    assert not (tmp_path / "out").exists()


CONTRACT = load_contract("sim_panda")


class Frames:
    """Frames whose demonstrated chunk is all 0.5."""

    def __init__(self, usable):
        self.folder, self.contract, self.usable = "frames", CONTRACT, np.array(usable)

    def __getitem__(self, index):
        return SimpleNamespace(
            images={"image.front": index}, states={}, instruction="go",
            action_chunk=np.full((8, 7), 0.5, np.float32), episode_id="one",
        )  # fmt: skip

    @property
    def states(self):
        """The gripper closes in the last frame, at 50 -10 2."""
        count = len(self.usable)
        ee = np.tile(np.float32([0.5, -0.1, 0.2, 0, 0, 0, 1]), (count, 1))
        width = np.full((count, 1), 0.1, np.float32)
        ee[-1, 2], width[-1] = 0.02, 0.04
        return {"state.ee": ee, "state.gripper": width}

    def episode(self, index):
        return SimpleNamespace(id="one", start=0, stop=len(self.usable))


class Echo:
    """A policy with known tokens, wrong by 0.1 in dx and by 0.2 in half of the steps of dz.

    Its answer in frame 3 is broken.
    """

    contract, images = CONTRACT, ("image.front",)

    def __init__(self):
        self.asked = []

    def tokens_of(self, chunks):
        return [[1, 2, 3, 4]]

    def act(self, values, instruction):
        frame = values["image.front"]
        self.asked.append(frame)
        if frame == 3:
            return Prediction(None, [9], "", ChunkStatus.UNDECODABLE, "why", 0.1)
        actions = np.full((8, 7), 0.5, np.float32)
        actions[:, 0] += 0.1
        actions[:4, 2] += 0.2
        return Prediction(actions, [1, 2, 9, 9], "", ChunkStatus.OK, "", 0.1)


def test_the_command_leaves_a_page(policy, worker, tmp_path, capsys):
    out = tmp_path / "driven"
    command = [
        "closed-loop",
        str(policy),
        "--out",
        str(out),
        "--suites",
        "goal",
        "--episodes",
        "2",
    ]
    assert cli.main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["suites"]["goal"]["n"] == 2
    assert found["report"] == str(out / "report.html")
    assert found["chunk_steps"] == {"driven": 8, "of": 8}
    page = (out / "report.html").read_text()
    assert f"The policy {policy} succeeded in 2 of 2 episodes on unseen scenes" in page


def test_open_loop_figures_by_hand():
    policy = Echo()
    found = evaluate_open_loop(policy, Frames([True] * 4 + [False] * 3), count=10).record()
    assert policy.asked == [0, 1, 2, 3], "frames without a whole chunk are no question"
    assert found["n"] == 4
    assert found["valid"] == 3
    assert found["prefix_accuracy"] == pytest.approx((0.5 * 3 + 0) / 4)
    assert found["action_l1"] == pytest.approx(0.2 / 7)
    assert found["action_l1_by_dimension"]["dx"] == pytest.approx(0.1)
    assert set(found["action_l1_by_dimension"]) == set(CONTRACT.action.names)
    assert set(found["action_rmse_by_dimension"]) == set(CONTRACT.action.names)
    assert found["action_rmse_by_dimension"]["dx"] == pytest.approx(0.1)
    assert found["action_l1_by_dimension"]["dz"] == pytest.approx(0.1)
    assert found["action_rmse_by_dimension"]["dz"] == pytest.approx(0.02**0.5)
    low, high = found["prefix_accuracy_interval"]
    assert low < found["prefix_accuracy"] < high


def test_open_loop_says_how_far_the_thoughts_are():
    class Thinks(Echo):
        def act(self, values, instruction):
            place = ("50 -10 2", "52 -10 2", "50 -6 2")[values["image.front"]]
            thought = f"grasp at {place} : stay"
            return dataclasses.replace(super().act(values, instruction), reasoning=thought)

    found = evaluate_open_loop(Thinks(), Frames([True] * 3 + [False]), 3).record()["thoughts"]
    assert (found["n"], found["places"], found["unit"]) == (3, 3, "cm")
    assert found["beyond_1"]["share"] == pytest.approx(2 / 3)
    assert found["beyond_3"]["share"] == pytest.approx(1 / 3)
    assert found["wrong_event"]["share"] == 0.0 and found["error"] == 2.0
    assert evaluate_open_loop(Echo(), Frames([True]), 1).record()["thoughts"] is None


def test_open_loop_draws_as_many_frames_as_asked_by_the_seed():
    drawn = []
    for seed in (0, 0, 1):
        policy = Echo()
        assert evaluate_open_loop(policy, Frames([True] * 50), 10, seed).n == 10
        assert policy.asked == sorted(set(policy.asked))
        drawn.append(policy.asked)
    assert drawn[0] == drawn[1] != drawn[2]


def test_open_loop_without_a_valid_chunk_has_no_error_figure():
    policy = Echo()
    found = evaluate_open_loop(policy, Frames([False, False, False, True]), 5).record()
    assert (found["n"], found["valid"], found["action_l1"]) == (1, 0, None)
    assert found["action_l1_by_dimension"] == found["action_rmse_by_dimension"] == {}


def test_open_loop_without_frames_is_refused():
    with pytest.raises(ValueError, match="found 0 frames with a whole chunk"):
        evaluate_open_loop(Echo(), Frames([False]), 5)


def test_open_loop_of_another_action_space_is_refused():
    frames = Frames([True])
    frames.contract = load_contract("so101")
    with pytest.raises(ValueError, match="trained for sim_panda, and contract so101 is") as fault:
        evaluate_open_loop(Echo(), frames, 5)
    assert len(str(fault.value)) < 600, "a line or two, no contract printed"
