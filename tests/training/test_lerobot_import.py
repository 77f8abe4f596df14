"""LeRobot data sets v2.1 and v3.0 in: a real one, one in the old layout, the command."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_sets import (
    ACTION,
    JOINTS,
    SHAPE,
    STATE,
    TOP,
    edit_info,
    edit_rows,
    make_dataset,
    make_v21,
    psnr,
    so101_contract,
)
from PIL import Image

from roboalign_policy.core.hashing import sha256_file
from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import load_index
from roboalign_training.lerobot import import_cli
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.lerobot.job import ImportJob

SAMPLE = next(
    (
        found
        for parent in Path(__file__).resolve().parents
        if (found := parent / "shared/data/lerobot/so101_v30_example").is_dir()
    ),
    None,
)
SAMPLE_NAMES = {
    "maps": {"observation.images.wrist": "image.hand"},
    "renames": {f"j{n}": joint for n, joint in enumerate(JOINTS)},
}
CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)


@pytest.fixture
def v21(tmp_path):
    """Folder of a LeRobot data set v2.1."""
    make_v21(tmp_path / "cubes")
    return tmp_path / "cubes"


# The real data set


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The real data set, imported, and what came of it."""
    if SAMPLE is None:
        pytest.skip("shared/data/lerobot/so101_v30_example is not here")
    out = tmp_path_factory.mktemp("sample") / "ours"
    # Its arm rests with two joints up to 2 degrees beyond the packaged limits.
    contract = so101_contract("image.hand", (360, 640, 3), margin=0.1)
    return import_dataset(SAMPLE, out, contract, **SAMPLE_NAMES)


def test_the_real_data_set_comes_in_whole(sample):
    data = load_frames(sample.index.folder)
    assert (len(data.episodes), len(data)) == (6, 1782)
    assert not sample.failed
    assert not sample.skipped
    rows = pq.ParquetFile(SAMPLE / "data/chunk-000/file-000.parquet").read()
    np.testing.assert_array_equal(data.actions, np.array(rows[ACTION].to_pylist(), np.float32))
    np.testing.assert_array_equal(
        data.states["state.joints"], np.array(rows[STATE].to_pylist(), np.float32)
    )
    first = data.episodes[0]
    assert first.id == "so101_v30_example-000000"
    assert data.usable.all()
    assert data.stamps_ns[first.start : first.start + 3].tolist() == [0, 33333333, 66666667]


def test_the_real_data_set_says_that_the_arm_stands_still(sample):
    names = ", ".join(JOINTS)
    assert f"action: the arm is never told to move: constant in all episodes ({names})" in (
        sample.notes
    )


def test_the_real_data_set_is_left_out_by_limits_that_it_exceeds(tmp_path):
    if SAMPLE is None:
        pytest.skip("shared/data/lerobot/so101_v30_example is not here")
    contract = so101_contract("image.hand", (360, 640, 3))
    with pytest.raises(DatasetError, match=r"unsafe: action shoulder_lift of frame 0 is -1.771"):
        import_dataset(SAMPLE, tmp_path / "ours", contract, **SAMPLE_NAMES)


def test_the_real_data_set_has_its_origin_in_the_index(sample):
    entry = load_index(sample.index.folder).episodes["so101_v30_example-000003"]
    origin = entry["origin"]
    assert (origin["format"], origin["episode_index"]) == ("LeRobot v3.0", 3)
    video = "videos/observation.images.wrist/chunk-000/file-000.mp4"
    assert origin["files"][video] == sha256_file(SAMPLE / video)
    assert origin["features"]["image.hand"] == "observation.images.wrist"
    tasks = json.loads((SAMPLE / "meta/info.json").read_text())["total_tasks"]
    assert len({e["instruction"] for e in sample.index.episodes.values()}) == tasks


def test_the_real_videos_are_cut_at_the_right_frames(sample):
    """Frame by frame against a decoder that counts, without times and without seeking."""
    import av

    data = load_frames(sample.index.folder)
    with av.open(str(SAMPLE / "videos/observation.images.wrist/chunk-000/file-000.mp4")) as video:
        for at, frame in enumerate(video.decode(video=0)):
            if at % 97 == 0 or any(at in (e.start, e.stop - 1) for e in data.episodes):
                np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), data.image(at))
    assert at == 1781


# The old layout


def test_v21_comes_in(tmp_path):
    made = make_v21(tmp_path / "cubes")
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    data = load_frames(tmp_path / "ours")
    assert done.added == [e.id for e in data.episodes] == [f"cubes-{n:06d}" for n in range(3)]
    assert done.notes == []
    assert done.fmap.features == {"image.top": TOP, "state.joints": STATE, "action": ACTION}
    for episode, truth in zip(data.episodes, made.values(), strict=True):
        rows = slice(episode.start, episode.stop)
        assert episode.instruction == truth["task"]
        assert episode.outcome == "unknown"
        np.testing.assert_array_equal(data.actions[rows], truth["actions"])
        np.testing.assert_array_equal(data.states["state.joints"][rows], truth["states"])
        for at, image in enumerate(truth["images"]):
            assert psnr(image, data.image(episode.start + at)) > 35
    entry = done.index.episodes["cubes-000002"]
    assert entry["source"] == "../cubes"
    assert entry["origin"]["files"] == {
        str(made[2][kind].relative_to(tmp_path / "cubes")): sha256_file(made[2][kind])
        for kind in ("data", "video")
    }


def test_names_may_stand_in_another_order_and_below_a_heading(tmp_path):
    made = make_v21(tmp_path / "cubes")

    def turn(info):
        for key in (STATE, ACTION):
            info["features"][key] = {**info["features"][key], "names": {"motors": JOINTS[::-1]}}

    edit_info(tmp_path / "cubes", turn)
    import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    data = load_frames(tmp_path / "ours")
    np.testing.assert_array_equal(data.actions[:12], made[0]["actions"][:, ::-1])


def test_without_names_the_order_counts_and_is_said(v21, tmp_path):
    edit_info(v21, lambda info: info["features"][ACTION].update(names=None))
    done = import_dataset(v21, tmp_path / "ours", CONTRACT)
    assert done.notes == [
        f"action does not name its dimensions: taken in the order of action ({', '.join(JOINTS)})"
    ]


def test_pictures_in_the_data_files(v21, tmp_path):
    """PNG as it is, JPEG decoded; channels first in the metadata."""
    images = {}
    for number, kind in enumerate(("PNG", "JPEG", "PNG")):
        path = next(v21.glob(f"data/*/episode_{number:06d}.parquet"))
        table = pq.ParquetFile(path).read()
        cells = []
        for at in range(len(table)):
            sink = io.BytesIO()
            image = np.random.default_rng(at).integers(0, 255, SHAPE, dtype=np.uint8)
            Image.fromarray(image).save(sink, kind)
            cells.append({"bytes": sink.getvalue(), "path": f"frame_{at}.png"})
            images.setdefault(number, []).append(np.asarray(Image.open(sink).convert("RGB")))
        pq.write_table(table.append_column(TOP, pa.array(cells)), path, row_group_size=5)

    def pictures(info):
        info["features"][TOP] = {
            "dtype": "image",
            "shape": [3, *SHAPE[:2]],
            "names": ["channels", "height", "width"],
        }

    edit_info(v21, pictures)
    import_dataset(v21, tmp_path / "ours", CONTRACT)
    data = load_frames(tmp_path / "ours")
    for episode, number in zip(data.episodes, images, strict=True):
        for at, image in enumerate(images[number]):
            np.testing.assert_array_equal(data.image(episode.start + at), image)
            assert data.encoded_image(episode.start + at).startswith(b"\x89PNG")


def test_pictures_of_16_bits_are_refused_and_not_made_white(v21, tmp_path):
    for number, mode in enumerate(("RGB", "I;16", "L")):
        sink = io.BytesIO()
        Image.new(mode, SHAPE[1::-1]).save(sink, "PNG")
        path = next(v21.glob(f"data/*/episode_{number:06d}.parquet"))
        table = pq.ParquetFile(path).read()
        cells = [{"bytes": sink.getvalue(), "path": "picture.png"}] * len(table)
        pq.write_table(table.append_column(TOP, pa.array(cells)), path)
    names = ["height", "width", "channels"]
    picture = {"dtype": "image", "shape": list(SHAPE), "names": names}
    edit_info(v21, lambda info: info["features"].update({TOP: picture}))
    done = import_dataset(v21, tmp_path / "ours", CONTRACT)
    assert [name[-1] for name in done.added] == ["0", "2"]
    (failed,) = done.failed
    assert failed.endswith(
        "of frame 0: is a PNG of 16 bits a channel, expected 8-bit colour or grey"
    )


def test_what_never_changes_is_said(tmp_path):
    made = make_v21(tmp_path / "cubes")
    for episode in made.values():
        states = episode["states"]
        states[:, (1, 5)] = 0.5
        actions = np.full_like(states, 0.25)
        edit_rows(episode["data"], **{STATE: list(states), ACTION: list(actions)})
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.notes == [
        "state.joints: constant in all episodes: shoulder_lift, gripper",
        f"action: the arm is never told to move: constant in all episodes ({', '.join(JOINTS)})",
    ]


def test_other_units_are_converted(tmp_path):
    made = make_v21(tmp_path / "cubes")
    gains = {"gripper": (0.5, 0.25), "elbow_flex": (np.pi / 180, 0.0)}
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT, gains=gains)
    data = load_frames(tmp_path / "ours")
    for found, truth in (
        (data.actions[:12], made[0]["actions"]),
        (data.states["state.joints"][:12], made[0]["states"]),
    ):
        np.testing.assert_allclose(found[:, 5], truth[:, 5] * 0.5 + 0.25, rtol=1e-6)
        np.testing.assert_allclose(found[:, 2], np.deg2rad(truth[:, 2]), rtol=1e-6)
        np.testing.assert_array_equal(found[:, :2], truth[:, :2])
    origin = done.index.episodes["cubes-000000"]["origin"]
    assert origin["gains"]["action 5"] == [0.5, 0.25]


# The command


def test_command_line(v21, tmp_path, capsys):
    contract = tmp_path / "arm.yaml"
    contract.write_text(so101_contract("image.hand", SHAPE, 10.0).to_yaml())
    names = {"names": [f"m{n}" for n in range(6)]}
    edit_info(v21, lambda i: [i["features"][key].update(names) for key in (STATE, ACTION)])
    edit_info(v21, lambda i: i["features"].update({"next.reward": {"dtype": "float32"}}))
    options = [str(v21), "--out", str(tmp_path / "ours"), "--contract", str(contract)]
    assert import_cli.main(options) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "image.hand: no feature observation.images.hand" in printed
    assert "found dimensions m0, m1, m2, m3, m4, m5" in printed
    options += ["--map", f"{TOP}=image.hand"]
    options += ["--rename", *(f"m{n}={joint}" for n, joint in enumerate(JOINTS))]
    assert import_cli.main(options) == 0
    printed = capsys.readouterr()
    assert f"taken: image.hand from {TOP}, state.joints from {STATE}" in printed.out
    assert "not taken: next.reward" in printed.out
    assert "3 episodes, 36 frames (3 new episodes, 0 known before)" in printed.out
    assert import_cli.main([*options, "--map", "wrong"]) == 2
    assert "--map: found 'wrong', expected LEFT=RIGHT" in capsys.readouterr().err
    next(v21.glob("videos/*/*/episode_000001.mp4")).write_bytes(b"no video")
    assert import_cli.main(options) == 1
    assert "not read:" in capsys.readouterr().err


def test_ctrl_c_says_that_it_can_be_resumed(monkeypatch, tmp_path, capsys):
    make_dataset(tmp_path / "ours")
    export_dataset(tmp_path / "ours", tmp_path / "theirs", images="png")
    left, real = [2], ImportJob.take

    def take(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(*args)

    command = [str(tmp_path / "theirs"), "--out", str(tmp_path / "back")]
    with monkeypatch.context() as patch:
        patch.setattr(ImportJob, "take", take)
        assert import_cli.main(command) == 130
    assert "the same command goes on where this one ended" in capsys.readouterr().err
    assert import_cli.main(command) == 0
    assert load_index(tmp_path / "back").hashes == load_index(tmp_path / "ours").hashes


def test_an_episode_whose_file_is_missing_comes_anew_from_its_own_source(v21, tmp_path):
    out = tmp_path / "ours"
    done = import_dataset(v21, out, CONTRACT)
    lost = out / next(iter(done.index.episodes.values()))["file"]
    hashes = {path.name: sha256_file(path) for path in lost.parent.iterdir()}
    lost.unlink()
    another = tmp_path / "another"
    shutil.copytree(v21, another)
    with pytest.raises(DatasetError, match=f"names files that are missing: data/{lost.name}"):
        import_dataset(another, out, CONTRACT)
    assert not lost.exists()
    import_dataset(v21, out, CONTRACT)
    assert {path.name: sha256_file(path) for path in lost.parent.iterdir()} == hashes
