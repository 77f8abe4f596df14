"""What an operator asks of recorder_node: pause, redo, keep what just happened, judge again."""

from __future__ import annotations

import os
import resource
import signal
import time

import pytest
import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from recorder_harness import (
    CONTRACT,
    Robot,
    complete,
    freeze,
    read_bag,
    start,
    stop,
    wait_for_messages,
)
from roboalign_msgs.msg import Episode
from roboalign_msgs.srv import KeepLast, MarkEpisode
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from roboalign_policy.core.recording.episodes import BAG_VERDICT
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import reliable_qos

CAMERA = "camera/front/image_raw"
FRAME = 6  # messages of one frame of the robot: four observations, two commands


@pytest.fixture
def robot(recorder, probe):
    """A robot that a recorder listens to; ``frames(n)`` publishes n of them."""
    recorder(ring_s=30.0)
    made = Robot(probe)
    made.wait_for_recorder()

    def frames(count, period_s=0.05):
        for _ in range(count):
            made.publish(time.time_ns())
            probe.spin_for(period_s)

    made.frames = frames
    return made


def pause(probe, on):
    return probe.call(SetBool, "recorder_node/pause", data=on)


def keep(probe, **values):
    request = {"instruction": "put it there", "outcome": "success", **values}
    return probe.call(KeepLast, "recorder_node/keep_last", **request)


def mark(probe, outcome, episode_id=""):
    return probe.call(
        MarkEpisode, "recorder_node/mark_episode", outcome=outcome, episode_id=episode_id
    )


def test_a_pause_is_marked_and_holds_no_message(robot, probe, health, tmp_path):
    assert not pause(probe, True).success
    begun = start(probe)
    robot.frames(4)
    wait_for_messages(probe, health, 4 * FRAME)
    assert pause(probe, True).success
    robot.frames(5)
    probe.until(lambda: health[-1].paused, what="the pause in the health")
    assert health[-1].messages == 4 * FRAME and not health[-1].reason
    assert pause(probe, False).success
    robot.frames(3)
    wait_for_messages(probe, health, 7 * FRAME)
    ended = stop(probe)
    assert (ended.ok, ended.messages) == (True, 7 * FRAME + 4) and complete(ended.verdict)
    _, topics = read_bag(tmp_path / "bags" / begun.episode_id)
    events = [msg.event for _, msg in topics["/episode"]]
    assert events == [
        Episode.EVENT_START,
        Episode.EVENT_PAUSE,
        Episode.EVENT_RESUME,
        Episode.EVENT_END,
    ]
    paused_ns, resumed_ns = (topics["/episode"][i][0] for i in (1, 2))
    stamps = [stamp for stamp, _ in topics["/joint_states"]]
    assert len(stamps) == 7 and not [s for s in stamps if paused_ns < s < resumed_ns]


def test_redo_throws_the_episode_away_and_begins_again(robot, probe, health, tmp_path):
    begun = start(probe, instruction="wipe the table")
    robot.frames(2)
    answer = probe.call(Trigger, "recorder_node/redo_episode")
    assert answer.success and answer.message != begun.episode_id
    robot.frames(3)
    wait_for_messages(probe, health, 3 * FRAME)
    ended = stop(probe)
    assert ended.episode_id == answer.message
    assert [p.name for p in (tmp_path / "bags").iterdir()] == [answer.message]
    custom, _ = read_bag(tmp_path / "bags" / answer.message)
    assert custom["roboalign.instruction"] == "wipe the table"
    refused = probe.call(Trigger, "recorder_node/redo_episode")
    assert (refused.success, refused.message) == (False, "no episode is being recorded")


def test_what_has_just_happened_can_be_kept(robot, probe, health, tmp_path):
    task = probe.node.create_publisher(String, "task", reliable_qos(1, latched=True))
    task.publish(String(data="put it there"))
    robot.frames(6, period_s=0.1)
    probe.until(lambda: health and health[-1].ring_s > 0.3, what="a ring of some length")
    refused = keep(probe, instruction=" ")  # costs nothing
    assert not refused.ok and "instruction: found an empty text" in refused.message
    kept = keep(probe)
    assert kept.ok, kept.message
    assert complete(kept.verdict) and 0.4 < kept.duration_s < 5
    custom, topics = read_bag(tmp_path / "bags" / kept.episode_id)
    assert custom["roboalign.outcome"] == "success"
    assert len(topics["/joint_states"]) == 6 and len(topics["/camera/front/image_raw"]) == 6
    assert [m.data for _, m in topics["/task"]] == ["put it there"]
    stamps = [stamp for messages in topics.values() for stamp, _ in messages]
    assert topics["/episode"][0][0] == min(stamps)
    again = keep(probe)
    assert (again.ok, again.message) == (False, "nothing has arrived: there is nothing to keep")


def test_only_so_many_seconds_are_kept(robot, probe, tmp_path):
    robot.frames(3)
    probe.spin_for(1.2)
    robot.frames(2)
    kept = keep(probe, seconds=0.8)
    _, topics = read_bag(tmp_path / "bags" / kept.episode_id)
    assert len(topics["/joint_states"]) == 2


def test_an_episode_is_judged_again(robot, probe, health, tmp_path):
    assert not mark(probe, "failure").ok
    first, second = (start(probe).episode_id, None)
    robot.frames(2)
    stop(probe)
    second = start(probe).episode_id
    robot.frames(2)
    stop(probe)
    assert mark(probe, "failure").episode_id == second
    assert mark(probe, "discarded", first).ok
    for name, outcome in ((first, "discarded"), (second, "failure")):
        custom, topics = read_bag(tmp_path / "bags" / name)
        assert custom["roboalign.outcome"] == outcome and len(topics["/joint_states"]) == 2
        assert yaml.safe_load(custom["roboalign.contract"])["name"] == CONTRACT.name
    assert "outcome: found 'good'" in mark(probe, "good").message
    assert "expected a bag in" in mark(probe, "failure", "nothing").message
    assert "episode_id: found '../x'" in mark(probe, "failure", "../x").message


def test_a_bag_that_cannot_grow_ends_its_episode_at_once(recorder, probe, health, tmp_path):
    """As with a disk that is gone: said now, not when the episode is stopped."""
    process = recorder(compression="none", sync_s=0.1)
    robot = Robot(probe)
    robot.wait_for_recorder()
    begun = start(probe)
    robot.publish(time.time_ns())
    wait_for_messages(probe, health, FRAME)
    (bag,) = (tmp_path / "bags").glob(f".{begun.episode_id}.partial/**/*.mcap")
    probe.until(lambda: bag.stat().st_size > 40_000, what="the frame on the disk")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (bag.stat().st_size, -1))
    robot.publish(time.time_ns())
    probe.until(lambda: not health[-1].recording, 5, "the end of the episode in the health")
    probe.until(lambda: "bag not finished" in health[-1].reason, 5, "the fault in the health")
    assert "File too large" in health[-1].reason
    assert f".{begun.episode_id}.partial" in health[-1].reason
    assert stop(probe).message == "no episode is being recorded"
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (-1, -1))
    assert start(probe).ok
    robot.publish(time.time_ns())
    wait_for_messages(probe, health, FRAME)
    assert "bag not finished" not in health[-1].reason
    assert stop(probe).ok


def test_messages_lost_on_the_way_are_counted(recorder, probe, health):
    """A recorder that is stopped for a while cannot keep all that a camera sends meanwhile."""
    process = recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    start(probe)
    robot.publish(time.time_ns())
    wait_for_messages(probe, health, FRAME)
    freeze(process.pid)
    others = {s.topic for s in (*CONTRACT.observations, *CONTRACT.action.commands)} - {CAMERA}
    for _ in range(300):
        robot.publish(time.time_ns(), skip=others)
    os.kill(process.pid, signal.SIGCONT)
    probe.spin_for(1.0)
    robot.publish(time.time_ns())
    camera = list(health[-1].topics).index(f"/{CAMERA}")
    probe.until(
        lambda: health[-1].counts[camera] + health[-1].losses[camera] == 302,
        what="all that was sent, as taken or as lost, in the health",
    )
    last, ended = health[-1], stop(probe)
    assert last.losses[camera] > 100 and last.lost == last.losses[camera]
    assert f"unfit: {CAMERA}: {last.losses[camera]} of 302 messages lost" in ended.verdict


def test_a_latched_publisher_that_comes_late_is_heard_as_it_wants(recorder, probe, health):
    """First best effort, which hears everybody; once publishers are known, all they offer."""
    recorder()
    probe.until(lambda: health, what="the recorder")
    topic = CONTRACT.observations[1].topic

    def terms():
        infos = probe.node.get_subscriptions_info_by_topic(topic)
        return [i.qos_profile.reliability for i in infos if i.node_name == "recorder_node"]

    probe.until(lambda: terms() == [ReliabilityPolicy.BEST_EFFORT], what="best effort")
    qos = QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )
    kind = message_class(CONTRACT.observations[1].type)
    publisher = probe.node.create_publisher(kind, topic, qos)
    probe.until(lambda: terms() == [ReliabilityPolicy.RELIABLE], what="reliable")
    other = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    probe.node.create_publisher(kind, topic, other)
    probe.until(lambda: terms() == [ReliabilityPolicy.BEST_EFFORT], what="best effort again")
    assert publisher.topic_name == f"/{topic}"


def test_subscriptions_to_commands_stay_what_they_are(recorder, probe, health):
    """To the safety gate a subscription that is made anew is a controller started anew."""
    recorder()
    probe.until(lambda: health, what="the recorder")
    (command, *_) = CONTRACT.action.commands

    def seen():
        infos = probe.node.get_subscriptions_info_by_topic(command.topic)
        return [
            (tuple(i.endpoint_gid), i.qos_profile.reliability)
            for i in infos
            if i.node_name == "recorder_node"
        ]

    ((gid, terms),) = probe.until(seen, what="the subscription")
    assert terms == ReliabilityPolicy.RELIABLE
    kind = message_class(command.type)
    probe.node.create_publisher(kind, command.topic, reliable_qos(10))
    latched = probe.node.create_publisher(kind, command.topic, reliable_qos(10, latched=True))
    probe.until(latched.get_subscription_count, what="the recorder at the publisher")
    probe.spin_for(1.2)  # it looks twice a second
    assert seen() == [(gid, terms)]
    deaf_to = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    probe.node.create_publisher(kind, command.topic, deaf_to)
    best_effort = ReliabilityPolicy.BEST_EFFORT
    probe.until(lambda: [t for _, t in seen()] == [best_effort], what="one that hears all")


def test_a_silent_stream_is_an_alarm_within_a_second(robot, probe, health):
    start(probe)
    robot.frames(20, period_s=0.05)
    probe.until(lambda: health[-1].healthy and all(health[-1].healthy[:1]), what="health")
    silent_s = time.monotonic()
    for _ in range(30):
        robot.publish(time.time_ns(), skip=("camera/front/image_raw",))
        probe.spin_for(0.05)
        if "camera/front/image_raw: silent" in health[-1].reason:
            break
    assert "camera/front/image_raw: silent" in health[-1].reason
    assert time.monotonic() - silent_s < 1.0
    stop(probe)


def test_the_verdict_and_the_notes_are_in_the_bag(robot, probe, tmp_path):
    begun = start(probe)
    robot.frames(3)
    probe.spin_for(0.7)
    robot.frames(3)
    ended = stop(probe)
    assert complete(ended.verdict) and "camera/front/image_raw: longest gap 0." in ended.notes
    custom, _ = read_bag(tmp_path / "bags" / begun.episode_id)
    assert (custom[BAG_VERDICT], custom["roboalign.notes"]) == (ended.verdict, ended.notes)
