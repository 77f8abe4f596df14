"""A recorded episode through the real policy_node: the same chunks as offline, nothing dropped."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: run `make setup`")

from fake_policy_node import LATE_S  # noqa: E402
from geometry_msgs.msg import TwistStamped  # noqa: E402
from other_folders import load_helper  # noqa: E402
from policy_harness import TWIST  # noqa: E402
from rosbags.rosbag2 import StoragePlugin, Writer  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

from roboalign_policy.core import keys  # noqa: E402
from roboalign_policy.core.contract.contract import contract_from_dict, load_contract  # noqa: E402
from roboalign_policy.core.policy.options import PolicyOptions  # noqa: E402
from roboalign_policy.models.open_policy import open_policy  # noqa: E402
from roboalign_training.bags.bags import read_bag  # noqa: E402
from roboalign_training.evaluate import replay_cli  # noqa: E402
from roboalign_training.evaluate.replay import (  # noqa: E402
    ANSWERS,
    JOB,
    REPORT,
    ReplaySettings,
    make_recording,
    read_answers,
)
from roboalign_training.nodes import replay_worker  # noqa: E402
from roboalign_training.nodes.replay_messages import selected_messages  # noqa: E402

COUNT = 10
INSTRUCTION = "put the red cube on the blue plate"


DEMO_BAGS = load_helper("training", "demo_bags")


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """Checkpoint that has learnt nothing; valid chunks that depend on picture and state.

    As initialised the answer is the same whatever is shown, and no test could see a wrong frame.
    """
    helper = load_helper("launch", "untrained_policy")
    folder = helper.make_untrained_policy(tmp_path_factory.mktemp("replay") / "policy")
    weights = load_file(folder / "model.safetensors")
    mixing = ("v_proj", "o_proj", "linear_fc2.weight")
    louder = {k: v * 8 if any(name in k for name in mixing) else v for k, v in weights.items()}
    save_file(louder, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Ten observations; at the fifth there is no picture, so that its frame shows the fourth."""
    folder = tmp_path_factory.mktemp("bags") / "episode"
    # As small as what the untrained policy's tokens can say.
    actions = DEMO_BAGS.make_actions(COUNT, np.random.default_rng(0)) * np.float32(0.02)
    return DEMO_BAGS.write_demo(
        folder, count=COUNT, actions=actions, without_image=(4,), prefix="/left/"
    )


@pytest.fixture(scope="module")
def replayed(policy, demo, tmp_path_factory):
    """What `roboalign replay` says of the real thing."""
    out = tmp_path_factory.mktemp("replayed")
    argv = [str(demo.folder), "--policy", str(policy), "--out", str(out), "--no-think"]
    status = replay_cli.main(argv)
    return SimpleNamespace(status=status, out=out)


def test_live_chunks_are_those_of_the_offline_evaluation(replayed):
    report = json.loads((replayed.out / REPORT).read_text())
    identity = report["identity"]
    assert replayed.status == 0
    assert (identity["n"], identity["valid"], identity["same"]) == (COUNT, COUNT, True)
    assert identity["greatest"] <= 1e-6
    assert report["frames"]["asked"] == report["frames"]["episode"] == COUNT
    assert report["by_dimension"]["dx"]["n"] == report["prefix_accuracy"]["n"] == COUNT - 8 + 1
    assert 0 < report["inference_s"]["p50"] <= report["inference_s"]["p95"]
    for name in ("actions.png", "errors.png"):
        assert (replayed.out / name).read_bytes().startswith(b"\x89PNG")


def test_the_node_saw_what_was_recorded(replayed, policy, demo):
    """Without the data pipeline: the policy asked with what the test has written into the bag."""
    answers = read_answers(replayed.out / ANSWERS)
    assert [a.stamp_ns for a in answers] == demo.stamps_ns.tolist()
    model = open_policy(policy, options=PolicyOptions(think=False, device="cpu", num_threads=1))
    images = demo.images.copy()
    images[4] = images[3]
    for row in (0, 3, 4, 5):
        width = np.array([0.08 if demo.actions[row, 6] < 0 else 0.02], np.float32)
        values = {
            "image.front": images[row],
            "state.ee": demo.ee[row].astype(np.float32),
            "state.gripper": width,
        }
        prediction = model.act(values, INSTRUCTION)
        np.testing.assert_allclose(answers[row].actions, prediction.actions, atol=1e-6)
        assert answers[row].tokens == prediction.tokens
    assert len({tuple(a.tokens) for a in answers}) > COUNT // 2  # they depend on what was seen


def test_a_chunk_that_was_tampered_with_fails_the_replay(
    replayed, policy, demo, tmp_path, monkeypatch, capsys
):
    def worker(command, check):
        lines = (replayed.out / ANSWERS).read_text().splitlines()
        changed = json.loads(lines[6])
        changed["actions"][2][1] += 1e-5
        lines[6] = json.dumps(changed)
        (Path(command[-1]) / ANSWERS).write_text("\n".join(lines) + "\n")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(replay_cli.subprocess, "run", worker)
    argv = [str(demo.folder), "--policy", str(policy), "--out", str(tmp_path), "--no-think"]
    assert replay_cli.main(argv) == 1
    said = capsys.readouterr()
    assert "frame 6, step 2, dy: live and offline differ by 1e-05, limit 1e-06" in said.err
    assert "NOT identical to the offline evaluation" in said.out
    assert json.loads((tmp_path / REPORT).read_text())["identity"]["same"] is False


def test_invalid_chunks_and_streams_that_align_on_receipt(policy, demo, tmp_path):
    """Without grammar the untrained policy never decodes; each frame is asked all the same."""
    data = load_contract("sim_panda").to_dict()
    for stream in (*data["observations"][1:], *data["action"]["commands"]):
        stream["align"]["clock"] = "receive"
    contract = tmp_path / "contract.yaml"
    contract.write_text(contract_from_dict(data).to_yaml())
    settings = ReplaySettings(every=3, max_frames=3, max_think_tokens=4, grammar=False, attempts=2)
    report, fault = replay_cli.replay(
        demo.folder, policy, tmp_path / "out", str(contract), settings
    )
    assert fault == ""
    assert report["identity"]["valid"] == report["validity"]["valid"] == 0
    assert report["validity"]["faults"] == {"undecodable": 3}
    assert len(read_answers(tmp_path / "out" / ANSWERS)) == 3


def write_jittered(folder, periods_ms, joints=None):
    """A bag whose streams run at rates of their own, stamped and received with jitter.

    Args:
        folder: of the bag.
        periods_ms: by topic.
        joints: by topic, which the messages name in turn; `joint` where left out.
    """
    rng, t = np.random.default_rng(5), DEMO_BAGS.STORE.types
    stream = t["sensor_msgs/msg/JointState"]
    rows = []
    for topic, period_ms in periods_ms.items():
        for n in range(2000 // period_ms):
            header_ns = 10**9 + n * period_ms * 10**6 + int(rng.integers(0, 10**6))
            receive_ns = header_ns + int(rng.integers(10**6, 80 * 10**6))
            time = t["builtin_interfaces/msg/Time"](header_ns // 10**9, header_ns % 10**9)
            names = (joints or {}).get(topic, ["joint"])
            values = ([names[n % len(names)]], rng.uniform(-1, 1, 1), np.zeros(0), np.zeros(0))
            rows.append((receive_ns, topic, stream(t["std_msgs/msg/Header"](time, ""), *values)))
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_custom_data(keys.BAG_EPISODE_ID, "jittered")
    writer.set_custom_data(keys.BAG_INSTRUCTION, INSTRUCTION)
    with writer:
        kind = stream.__msgtype__
        topics = {k: writer.add_connection(k, kind, typestore=DEMO_BAGS.STORE) for k in periods_ms}
        for receive_ns, topic, msg in sorted(rows, key=lambda row: row[0]):
            writer.write(topics[topic], receive_ns, DEMO_BAGS.STORE.serialize_cdr(msg, kind))
    return folder


def jittered_contract(clocks):
    """Two state streams and a command of one joint each; ``clocks``: topic and clock by key."""
    data = load_contract("sim_panda").to_dict()
    field = {"name": "q", "path": "position[joint]", "unit": "rad"}
    data["observations"] = [
        {"key": key, "topic": topic, "type": "sensor_msgs/msg/JointState", "fields": [field],
         "align": {"method": "hold", "clock": clock, "tolerance_s": 0.05}, "max_age_s": 0.3}
        for key, (topic, clock) in clocks.items()
    ]  # fmt: skip
    data["action"].update(
        control_mode="joint_position",
        dims=[{"name": "q", "unit": "rad", "limits": [-2.0, 2.0]}],
        commands=[{"topic": "command", "type": "sensor_msgs/msg/JointState",
                   "joint_names": ["joint"], "fields": {"q": {"path": "position[joint]"}},
                   "align": {"method": "asof", "clock": "header", "tolerance_s": 0.05}}],
    )  # fmt: skip
    data["prompt"] = {"state": []}
    return contract_from_dict(data)


def test_messages_are_those_that_the_data_pipeline_took(tmp_path):
    contract = jittered_contract({"state.a": ("a", "header"), "state.b": ("b", "receive")})
    bag = write_jittered(tmp_path / "bag", {"/a": 33, "/b": 10, "/command": 20})
    recording = make_recording(read_bag(bag), contract)
    assert len(recording.frames) > 15
    rows = range(0, len(recording.frames), 2)
    sent = list(selected_messages(recording, rows))
    for key, topic in (("state.a", "a"), ("state.b", "b")):
        values = recording.frames.values[key][list(rows), 0]
        assert [np.float32(messages[topic][0].position[0]) for messages in sent] == values.tolist()
        assert len(set(values.tolist())) == len(rows)


def test_the_parts_of_a_reading_are_sent_and_no_other_joints(tmp_path):
    data = jittered_contract({"state.a": ("a", "header"), "state.b": ("b", "receive")}).to_dict()
    data["observations"][0]["fields"].append(
        {"name": "p", "path": "position[other]", "unit": "rad"}
    )
    contract = contract_from_dict(data)
    periods, joints = {"/a": 11, "/b": 10, "/command": 20}, {"/a": ["joint", "finger", "other"]}
    bag = write_jittered(tmp_path / "bag", periods, joints)
    recording = make_recording(read_bag(bag), contract)
    rows = range(len(recording.frames))
    assert len(rows) > 15
    for row, messages in zip(rows, selected_messages(recording, rows), strict=True):
        found = {msg.name[0]: np.float32(msg.position[0]) for msg in messages["a"]}
        assert len(messages["a"]) == 2 and len(messages["b"]) == 1
        values = recording.frames.values["state.a"][row].tolist()
        assert [found["joint"], found["other"]] == values


@pytest.fixture
def run_fake(ros_domain, tmp_path, monkeypatch, capsys):
    """Function that replays to a fake policy, whose instruction is its behaviour; its errors."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    monkeypatch.setattr(replay_worker, "NODE", "fake_policy_node")

    def run(instruction, policy_hash="f" * 64, **settings):
        bag = DEMO_BAGS.write_demo(tmp_path / "bag", count=4, instruction=instruction).folder
        job = {
            "bag": str(bag),
            "contract": load_contract("sim_panda").to_yaml(),
            "policy": "none",
            "policy_hash": policy_hash,
            "settings": vars(ReplaySettings(**settings)),
        }
        (tmp_path / JOB).write_text(json.dumps(job))
        assert replay_worker.main([str(tmp_path)]) == 1
        return capsys.readouterr().err

    return run


def test_a_missing_answer_names_the_frame(run_fake):
    error = run_fake("late", stall_s=LATE_S / 2)  # s; the goal has as long, on a busy machine too
    assert "waited for a chunk for frame 0 (stamp 5000000000 ns) in vain" in error


def test_a_model_that_breaks_ends_the_replay(run_fake, tmp_path):
    assert "frame 0 (stamp 5000000000 ns): policy_node ended the run: RuntimeError" in run_fake(
        "raise an error"
    )
    assert (tmp_path / ANSWERS).read_text() == ""


def test_another_checkpoint_is_refused(run_fake):
    assert "policy_hash: found 'ffff" in run_fake("up", policy_hash="e" * 64)


def test_a_domain_with_somebody_in_it_is_not_used(run_fake, probe, ros_domain, monkeypatch):
    monkeypatch.setattr(replay_worker, "DOMAINS", [ros_domain])
    assert "found nodes in each, expected one without" in run_fake("up")


def test_a_listener_to_the_commands_stops_the_replay(run_fake, probe, monkeypatch):
    """A robot that appears later, in the replay's own domain, is never driven."""
    monkeypatch.setattr(replay_worker, "_node_alone", lambda stack: probe.node)
    probe.node.create_subscription(TwistStamped, TWIST, lambda msg: None, 10)
    assert f"{TWIST}: found a subscriber, expected none" in run_fake("up")
