"""Pictures as robots send them, from a bag to a training sample: encodings, ranges, sizes, rates.

`tests/ros/test_picture_parity.py` holds the same pictures against those on a robot.
"""

from __future__ import annotations

import numpy as np
import pytest
from conversion_bags import START_NS, two_cameras, write_bag
from demo_bags import STORE
from look_pages import Page
from robot_pictures import CAMERAS, HZ, SECONDS, camera_rows, many_cameras, sent

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_policy.core.frames.frames import Frame, Sample
from roboalign_policy.core.frames.joint_readings import StateReader
from roboalign_policy.core.frames.resample import Resampler
from roboalign_policy.core.messages.images import stream_image
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import RefusedError
from roboalign_training.conversion import convert_cli
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.episodes.channels import Sink
from roboalign_training.episodes.episodes import find_spans
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.episodes.topics import map_topics
from roboalign_training.look import inspect_cli
from roboalign_training.look.samples import show_samples

RECIPE = Recipe(min_frames=1, max_gap_s=9.0)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """A recording of many cameras, one an encoding."""
    folder = tmp_path_factory.mktemp("bag")
    return write_bag(folder / "a.mcap", SECONDS, cameras=(), more=camera_rows())


@pytest.fixture(scope="module")
def frames(bag):
    """What training sees of it."""
    build_dataset([bag], many_cameras(), bag.parent / "set", recipe=RECIPE)
    return load_frames(bag.parent / "set")


def number_of(frames, row):
    """Which picture a frame shows: frames stand at the times of pictures."""
    return round((frames.stamps_ns[row] - START_NS) * HZ / 1e9)


class Images(Sink):
    """Keeps the images that a page is made of."""

    def __init__(self):
        self.found = {}

    def image(self, key, when, pixels):
        self.found.setdefault(key, {})[when.stamp_ns] = pixels()


@pytest.fixture(scope="module")
def shown(bag):
    """What a page shows of the recording."""
    sink, contract, found = Images(), many_cameras(), read_bag(bag)
    topics = map_topics(found, contract)
    (span,) = find_spans(found, topics)
    show_samples(found, contract, span, topics, [sink])
    return sink.found


@pytest.mark.parametrize("name", CAMERAS)
def test_a_picture_comes_from_a_bag_to_a_training_sample(name, frames, shown):
    stream = many_cameras().stream(f"image.{name}")
    assert len(frames) > 5
    for row in range(len(frames)):
        number = number_of(frames, row)
        image = frames[row].images[stream.key]
        expected = stream_image(sent(name, number), stream)
        np.testing.assert_array_equal(image, expected)
        assert image.shape == stream.value_shape and len(np.unique(image)) > 20
        stamp_ns = START_NS + round(number * 1e9 / HZ)
        np.testing.assert_array_equal(shown[stream.key][stamp_ns], expected)


def live_frames(path, contract, times):
    """The frames of a live buffer that is given a recording's messages one after the other."""
    live, due = Resampler(contract), list(map(int, times))
    images = {f"/{s.topic}": s for s in contract.images}
    readers = {f"/{s.topic}": StateReader(s) for s in contract.states}
    for topic, receive_ns, msg in read_bag(path).messages():
        while due and receive_ns > due[0] + 50_000_000:
            yield live.frame(due.pop(0))
        if topic in images:
            value, key = stream_image(msg, images[topic]), images[topic].key
            live.push(Sample(key, stamp_ns_from_msg(msg), receive_ns, value))
        elif topic in readers:
            live.push(readers[topic].read(msg, receive_ns))
    for stamp_ns in due:
        yield live.frame(stamp_ns)


def assert_live_is_the_data_set(path, contract, frames):
    for row, made in enumerate(live_frames(path, contract, frames.stamps_ns)):
        assert isinstance(made, Frame), made
        sample = frames[row]
        for stream in contract.images:
            np.testing.assert_array_equal(made.values[stream.key], sample.images[stream.key])
    assert row == len(frames) - 1


def test_a_live_buffer_gives_the_samples_of_training(bag, frames):
    assert_live_is_the_data_set(bag, many_cameras(), frames)


def cut(**keys):
    """The two cameras of the conversion's tests, of which the JPEG is cut."""
    data = two_cameras().to_dict()
    data["observations"][1].update(keys)
    return contract_from_dict(data)


@pytest.mark.parametrize("keys", [{"crop": [8, 4, 40, 32]}, {"resize": [24, 32]}, {
    "crop": [2, 0, 60, 48], "resize": [16, 20]}])  # fmt: skip
@pytest.mark.parametrize("choice", ["auto", "png", "jpeg", "video"])
def test_what_is_cut_is_stored_at_its_size_and_never_the_whole_picture(tmp_path, keys, choice):
    contract = cut(**keys)
    stream = contract.stream("image.wrist")
    path = write_bag(tmp_path / "a.mcap", 1.0)
    recipe = Recipe(min_frames=1, max_gap_s=9.0, images=choice)
    index = build_dataset([path], contract, tmp_path / "set", recipe=recipe)
    (sheet,) = index.balance.values()
    frames = load_frames(tmp_path / "set")
    whole = {}
    for _, _, msg in read_bag(path).messages(["/camera/wrist/image_raw/compressed"]):
        stamp = msg.header.stamp
        whole[stamp.sec * 10**9 + stamp.nanosec] = stream_image(msg, stream)
    for row in range(len(frames)):
        image = frames[row].images["image.wrist"]
        assert image.shape == stream.value_shape != stream.shape
        newest = max(ns for ns in whole if ns <= frames.stamps_ns[row])
        if choice in ("auto", "png"):
            np.testing.assert_array_equal(image, whole[newest])
        else:
            assert np.abs(image.astype(int) - whole[newest]).mean() < 25
    assert sheet["images"]["passed_through"] == 0 < sheet["images"]["encoded"]
    # The camera's own bytes are kept where nothing is cut.
    index = build_dataset([path], two_cameras(), tmp_path / "plain", recipe=RECIPE)
    (sheet,) = index.balance.values()
    assert sheet["images"]["passed_through"] > 0


def test_a_video_takes_an_even_size_after_the_cut(tmp_path):
    recipe = Recipe(min_frames=1, images="video")
    path = write_bag(tmp_path / "a.mcap", 1.0)
    with pytest.raises(
        RefusedError, match=r"image.wrist: \(24, 33\) pixels, but videos take even"
    ):
        build_dataset([path], cut(resize=[24, 33]), tmp_path / "set", recipe=recipe)


def test_another_cut_is_another_data_set(tmp_path):
    path = write_bag(tmp_path / "a.mcap", 1.0)
    build_dataset([path], cut(resize=[24, 32]), tmp_path / "set", recipe=RECIPE)
    with pytest.raises(RefusedError, match="another contract"):
        build_dataset([path], cut(crop=[0, 0, 32, 24]), tmp_path / "set", recipe=RECIPE)


def test_a_picture_that_lacks_its_range_is_a_reason_that_names_the_key(tmp_path, capsys):
    data = many_cameras().to_dict()
    for stream in data["observations"]:
        if stream["key"] == "image.d16UC1".lower():
            del stream["range"]
    contract = tmp_path / "contract.yaml"
    contract.write_text(contract_from_dict(data).to_yaml())
    path = write_bag(tmp_path / "a.mcap", 1.0, cameras=(), more=camera_rows(1.0))
    argv = [str(path), "--contract", str(contract), "--out", str(tmp_path / "set")]
    assert convert_cli.main(argv) != 0
    said = capsys.readouterr()
    text = said.out + said.err
    assert "image.d16uc1: range: found none, but image encoding '16UC1' has 16 bits" in text
    assert "range: [300, 2000] (millimetres)" in text


FAST, SLOW = (480, 640, 3), (240, 320, 3)
FRONT, SIDE = "/camera/front/image_raw", "/camera/side/image_raw"
LAB = {FRONT: (FAST, 30), SIDE: (SLOW, 15)}


def noise(number, camera, shape):
    """A picture that no other number or camera has."""
    return np.random.default_rng([number, camera]).integers(0, 256, shape, dtype=np.uint8)


def two_rates():
    data = two_cameras().to_dict()
    front, wrist, *states = data["observations"]
    front = {**front, "shape": list(FAST)}
    side = {**front, "key": "image.side", "topic": SIDE[1:], "shape": list(SLOW)}
    return contract_from_dict({**data, "observations": [front, side, *states]})


def lab_rows(seconds, without=()):
    """Cameras of other rates and sizes side by side."""
    t, rows = STORE.types, []
    for camera, (topic, (shape, hz)) in enumerate(LAB.items()):
        for number in range(int(seconds * hz)):
            ns = START_NS + round(number * 1e9 / hz)
            if any(
                first <= ns - START_NS < last for name, first, last in without if name == topic
            ):
                continue
            stamp = t["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)
            rows.append((ns, topic, t["sensor_msgs/msg/Image"](
                t["std_msgs/msg/Header"](stamp, "camera"), shape[0], shape[1], "rgb8", 0,
                shape[1] * 3, noise(number, camera, shape).reshape(-1))))  # fmt: skip
    return tuple(rows)


def test_cameras_of_other_rates_and_sizes_stand_side_by_side(tmp_path):
    contract = two_rates()
    path = write_bag(tmp_path / "a.mcap", 1.0, cameras=(), more=lab_rows(1.0))
    build_dataset([path], contract, tmp_path / "set", recipe=RECIPE)
    frames = load_frames(tmp_path / "set")
    assert len(frames) >= 8
    assert_live_is_the_data_set(path, contract, frames)
    for camera, (shape, hz) in enumerate(LAB.values()):
        key = ("image.front", "image.side")[camera]
        for row in range(len(frames)):
            number = int((int(frames.stamps_ns[row]) - START_NS) * hz / 1e9 + 1e-6)
            image = frames[row].images[key]
            np.testing.assert_array_equal(image, noise(number, camera, shape))


MARKERS = ((0.1, 1.0, "one", "success"), (1.1, 2.0, "two", "success"))


def converted(tmp_path, capsys, bags):
    """Status and words of `roboalign convert`."""
    contract = tmp_path / "contract.yaml"
    contract.write_text(two_rates().to_yaml())
    argv = [*map(str, bags), "--contract", str(contract), "--out", str(tmp_path / "set")]
    status = convert_cli.main([*argv, "--min-frames", "1", "--max-gap", "9"])
    said = capsys.readouterr()
    return status, said.out + said.err


def test_an_episode_without_a_camera_is_left_out_and_counted(tmp_path, capsys):
    silent = [(SIDE, 0.95 * 1e9, 2.5 * 1e9)]  # in the second of its episodes
    some = write_bag(tmp_path / "some.mcap", 2.2, cameras=(), markers=MARKERS,
                     more=lab_rows(2.2, silent))  # fmt: skip
    never = write_bag(tmp_path / "never.mcap", 1.0, cameras=(),
                      more=lab_rows(1.0, [(SIDE, 0, 9e9)]))  # fmt: skip
    status, text = converted(tmp_path, capsys, [some, never])
    assert "no message of image.side" in text
    assert "camera/side/image_raw (sensor_msgs/msg/Image) is missing" in text
    left = "left out: 2 episodes (a camera is missing)"
    assert left in text.splitlines(), text
    assert [e.id for e in load_frames(tmp_path / "set").episodes] == ["one"]
    assert status == 0


def test_pages_show_every_camera(bag, tmp_path):
    contract = tmp_path / "contract.yaml"
    contract.write_text(many_cameras().to_yaml())
    for path, extra in ((bag, ["--contract", contract]), (bag.parent / "set", [])):
        if not path.exists():
            build_dataset([bag], many_cameras(), path, recipe=RECIPE)
        out = tmp_path / "page.html"
        argv = [str(path), "--html", str(out), "--overwrite", *map(str, extra)]
        assert inspect_cli.main(argv) == 0
        (episode,) = Page(out).data["episodes"]
        names = {camera["key"] for camera in episode["cameras"]}
        assert {f"image.{name}" for name in CAMERAS} <= names
        assert all(camera["jpegs"] for camera in episode["cameras"])
