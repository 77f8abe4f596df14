"""LeRobot's own code against ours: its loader opens our exports, and its recordings come in.

`lerobot` is no dependency of the suite and wants other versions of some packages, so this runs in
an environment of its own; docs/lerobot.md says how.
"""

from __future__ import annotations

import numpy as np
import pytest
from lerobot_sets import JOINTS, SHAPE, make_dataset, psnr, smooth_images, so101_contract

from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset

pytest.importorskip(
    "lerobot", reason="lerobot is not installed: docs/lerobot.md says how to run this"
)
from lerobot.datasets.compute_stats import aggregate_stats, get_feature_stats  # noqa: E402
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402

BACKENDS = ["pyav"]  # torchcodec, LeRobot's first choice, needs the libraries of FFmpeg beside it
try:
    import torchcodec  # noqa: F401

    BACKENDS.append("torchcodec")
except (ImportError, RuntimeError, OSError):
    pass


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A data set of three episodes and two cameras."""
    folder = tmp_path_factory.mktemp("ours") / "kitchen"
    make_dataset(folder, frames=25)
    return folder


def picture(tensor) -> np.ndarray:
    """An image of LeRobot's, (3, H, W) in 0 .. 1, as (H, W, 3) uint8."""
    return np.rint(tensor.numpy().transpose(1, 2, 0) * 255).astype(np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("images", ["png", "h264", "av1"])
def test_every_item_is_ours(dataset, tmp_path, images, backend):
    export_dataset(dataset, tmp_path / "kitchen", images=images)
    import_dataset(tmp_path / "kitchen", tmp_path / "back")
    ours, back = load_frames(dataset), load_frames(tmp_path / "back")
    data = LeRobotDataset("lab/kitchen", root=tmp_path / "kitchen", video_backend=backend)
    assert (len(data), data.num_episodes, data.fps) == (len(ours), 3, 10)
    assert data.meta.robot_type == "sim_panda"
    state = np.concatenate([ours.states[s.key] for s in ours.contract.states], axis=1)
    for at in range(len(ours)):
        item, episode = data[at], ours.episode(at)
        np.testing.assert_array_equal(item["observation.state"].numpy(), state[at])
        np.testing.assert_array_equal(item["action"].numpy(), ours.actions[at])
        assert item["task"] == episode.instruction
        assert int(item["index"]) == at
        assert int(item["frame_index"]) == at - episode.start
        assert float(item["timestamp"]) == pytest.approx((at - episode.start) / 10)
        assert ours.episodes[int(item["episode_index"])].id == episode.id
        for key in ours.image_keys:
            found = picture(item[f"observation.images.{key.removeprefix('image.')}"])
            if images == "png":
                np.testing.assert_array_equal(found, ours.image(at, key))
            else:
                assert psnr(found, ours.image(at, key)) > 35
                assert psnr(found, back.image(at, key)) > 45, "another decoder of the same video"


@pytest.mark.parametrize("images", ["h264", "av1"])
def test_an_export_that_was_interrupted_is_opened(dataset, tmp_path, images):
    """All episodes in one video, which was joined from parts of two runs."""
    left = [2 * 25 + 20]  # images, two a frame: within the second episode

    def stop(count: int) -> None:
        left[0] -= count
        if left[0] <= 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_dataset(dataset, tmp_path / "kitchen", images=images, on_frame=stop)
    done: list[int] = []
    export_dataset(dataset, tmp_path / "kitchen", images=images, on_frame=done.append)
    assert [count for count in done if count > 1] == [2 * 25]
    assert len(list((tmp_path / "kitchen").rglob("*.mp4"))) == 2
    ours = load_frames(dataset)
    data = LeRobotDataset(
        "lab/kitchen", root=tmp_path / "kitchen", video_backend="pyav", tolerance_s=1e-4
    )
    assert len(data) == len(ours)
    for at in range(len(ours)):
        item = data[at]
        np.testing.assert_array_equal(item["action"].numpy(), ours.actions[at])
        beside = at - 1 if at > ours.episode(at).start else at + 1
        for key in ours.image_keys:
            found = picture(item[f"observation.images.{key.removeprefix('image.')}"])
            likeness = [psnr(found, ours.image(n, key)) for n in (at, beside)]
            assert likeness[0] > 35
            assert likeness[0] > likeness[1] + 5, "a frame of another time"


def test_chunks_are_ours(dataset, tmp_path):
    export_dataset(dataset, tmp_path / "kitchen")
    ours = load_frames(dataset)
    steps = ours.contract.action.horizon
    data = LeRobotDataset(
        "lab/kitchen",
        root=tmp_path / "kitchen",
        delta_timestamps={"action": [n / 10 for n in range(steps)]},
        episodes=[1],
        video_backend="pyav",
    )
    episode = ours.episodes[1]
    assert len(data) == len(episode)
    for at in range(len(data)):
        item = data[at]
        real = ~item["action_is_pad"].numpy()
        np.testing.assert_array_equal(
            item["action"].numpy()[real], ours.chunk(episode.start + at)[real]
        )
        assert real.sum() == min(steps, len(episode) - at)


def test_statistics_are_those_of_lerobot(dataset, tmp_path):
    export_dataset(dataset, tmp_path / "kitchen", images="png")
    ours = load_frames(dataset)
    episodes = []
    for episode in ours.episodes:
        rows = slice(episode.start, episode.stop)
        pictures = np.stack([ours.image(at) for at in range(episode.start, episode.stop)])
        pictures = pictures.transpose(0, 3, 1, 2).astype(np.float64)
        image = get_feature_stats(pictures, axis=(0, 2, 3), keepdims=True)
        episodes.append(
            {
                "action": get_feature_stats(ours.actions[rows], axis=0, keepdims=False),
                "index": get_feature_stats(np.arange(rows.start, rows.stop), 0, keepdims=True),
                "observation.images.front": {
                    key: value if key == "count" else np.squeeze(value / 255, axis=0)
                    for key, value in image.items()
                },
            }
        )
    expected = aggregate_stats(episodes)
    found = LeRobotDataset("lab/kitchen", root=tmp_path / "kitchen").meta.stats
    for feature, stats in expected.items():
        assert set(found[feature]) == set(stats)
        for key, value in stats.items():
            assert found[feature][key].shape == value.shape, (feature, key)
            np.testing.assert_allclose(found[feature][key], value, atol=2e-5, err_msg=key)


@pytest.mark.parametrize("use_videos", [False, True])
def test_what_lerobot_records_comes_in(tmp_path, use_videos):
    vector = {"dtype": "float32", "shape": (6,), "names": [f"{joint}.pos" for joint in JOINTS]}
    camera = {
        "dtype": "video" if use_videos else "image",
        "shape": SHAPE,
        "names": ["height", "width", "channels"],
    }
    features = {
        "observation.state": vector,
        "action": vector,
        "observation.images.top": camera,
    }
    data = LeRobotDataset.create(
        "lab/cubes", 10, features, root=tmp_path / "cubes", use_videos=use_videos
    )
    rng, rows = np.random.default_rng(0), []
    for number in range(3):
        images = smooth_images(12, SHAPE, number)
        for image in images:
            action = rng.uniform(0, 1.4, 6).astype(np.float32)
            frame = {"observation.state": action / 2, "action": action}
            data.add_frame({**frame, "observation.images.top": image, "task": f"task {number}"})
            rows.append((action, image))
        data.save_episode()
    data.finalize()
    contract = so101_contract("image.top", SHAPE, rate_hz=10.0)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", contract)
    assert not done.failed
    ours = load_frames(tmp_path / "ours")
    assert [e.instruction for e in ours.episodes] == ["task 0", "task 1", "task 2"]
    for at, (action, image) in enumerate(rows):
        np.testing.assert_array_equal(ours.actions[at], action)
        np.testing.assert_array_equal(ours.states["state.joints"][at], action / 2)
        if use_videos:
            assert psnr(ours.image(at), image) > 28  # LeRobot's recorder: AV1 at crf 30
        else:
            np.testing.assert_array_equal(ours.image(at), image)


def test_its_tools_take_our_exports(dataset, tmp_path):
    """Deleting encodes anew, merging joins videos: files of both kinds must fit together."""
    from lerobot.datasets.dataset_tools import delete_episodes, merge_datasets

    export_dataset(dataset, tmp_path / "kitchen")
    data = LeRobotDataset("lab/kitchen", root=tmp_path / "kitchen", video_backend="pyav")
    fewer = delete_episodes(data, [1], output_dir=tmp_path / "fewer", repo_id="lab/fewer")
    merged = merge_datasets([data, fewer, data], "lab/all", output_dir=tmp_path / "all")
    ours = load_frames(dataset)
    assert merged.num_episodes == 8
    done = import_dataset(tmp_path / "all", tmp_path / "back", ours.contract)
    assert len(done.added) == 8
    back = load_frames(tmp_path / "back")
    for number, other in enumerate((0, 1, 2, 0, 2, 0, 1, 2)):
        episode, truth = back.episodes[number], ours.episodes[other]
        rows, true_rows = slice(episode.start, episode.stop), slice(truth.start, truth.stop)
        np.testing.assert_array_equal(back.actions[rows], ours.actions[true_rows])
        for at in (0, len(episode) - 1):
            alike = psnr(back.image(episode.start + at), ours.image(truth.start + at))
            assert alike > 28
