"""What tests of recorder_node share: a robot that publishes at will, its services, its bags."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
from rclpy.qos import ReliabilityPolicy
from roboalign_msgs.srv import StartEpisode, StopEpisode
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.core.recording.stream_stats import BY_TIMES, FIT
from roboalign_policy.ros.chunk_msgs import CommandWriter
from roboalign_policy.ros.conversions import image_to_msg, joint_state_to_msg, pose_to_msg
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import reliable_qos

CONTRACT = load_contract(find_contract("sim_panda"))


def read_bag(path):
    """Custom data and, by topic, (log time, message) of a bag, decoded by its own definitions."""
    with Reader(path) as reader:
        store = get_typestore(Stores.EMPTY)
        for connection in reader.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        found = {connection.topic: [] for connection in reader.connections}
        for connection, stamp, data in reader.messages():
            found[connection.topic].append(
                (stamp, store.deserialize_cdr(data, connection.msgtype))
            )
        return dict(reader.storage.metadata.custom), found


def freeze(pid, timeout_s=20.0):
    """SIGSTOP, and wait until every thread of the process stands still.

    On a busy machine threads go on until one of them was scheduled and took the signal.
    """
    os.kill(pid, signal.SIGSTOP)
    end_s = time.monotonic() + timeout_s
    while set(_thread_states(pid)) != {"T"}:
        assert time.monotonic() < end_s, f"process {pid} goes on after SIGSTOP"
        time.sleep(0.01)


def _thread_states(pid):
    """One letter a thread, from the kernel: T is stopped."""
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended meanwhile
            yield path.read_text().rpartition(")")[2].split()[0]


class Robot:
    """Publishes what the contract's robot would, at once and with given stamps."""

    def __init__(self, probe):
        """Advertise everything."""
        self.probe = probe
        self.writer = CommandWriter(CONTRACT)
        streams = [*CONTRACT.observations, *CONTRACT.action.commands]
        self.publishers = {
            s.topic: probe.node.create_publisher(message_class(s.type), s.topic, reliable_qos(100))
            for s in streams
        }

    def wait_for_recorder(self):
        """Until the recorder listens to every topic, as reliably as it is published.

        A subscription that is made anew for that misses what is sent meanwhile.
        """

        def terms(topic):
            infos = self.probe.node.get_subscriptions_info_by_topic(topic)
            return [i.qos_profile.reliability for i in infos if i.node_name == "recorder_node"]

        self.probe.until(
            lambda: all(terms(t) == [ReliabilityPolicy.RELIABLE] for t in self.publishers),
            what="the recorder on every topic",
        )
        # It may see the publishers a moment later than they see it.
        self.probe.spin_for(0.5)

    def publish(self, stamp_ns, skip=()):
        """One frame: observation and commands with the same stamp."""
        arm = [f"panda_joint{k}" for k in range(1, 8)]
        messages = {
            "camera/front/image_raw": image_to_msg(
                np.zeros((128, 128, 3), np.uint8), stamp_ns, "camera"
            ),
            "joint_states": joint_state_to_msg(arm, np.zeros(7), stamp_ns),
            "ee_pose": pose_to_msg(np.zeros(3), np.zeros(3), stamp_ns, "base_link"),
            "gripper_state": joint_state_to_msg(["gripper_width"], [0.08], stamp_ns),
        }
        commands = self.writer.write(np.zeros(7, np.float32), stamp_ns)
        messages.update(
            {c.topic: m for c, m in zip(CONTRACT.action.commands, commands, strict=True)}
        )
        for topic, msg in messages.items():
            if topic not in skip:
                self.publishers[topic].publish(msg)

    def episode(self, count=5):
        """Frames on the grid of the contract's rate, the last one now, so that they are fit."""
        step_ns = round(1e9 / CONTRACT.rate_hz)
        first_ns = time.time_ns() - (count - 1) * step_ns
        for frame in range(count):
            self.publish(first_ns + frame * step_ns)


def complete(verdict):
    """Whether nothing was lost: what is left to object to are gaps and the like."""
    return verdict == FIT or verdict.startswith(BY_TIMES)


def start(probe, **values):
    """Response of ~/start_episode."""
    request = {"instruction": "put it there", "episode_id": "", "operator_name": "test", **values}
    return probe.call(StartEpisode, "recorder_node/start_episode", **request)


def stop(probe, outcome="success"):
    """Response of ~/stop_episode."""
    return probe.call(StopEpisode, "recorder_node/stop_episode", outcome=outcome)


def wait_for_messages(probe, health, count):
    """Until the recorder has counted so many messages."""
    probe.until(
        lambda: health and health[-1].messages >= count,
        what=f"{count} messages in the recorder's health",
    )
