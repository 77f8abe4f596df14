"""sft_node and grpo_node as processes: from bags, feedback, cancel, resume, faults, shutdown."""

import json
import math
import os
import signal
from pathlib import Path

import pytest
from other_folders import load_helper

pytest.importorskip("rclpy", reason="ROS 2 is not in this environment: source scripts/env.sh")
pytest.importorskip("roboalign_msgs", reason="roboalign_msgs is not built: run `make build`")

from action_msgs.msg import GoalStatus  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from roboalign_msgs.action import Train  # noqa: E402
from roboalign_msgs.msg import TrainingStatus  # noqa: E402

from roboalign_policy.nodes.node_process import NodeProcess  # noqa: E402
from roboalign_policy.ros.qos import reliable_qos  # noqa: E402

RESULT = Train.Result
LONG = ["--max_steps", "100000"]


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags")
    demo_bags = load_helper("training", "demo_bags")
    for number in range(3):
        demo_bags.write_demo(
            folder / f"episode{number}", seed=number, start_ns=(number + 1) * 10**11
        )
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_helper("training", "conftest").make_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def options(bags, base):
    """Command-line options of a run of a few seconds."""
    given = (
        f"--bags {bags} --base {base} --max_steps 3 --logging_steps 1 "
        "--per_device_train_batch_size 2 --weight_scene 0 --held_out_episodes 1 --dev_frames 2 "
        "--max_answer_tokens 8"
    )
    return given.split()


class Trainer:
    """A trainer node in a process of its own and an action client of it."""

    def __init__(self, kind, probe, folder):
        self.probe = probe
        module = f"roboalign_training.nodes.{kind}_node"
        self.process = NodeProcess(module, {"report_period_s": 0.1}, folder / f"{kind}_node.log")
        self.client = ActionClient(probe.node, Train, f"/{kind}_node/train")
        self.statuses = probe.collect(TrainingStatus, f"/{kind}_node/status", reliable_qos(10))
        self.feedback = []

    def send(self, **goal):
        """Goal handle of an accepted goal."""
        self.probe.until(self.client.server_is_ready, 60, "the action server")
        self.probe.spin_for(1.0)  # discovery is one-way: the server has to see this client too
        sent = self.client.send_goal_async(
            Train.Goal(**goal),
            feedback_callback=lambda message: self.feedback.append(message.feedback.status),
        )
        self.probe.until(sent.done, 30, "the goal's acceptance")
        assert sent.result().accepted
        return sent.result()

    def result(self, handle, timeout_s=240):
        """Status and result of a goal."""
        future = handle.get_result_async()
        self.probe.until(future.done, timeout_s, f"the result\n{self.process.tail()}")
        return future.result().status, future.result().result

    def run(self, **goal):
        return self.result(self.send(**goal))

    def until_step(self, step):
        """Waits until the feedback tells of this step."""
        self.probe.until(
            lambda: any(s.step >= step for s in self.feedback),
            240,
            f"step {step}\n{self.process.tail()}",
        )


@pytest.fixture
def trainer(probe, tmp_path):
    """Function `trainer(kind)` that starts a trainer node; it ends with the test."""
    started = []

    def start(kind):
        started.append(Trainer(kind, probe, tmp_path))
        return started[-1]

    yield start
    for node in started:
        node.process.stop(60)


def test_sft_and_grpo_from_bags(trainer, options, bags, tmp_path):
    sft = trainer("sft")
    status, result = sft.run(overrides=options, output_dir=str(tmp_path / "sft"))
    assert (status, result.reason) == (GoalStatus.STATUS_SUCCEEDED, RESULT.REASON_FINISHED), (
        result.message
    )
    assert result.checkpoint_path == str(tmp_path / "sft" / "policy")
    assert (Path(result.checkpoint_path) / "model.safetensors").is_file()
    assert (result.steps, result.message) == (3, "")
    assert 0 < result.final_loss < 20
    assert math.isnan(result.final_reward)
    assert result.duration_s > 0
    last = sft.feedback[-1]
    assert (last.kind, last.run_id, last.stage) == ("sft", "sft", TrainingStatus.STAGE_FINISHED)
    assert (last.step, last.total_steps) == (3, 3)
    told = [s for s in sft.feedback if s.stage == TrainingStatus.STAGE_TRAINING and s.step]
    assert all(math.isfinite(s.loss) and s.remaining_s >= 0 for s in told)
    assert any(s.stage == TrainingStatus.STAGE_PREPARING for s in sft.feedback)
    assert [s.step for s in sft.statuses] == sorted(s.step for s in sft.statuses)
    sft.process.stop(60)

    grpo = trainer("grpo")
    overrides = (
        f"--dataset {tmp_path / 'sft' / 'data'} --base {result.checkpoint_path} --samples 2 "
        "--per_device_train_batch_size 10 --held_out_episodes 1 --dev_frames 2 "
        "--max_completion_length 12"
    ).split()
    status, result = grpo.run(overrides=overrides, output_dir=str(tmp_path / "grpo"))
    assert (status, result.reason) == (GoalStatus.STATUS_SUCCEEDED, RESULT.REASON_FINISHED), (
        result.message
    )
    assert 0.0 <= result.final_reward <= 1.0
    assert result.steps == 1
    assert (
        json.loads((Path(result.checkpoint_path) / "roboalign.json").read_text())["kind"] == "grpo"
    )


def test_cancel_saves_and_resume_goes_on(trainer, options, tmp_path):
    sft = trainer("sft")
    folder = tmp_path / "run"
    handle = sft.send(overrides=[*options, *LONG], output_dir=str(folder))
    sft.until_step(2)

    status, busy = sft.run(overrides=options, output_dir=str(tmp_path / "other"))
    assert (status, busy.reason) == (GoalStatus.STATUS_ABORTED, RESULT.REASON_BUSY)
    assert not (tmp_path / "other").exists()

    handle.cancel_goal_async()
    status, result = sft.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_CANCELED, RESULT.REASON_CANCELLED), (
        result.message
    )
    assert result.steps >= 2
    checkpoint = Path(result.checkpoint_path)
    assert checkpoint.name == f"checkpoint-{result.steps}"
    assert (checkpoint / "trainer_state.json").is_file()
    assert not (folder / "policy").exists()

    sft.feedback.clear()
    more = ["--max_steps", str(result.steps + 2)]
    status, resumed = sft.run(overrides=[*options, *more], output_dir=str(folder), resume=True)
    assert (status, resumed.reason) == (GoalStatus.STATUS_SUCCEEDED, RESULT.REASON_FINISHED), (
        resumed.message
    )
    assert resumed.steps == result.steps + 2
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, resumed.steps + 1))


def test_faults_are_told_by_reason_and_text(trainer, options, tmp_path):
    sft = trainer("sft")
    broken = tmp_path / "broken.yaml"
    broken.write_text(f"dataset: x\nlearning_rte: 1.0e-3\noutput_dir: {tmp_path / 'broken'}\n")
    status, result = sft.run(config_file=str(broken))
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.REASON_INVALID_CONFIG)
    assert "broken.yaml" in result.message
    assert "unknown key 'learning_rte'; did you mean 'learning_rate'?" in result.message
    status, result = sft.run(
        overrides=["--dataset", str(tmp_path / "none")], output_dir=str(tmp_path / "run")
    )
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.REASON_DATA_FAULT)
    assert f"{tmp_path / 'none'}: is no data set" in result.message
    assert result.checkpoint_path == ""


def test_a_node_that_is_stopped_lets_its_job_save(trainer, options, tmp_path):
    sft = trainer("sft")
    handle = sft.send(overrides=[*options, *LONG], output_dir=str(tmp_path / "run"))
    sft.until_step(1)
    future = handle.get_result_async()
    sft.probe.spin_for(0.2)
    os.kill(sft.process.pid, signal.SIGINT)
    sft.probe.until(future.done, 60, f"the result\n{sft.process.tail()}")
    result = future.result().result
    assert result.reason == RESULT.REASON_SHUTDOWN
    assert (Path(result.checkpoint_path) / "trainer_state.json").is_file()
    assert sft.process.stop(60) == 0
