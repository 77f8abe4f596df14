"""Bags to frames: what the policy would have seen, with the commands that answered it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from demo_bags import PERIOD_NS, sim_contract, write_demo

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_policy.core.frames.frames import Frame, Sample
from roboalign_policy.core.frames.resample import Resampler
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg, vector_from_msg
from roboalign_policy.ros.recording.bag_writer import BagTopic, BagWriter
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.conversion.build import build_dataset
from roboalign_training.conversion.kinds import kind_of
from roboalign_training.episodes.episodes import bag_contract, find_spans
from roboalign_training.episodes.framing import frames_from_bag
from roboalign_training.episodes.topics import map_topics


@pytest.fixture(scope="module")
def contract():
    return sim_contract()


def changed(contract, **action):
    """The contract with other keys in its action."""
    data = contract.to_dict()
    data["action"].update(action)
    return contract_from_dict(data)


def test_lock_step_frames_are_the_recorded_ones(tmp_path, contract):
    demo = write_demo(tmp_path / "ep", count=15, start_ns=7_300_000_000)
    frames = frames_from_bag(read_bag(demo.folder), contract)
    np.testing.assert_array_equal(frames.stamps_ns, demo.stamps_ns)
    np.testing.assert_array_equal(frames.values["image.front"], demo.images)
    np.testing.assert_array_equal(frames.values["state.ee"], demo.ee.astype(np.float32))
    np.testing.assert_allclose(frames.actions, demo.actions, atol=1e-6)
    assert frames.indices.tolist() == list(range(15))
    assert (frames.dropped, frames.trimmed) == ({}, {})
    assert (frames.episode_id, frames.outcome) == ("ep", "success")
    assert frames.instruction == "put the red cube on the blue plate"


def test_live_resampler_gives_identical_frames(tmp_path, contract):
    """Parity: the same messages pushed one by one, frames asked for as the policy node does."""
    demo = write_demo(tmp_path / "ep", count=20, without_image=(6, 7))
    bag = read_bag(demo.folder)
    offline = frames_from_bag(bag, contract)
    topics = map_topics(bag, contract)
    live, resampler = {}, Resampler(contract)
    wanted = list(topics.observations)
    for name, receive_ns, msg in bag.messages(wanted):
        for key in topics.observations[name]:
            stream = contract.stream(key)
            value = (
                image_from_msg(msg, stream.shape)
                if stream.is_image
                else vector_from_msg(msg, stream.fields)
            )
            resampler.push(Sample(key, stamp_ns_from_msg(msg), receive_ns, value))
        if name == topics.names["ee_pose"]:  # the last observation of each step to arrive
            t_ns = stamp_ns_from_msg(msg)
            live[t_ns] = resampler.frame(t_ns, receive_ns)
    assert len(live) == len(offline) == 20
    for row, t_ns in enumerate(offline.stamps_ns.tolist()):
        assert isinstance(live[t_ns], Frame)
        for key, value in live[t_ns].values.items():
            np.testing.assert_array_equal(value, offline.values[key][row])
    np.testing.assert_array_equal(offline.values["image.front"][7], demo.images[5])  # held


def test_missing_streams_and_commands_are_counted(tmp_path, contract):
    demo = write_demo(
        tmp_path / "ep",
        count=20,
        without_image=(8, 9, 10, 11, 12),
        without_command=(0, 15, 19),
    )
    frames = frames_from_bag(read_bag(demo.folder), contract)
    # max_age_s is 0.3: the image of frame 7 serves 8, 9 and 10.
    assert frames.indices.tolist() == [*range(1, 11), 13, 14, 16, 17, 18]
    assert frames.dropped == {
        "gripper_controller/joint_trajectory: no command": 1,
        "image.front: stale": 2,
        "servo_node/delta_twist_cmds: no command": 1,
    }
    assert frames.trimmed == {
        "gripper_controller/joint_trajectory: no command": 2,
        "servo_node/delta_twist_cmds: no command": 2,
    }
    np.testing.assert_array_equal(frames.values["image.front"][9], demo.images[7])


def test_held_commands_stay_in_force(tmp_path, contract):
    commands = contract.to_dict()["action"]["commands"]
    for command in commands:
        command["align"]["method"] = "hold"
    demo = write_demo(tmp_path / "ep", count=10, without_command=(4, 5))
    frames = frames_from_bag(read_bag(demo.folder), changed(contract, commands=commands))
    assert len(frames) == 10
    np.testing.assert_allclose(frames.actions[5], demo.actions[3], atol=1e-6)


def test_non_finite_commands_leave_their_frames_out(tmp_path, contract):
    actions = np.zeros((10, 7), np.float32)
    actions[4, 1] = np.nan
    demo = write_demo(tmp_path / "ep", count=10, actions=actions)
    frames = frames_from_bag(read_bag(demo.folder), contract)
    assert frames.indices.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_contract_in_the_bag(tmp_path, contract):
    demo = write_demo(tmp_path / "ep", count=9)
    assert bag_contract(read_bag(demo.folder)).hash == contract.hash
    plain = write_demo(tmp_path / "plain", count=9, custom=False)
    assert bag_contract(read_bag(plain.folder)) is None


def test_namespaced_topics_are_found(tmp_path, contract):
    demo = write_demo(tmp_path / "ep", count=9, prefix="/cell_3/left/")
    bag = read_bag(demo.folder)
    assert len(frames_from_bag(bag, contract)) == 9
    assert map_topics(bag, contract).names["ee_pose"] == "/cell_3/left/ee_pose"
    with pytest.raises(
        EpisodeError, match=r"ee_pose \(geometry_msgs/msg/PoseStamped\) is missing"
    ):
        map_topics(bag, contract, namespace="/cell_3/right")


def test_wrong_type_is_named(tmp_path, contract):
    demo = write_demo(tmp_path / "ep", count=9, twist_type="geometry_msgs/msg/Twist")
    with pytest.raises(EpisodeError) as caught:
        frames_from_bag(read_bag(demo.folder), contract)
    assert "has type geometry_msgs/msg/Twist, expected geometry_msgs/msg/TwistStamped" in str(
        caught.value
    )


def test_wrong_image_size_is_named(tmp_path, contract):
    data = contract.to_dict()
    data["observations"][0]["shape"] = [64, 64, 3]
    demo = write_demo(tmp_path / "ep", count=9)
    with pytest.raises(EpisodeError, match=r"image\.front.*\(128, 128, 3\).*\(64, 64, 3\)"):
        frames_from_bag(read_bag(demo.folder), contract_from_dict(data))


def test_simulator_reset_within_an_episode(tmp_path, contract):
    demo = write_demo(tmp_path / "ep", count=20, stamp_jump=(10, -3_000_000_000))
    bag = read_bag(demo.folder)
    # Filed under their stamps, the messages are in order of time again; as received, they are not.
    assert bag.start_ns < demo.stamps_ns[0]
    data = dataclasses.replace(find_spans(bag, map_topics(bag, contract))[0])
    assert len(frames_from_bag(bag, contract, data)) == 20


def test_clock_that_goes_back_is_refused(tmp_path, contract):
    from rosbags.rosbag2 import Reader, StoragePlugin, Writer

    demo = write_demo(tmp_path / "ep", count=20, stamp_jump=(10, -3_000_000_000))
    with (
        Reader(demo.folder) as source,
        Writer(tmp_path / "late", version=9, storage_plugin=StoragePlugin.MCAP) as out,
    ):
        from demo_bags import STORE

        new = {
            c.id: out.add_connection(c.topic, c.msgtype, typestore=STORE)
            for c in source.connections
        }
        rows = list(source.messages())
        # The reset comes later in time: receive times keep rising while stamps go back.
        rows = [r for r in rows if r[1] >= demo.stamps_ns[0]] + [
            (c, ns + 10_000_000_000, d) for c, ns, d in rows if ns < demo.stamps_ns[0]
        ]
        for connection, ns, data in rows:
            out.write(new[connection.id], ns, data)
    with pytest.raises(EpisodeError, match=r"the clock goes back by \d+\.\d+ s after message 10"):
        frames_from_bag(read_bag(tmp_path / "late"), contract, instruction="x")


def test_instruction_from_task_topic(tmp_path, contract):
    demo = write_demo(tmp_path / "ep", count=9, custom=False, task=("open the drawer",))
    frames = frames_from_bag(read_bag(demo.folder), contract)
    assert (frames.instruction, frames.episode_id) == ("open the drawer", "ep")
    assert frames.outcome == "unknown"
    given = frames_from_bag(read_bag(demo.folder), contract, instruction="close it")
    assert given.instruction == "close it"


@pytest.mark.parametrize(
    ("task", "cause"),
    [((), "no instruction"), (("open it", "close it"), "the instruction changes")],
)
def test_instruction_that_is_not_known(tmp_path, contract, task, cause):
    demo = write_demo(tmp_path / "ep", count=9, custom=False, task=task)
    with pytest.raises(EpisodeError, match=cause):
        frames_from_bag(read_bag(demo.folder), contract)


@pytest.mark.parametrize("where", ["custom", "task", "given"])
@pytest.mark.parametrize(
    ("part", "found", "expected"),
    [
        ("<|vision_start|>", "the tag '<|vision_start|>'", "without tags"),
        ("[INST]", "the tag '[INST]'", "without tags"),
        ("\x07", "the control character U+0007", "that all can see"),
        ("\u202e", "the invisible character U+202E (RIGHT-TO-LEFT OVERRIDE)", "that all can see"),
    ],
)
def test_what_is_no_instruction_is_a_fault_of_the_episode(
    tmp_path, contract, where, part, found, expected
):
    text = f"pick {part} up"
    plain = {"custom": False, "task": (text if where == "task" else "pick it up",)}
    more = {"instruction": text} if where == "custom" else plain
    demo = write_demo(tmp_path / "ep", count=9, **more)
    bag = read_bag(demo.folder)
    given = text if where == "given" else None
    (span,) = find_spans(bag, map_topics(bag, contract), given)
    assert span.fault == f"instruction: found {found} in {text!r}, expected words {expected}"
    assert kind_of(span.fault) == "unusable instruction"


def test_markers_split_a_plain_recording(tmp_path, contract):
    demo = write_demo(
        tmp_path / "long",
        count=40,
        custom=False,
        markers=(
            (2, 14, "first", "put a on b", "success"),
            (20, 35, "second", "put b on a", "failure"),
        ),
    )
    bag = read_bag(demo.folder)
    spans = find_spans(bag, map_topics(bag, contract))
    assert [(s.episode_id, s.instruction, s.outcome) for s in spans] == [
        ("first", "put a on b", "success"),
        ("second", "put b on a", "failure"),
    ]
    frames = [frames_from_bag(bag, contract, span) for span in spans]
    assert [len(f) for f in frames] == [13, 16]
    np.testing.assert_array_equal(frames[1].stamps_ns, demo.stamps_ns[20:36])
    np.testing.assert_array_equal(frames[0].values["image.front"], demo.images[2:15])
    with pytest.raises(EpisodeError, match=r"holds 2 episodes \(first, second\)"):
        frames_from_bag(bag, contract)


def test_a_contract_picks_its_topics_from_a_whole_robot(tmp_path, contract):
    """Beside them stand a type nobody knows, a definition that is none, and messages of noise."""
    demo = write_demo(tmp_path / "ep", count=20, custom=False)
    source = read_bag(demo.folder)
    stored = {t.name: t for file in source._opened for t in file.topics.values()}
    topics = [BagTopic(t.name, t.type, t.definition, "", ()) for t in stored.values()]
    extra = [
        BagTopic("/odd", "odd_msgs/msg/Odd", "", "", ()),
        BagTopic("/garbled", "garbled_msgs/msg/Garbled", "uint8 [[ what\n", "", ()),
        BagTopic("/noise", "std_msgs/msg/String", "string data\n", "", ()),
    ]
    writer = BagWriter(tmp_path / "robot", "bag", [*topics, *extra])
    numbers = {topic.name: number for number, topic in enumerate([*topics, *extra])}
    for name, ns, data in source.raw_messages():
        writer.write(numbers[name], ns, ns, data)
        for topic in extra:
            writer.write(numbers[topic.name], ns, ns, b"\xff" * 40)
    writer.finish({})
    bag = read_bag(tmp_path / "robot/bag")
    assert {t.name for t in bag.topics.values() if t.fault} == {"/odd", "/garbled"}
    frames = frames_from_bag(bag, contract, instruction="x")
    np.testing.assert_array_equal(frames.actions, demo.actions)


def test_unpaired_marker_costs_its_own_episode_only(tmp_path, contract):
    demo = write_demo(
        tmp_path / "ep",
        count=60,
        custom=False,
        markers=(
            (2, 99, "first", "x", "success"),
            (20, 35, "second", "y", "success"),
            (99, 50, "third", "z", "success"),
        ),
    )
    bag = read_bag(demo.folder)
    spans = find_spans(bag, map_topics(bag, contract))
    assert [(s.episode_id, s.outcome, s.fault) for s in spans] == [
        ("first", "unknown", "episode 'first' starts and never ends"),
        ("second", "success", None),
        ("third", "unknown", "episode 'third' ends and never started"),
    ]
    assert len(frames_from_bag(bag, contract, spans[1])) == 16
    index = build_dataset([demo.folder], contract, tmp_path / "data")
    assert set(index.episodes) == {"second"}


def test_unknown_outcome(tmp_path, contract):
    demo = write_demo(tmp_path / "ep", count=9, outcome="splendid")
    with pytest.raises(EpisodeError, match="outcome: found 'splendid'"):
        frames_from_bag(read_bag(demo.folder), contract)


def test_asynchronous_streams_start_when_all_are_there(tmp_path, contract):
    """Frame times begin at the first stamp of the last stream to appear, and keep the rate."""
    demo = write_demo(tmp_path / "ep", count=20, without_image=(0, 1, 2))
    frames = frames_from_bag(read_bag(demo.folder), contract)
    assert frames.stamps_ns[0] == demo.stamps_ns[3]
    assert set(np.diff(frames.stamps_ns)) == {PERIOD_NS}
