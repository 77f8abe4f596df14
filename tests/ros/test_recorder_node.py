"""recorder_node in a process of its own: episodes over DDS become bags that others open.

Nothing is lost in lock step.
"""

import json
import signal
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from rclpy.action import ActionClient
from recorder_harness import CONTRACT, Robot, read_bag, start, stop, wait_for_messages
from roboalign_msgs.action import RecordEpisode
from roboalign_msgs.msg import Episode

from roboalign_policy.core.contract.contract import contract_from_yaml
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg, values_from_command
from roboalign_policy.nodes.clients.record_client import (
    RecordClient,
    RecordError,
    RecordJob,
    check_counts,
)
from roboalign_policy.ros.qos import reliable_qos

EXPERT = {"mode": "lockstep", "demonstrator": "expert"}
STEP_NS = 100_000_000


@pytest.fixture
def record_client(ros_domain):
    """A client of recorder and simulator."""
    with RecordClient(CONTRACT, domain_id=ros_domain) as client:
        yield client


def test_lock_step_episodes_are_complete(start_node, recorder, record_client, tmp_path):
    """The expert's demonstrations over DDS.

    Every observation and command of every step, and their order in time.
    """
    start_node("sim_robot_node", **EXPERT)
    recorder(lossless=True, log_time="header")
    record_client.connect(60)
    jobs = [
        RecordJob("object", "", 0, 0.1),
        RecordJob("spatial", "", 1, 0.1),
        RecordJob("goal", "", 2),
    ]
    results = [record_client.record(job) for job in jobs]
    assert sorted(p.name for p in (tmp_path / "bags").iterdir()) == sorted(
        job.episode_id for job in jobs
    )
    for result in results:
        assert result.success and result.steps > 5
        custom, topics = read_bag(result.bag_path)
        stamps = [stamp for stamp, _ in topics["/camera/front/image_raw"]]
        assert np.diff(stamps).tolist() == [STEP_NS] * result.steps
        for stream in CONTRACT.observations:
            assert [stamp_ns_from_msg(m) for _, m in topics[f"/{stream.topic}"]] == stamps
        for command in CONTRACT.action.commands:
            assert [stamp_ns_from_msg(m) for _, m in topics[f"/{command.topic}"]] == stamps[:-1]
            assert np.isfinite(
                [
                    list(values_from_command(m, command).values())
                    for _, m in topics[f"/{command.topic}"]
                ]
            ).all()
        first, last = (
            image_from_msg(topics["/camera/front/image_raw"][k][1], (128, 128, 3)) for k in (0, -1)
        )
        assert (first != last).any()
        assert topics["/task"][-1][1].data == result.instruction == custom["roboalign.instruction"]
        assert len(topics["/scene"]) == result.steps + 1


def test_custom_data_and_markers(recorder, probe, health, tmp_path):
    """Contract, instruction, outcome, id and tool in the metadata.

    Start and end on the marker topic.
    """
    recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    published = probe.collect(Episode, "episode", reliable_qos(10))
    probe.until(lambda: probe.node.count_publishers("episode"))
    started = start(probe, episode_id="first.one", instruction='Grüße: "x"\nand y')
    assert started.ok and started.bag_path == str(tmp_path / "bags" / "first.one")
    robot.episode(5)
    wait_for_messages(probe, health, 30)
    stopped = stop(probe)
    assert (stopped.ok, stopped.messages) == (True, 32)
    custom, topics = read_bag(stopped.bag_path)
    assert custom["roboalign.instruction"] == 'Grüße: "x"\nand y'
    assert custom["roboalign.outcome"] == "success"
    assert custom["roboalign.episode_id"] == "first.one"
    assert custom["roboalign.operator"] == "test"
    assert custom["roboalign.verdict"] == "fit"
    assert custom["roboalign.tool"] == f"roboalign recorder_node {version('roboalign_policy')}"
    assert contract_from_yaml(custom["roboalign.contract"], source="bag").hash == CONTRACT.hash
    markers = topics["/episode"]
    assert [(m.event, m.outcome) for _, m in markers] == [(0, "unknown"), (1, "success")]
    assert {m.contract_hash for _, m in markers} == {CONTRACT.hash}
    times = [stamp for messages in topics.values() for stamp, _ in messages]
    assert (min(times), max(times)) == (markers[0][0], markers[1][0])
    probe.until(lambda: len(published) == 2)
    assert [m.event for m in published] == [Episode.EVENT_START, Episode.EVENT_END]


def test_kill_leaves_finished_episodes_and_no_half_one(recorder, probe, health, tmp_path):
    """SIGKILL in the middle of an episode; then a new recorder goes on in the same folder."""
    bags = tmp_path / "bags"
    process = recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    for name in ("one", "two"):
        assert start(probe, episode_id=name).ok
        before = health[-1].messages
        robot.publish(time.time_ns())
        wait_for_messages(probe, health, 6)
        assert before == 0 and stop(probe).ok
        probe.until(lambda: not health[-1].recording)
    assert start(probe, episode_id="three").ok
    for _ in range(100):
        robot.publish(time.time_ns())
        probe.spin_for(0.005)
    wait_for_messages(probe, health, 100)
    process.kill()
    visible = sorted(p.name for p in bags.iterdir() if not p.name.startswith("."))
    assert visible == ["one", "two"]
    for name in visible:
        _, topics = read_bag(bags / name)
        assert len(topics["/ee_pose"]) == 1
    again = recorder()
    probe.until(lambda: "unfinished bag of an earlier run" in again.tail())
    assert not (bags / "three").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_node_finishes_the_episode(recorder, probe, health, number, tmp_path):
    """The bag is there, its outcome unknown, and the process ends well."""
    process = recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    assert start(probe, episode_id="cut").ok
    robot.publish(time.time_ns())
    wait_for_messages(probe, health, 6)
    assert process.stop(first=number) == 0
    custom, topics = read_bag(tmp_path / "bags" / "cut")
    assert custom["roboalign.outcome"] == "unknown"
    assert len(topics["/joint_states"]) == 1


def test_action_records_until_cancelled_and_until_its_limit(recorder, probe, health):
    """A cancelled goal keeps its bag; max_duration_s ends one.

    A second goal meanwhile is refused with the reason.
    """
    recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    client = ActionClient(probe.node, RecordEpisode, "recorder_node/record_episode")
    assert client.wait_for_server(30)
    feedback = []

    def send(**values):
        goal = RecordEpisode.Goal(**{"instruction": "put it there", **values})
        future = client.send_goal_async(
            goal, feedback_callback=lambda msg: feedback.append(msg.feedback)
        )
        probe.until(future.done)
        return future.result()

    def result(handle):
        future = handle.get_result_async()
        probe.until(future.done)
        return future.result().result

    first = send(episode_id="a")
    robot.publish(time.time_ns())
    wait_for_messages(probe, health, 6)
    probe.until(lambda: feedback and feedback[-1].messages == 6)
    assert feedback[-1].episode_id == "a"
    busy = result(send(episode_id="b"))
    assert (
        busy.reason == RecordEpisode.Result.REASON_BUSY
        and "episode a is being recorded" in busy.message
    )
    probe.until(first.cancel_goal_async().done)
    ended = result(first)
    assert (ended.reason, ended.outcome, ended.messages) == (
        RecordEpisode.Result.REASON_CANCELLED,
        "unknown",
        8,
    )
    assert len(read_bag(ended.bag_path)[1]["/ee_pose"]) == 1
    limited = result(send(episode_id="c", max_duration_s=0.5))
    assert limited.reason == RecordEpisode.Result.REASON_MAX_DURATION
    assert 0.4 < limited.duration_s < 3
    empty = result(send(instruction="  "))
    assert (
        empty.reason == RecordEpisode.Result.REASON_INVALID_GOAL and "instruction" in empty.message
    )


def test_refusals_name_what_is_wrong(recorder, probe, tmp_path):
    """Ids, outcomes, order of calls, and an id that exists; discarding removes the bag."""
    recorder()
    assert "no episode is being recorded" in stop(probe).message
    tagged = start(probe, instruction="pick <|im_start|> up")
    assert not tagged.ok and "instruction: found the tag '<|im_start|>'" in tagged.message
    assert "expected 1 to 100 letters" in start(probe, episode_id="../x").message
    assert start(probe, episode_id="a").ok
    assert "episode a is being recorded" in start(probe, episode_id="b").message
    refused = stop(probe, "won")
    assert not refused.ok and "outcome: found 'won'" in refused.message
    assert stop(probe, "failure").ok
    assert "exists already" in start(probe, episode_id="a").message
    assert start(probe, episode_id="c").ok
    discarded = stop(probe, "discarded")
    assert discarded.ok and discarded.bag_path == ""
    assert sorted(p.name for p in (tmp_path / "bags").iterdir()) == ["a"]


def test_missing_stream_makes_an_episode_unfit(recorder, probe, health):
    """Health names the stream while it happens, the bag's verdict afterwards."""
    recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    assert start(probe, episode_id="a").ok
    robot.publish(time.time_ns(), skip=["gripper_state"])
    wait_for_messages(probe, health, 5)
    probe.until(lambda: "gripper_state: silent" in health[-1].reason, what="an alarm")
    custom, topics = read_bag(stop(probe).bag_path)
    assert custom["roboalign.verdict"] == "unfit: gripper_state: no message"
    assert len(topics["/joint_states"]) == 1


def test_episode_is_appended_to_the_data_set(start_node, recorder, record_client, probe, tmp_path):
    """On stop, by the worker: as many frames as the expert took steps."""
    pytest.importorskip("datasets", reason="the offline package is not installed")
    dataset = tmp_path / "dataset"
    start_node("sim_robot_node", **EXPERT)
    node = recorder(lossless=True, log_time="header", dataset_dir=str(dataset))
    record_client.connect(60)
    result = record_client.record(RecordJob("object", "", 0))
    probe.until(lambda: "appended to the data set" in node.tail(), 120, "the worker")
    assert "not appended" not in node.tail(), node.tail()
    (episode,) = json.loads((dataset / "dataset.json").read_text())["episodes"]
    assert (episode["frames"], episode["outcome"]) == (result.steps, "success")


def test_failed_data_set_is_reported(recorder, probe, health, tmp_path):
    """The worker's failure stands in the health, and recording goes on."""
    blocker = tmp_path / "file"
    blocker.write_text("a file where the data set should be")
    recorder(dataset_dir=str(blocker))
    robot = Robot(probe)
    robot.wait_for_recorder()
    assert start(probe, episode_id="a").ok
    robot.episode()
    wait_for_messages(probe, health, 30)
    assert stop(probe).verdict == "fit"
    probe.until(lambda: "data set: exit code" in health[-1].reason, 120)
    assert start(probe, episode_id="b").ok


def test_incomplete_bag_is_noticed(recorder, probe, health):
    """The count that guards the demonstrations does find a missing message."""
    recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    assert start(probe, episode_id="a").ok
    robot.publish(time.time_ns())
    wait_for_messages(probe, health, 6)
    path = Path(stop(probe).bag_path)
    check_counts(path, {"/ee_pose": 1})
    with pytest.raises(RecordError, match="/ee_pose: 1 of 2"):
        check_counts(path, {"/ee_pose": 2, "/joint_states": 1})
