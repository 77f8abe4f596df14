"""LeRobot data sets v2.1 and v3.0 in: a real one, one in the old layout, and what does not fit."""

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
    JOINTS,
    SHAPE,
    arm_contract,
    edit_info,
    make_dataset,
    make_v21,
    psnr,
    so101_contract,
    write_lines,
    write_mp4,
)
from PIL import Image

from roboalign_policy.core.contract import contract_from_dict
from roboalign_policy.core.hashing import sha256_file
from roboalign_training.data.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import load_index
from roboalign_training.data.recipe import Recipe
from roboalign_training.lerobot import import_cli
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.lerobot.mapping import make_map
from roboalign_training.lerobot.source import LeRobotSource

SAMPLE = next(
    (
        found
        for parent in Path(__file__).resolve().parents
        if (found := parent / "shared/data/lerobot/so101_v30_example").is_dir()
    ),
    None,
)
STATE, ACTION, TOP = "observation.state", "action", "observation.images.top"
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


def edit_rows(path: Path, **columns) -> None:
    """Replaces columns of a data file."""
    table = pq.ParquetFile(path).read()
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(
            at, table.schema.field(at), pa.array(values, table.schema.types[at])
        )
    pq.write_table(table, path)


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


# What does not fit


@pytest.mark.parametrize(
    ("edit", "texts"),
    [
        (lambda i: i.update(fps=30), ["fps: found 30, but rate_hz of contract so101 is 10"]),
        (
            lambda i: i["features"][TOP].update(shape=[480, 640, 3]),
            [f"{TOP}: shape (height, width, channels) (480, 640, 3)", "is (48, 64, 3)"],
        ),
        (
            lambda i: i["features"].update({"observation.images.side": i["features"].pop(TOP)}),
            ["image.top: no feature observation.images.top", "--map FEATURE=image.top"],
        ),
        (
            lambda i: i["features"][ACTION].update(names=["a", *JOINTS[1:]]),
            ["action: found dimensions a, shoulder_lift", "no shoulder_pan", "--rename"],
        ),
        (
            lambda i: i["features"][ACTION].update(names=[*JOINTS, "base"], shape=[7]),
            ["action: has base beside the 6 dimensions", "an action cannot be left out"],
        ),
        (
            lambda i: i["features"][STATE].update(names=None, shape=[5]),
            [f"{STATE}: 5 dimensions without names, but state.joints of contract so101 has 6"],
        ),
        (
            lambda i: i["features"][TOP]["info"].update({"is_depth_map": True}),
            [f"{TOP}: is a depth map"],
        ),
        (
            lambda i: i["features"][STATE].update(dtype="string"),
            [f"{STATE}: dtype 'string' and shape [6], but state.joints takes a vector"],
        ),
        (lambda i: i["features"].pop(ACTION), ["action: no feature action, only"]),
        (
            lambda i: i.update(codebase_version="v1.6"),
            ["codebase_version: found 'v1.6', expected 'v2.1' or 'v3.0'"],
        ),
        (lambda i: i.update(total_episodes=4), ["total_episodes: found 4, but 3 episodes"]),
        (lambda i: i.update(data_path="../{episode_index}"), ["which leaves the data set"]),
        (lambda i: i.update(data_path="{nothing}"), ["data_path: found '{nothing}'"]),
        (lambda i: i.update(fps="ten"), ["fps: found 'ten'"]),
    ],
)
def test_disagreements_are_refused_by_name(v21, tmp_path, edit, texts):
    edit_info(v21, edit)
    with pytest.raises(DatasetError) as error:
        import_dataset(v21, tmp_path / "ours", CONTRACT)
    for text in texts:
        assert text in str(error.value)
    assert not (tmp_path / "ours/dataset.json").exists()


def test_all_disagreements_are_named_at_once(v21, tmp_path):
    contract = so101_contract("image.front", (480, 640, 3))
    with pytest.raises(DatasetError) as error:
        import_dataset(v21, tmp_path / "ours", contract, maps={TOP: "image.front", "x": "y"})
    for text in ("fps: found 10", "shape (height, width, channels) (48, 64, 3)", "--map x=y"):
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"maps": {TOP: "image.side"}}, "no such key in contract so101, only image.top"),
        ({"renames": {"j7": "gripper"}}, "--rename j7=gripper: no feature has a dimension j7"),
        ({"gains": {"elbow": (2.0, 0.0)}}, "--gain elbow: no such dimension in contract so101"),
        ({"renames": {"gripper.pos": "wrist_roll.pos"}}, "names a dimension twice"),
        ({"maps": {ACTION: "state.joints"}}, ""),
    ],
)
def test_options_that_say_nothing_sensible(v21, tmp_path, options, text):
    if not text:  # a state may well come from the commands
        import_dataset(v21, tmp_path / "ours", CONTRACT, **options)
        return
    with pytest.raises(DatasetError, match=text):
        import_dataset(v21, tmp_path / "ours", CONTRACT, **options)


def test_no_dimension_is_taken_twice(tmp_path):
    data = arm_contract().to_dict()
    data["observations"][-1]["fields"][0]["name"] = "x"
    data["prompt"]["state"].pop()
    contract = contract_from_dict(data)
    names = [name for stream in arm_contract().states for name in stream.names]
    vector = {"dtype": "float32", "shape": [15], "names": names}
    action = {"dtype": "float32", "shape": [7], "names": list(contract.action.names)}
    camera = {"dtype": "video", "shape": list(SHAPE), "names": ["height", "width", "channels"]}
    features = {f"observation.images.{name}": camera for name in ("front", "wrist")}
    features |= {STATE: vector, ACTION: action}
    source = LeRobotSource(tmp_path, "v3.0", 10.0, features, (), {})
    with pytest.raises(DatasetError, match="would be both state.ee x and state.gripper x"):
        make_map(contract, source)
    vector["names"] = [*names[:-1], "gripper.x"]
    assert make_map(contract, source).vectors["state.gripper"].places == (14,)


def test_a_contract_is_needed_and_only_one(v21, tmp_path):
    with pytest.raises(DatasetError, match="carries no RoboAlign contract: name one"):
        import_dataset(v21, tmp_path / "ours")
    make_dataset(tmp_path / "kitchen", episodes=1)
    export_dataset(tmp_path / "kitchen", tmp_path / "theirs", images="png")
    with pytest.raises(DatasetError, match="carries contract sim_panda .* found --contract so101"):
        import_dataset(tmp_path / "theirs", tmp_path / "ours", CONTRACT)


def test_what_is_no_lerobot_data_set(tmp_path):
    with pytest.raises(DatasetError, match=r"is no LeRobot data set: no meta/info.json"):
        import_dataset(tmp_path, tmp_path / "ours", CONTRACT)


# Episodes that are not fit or not readable


def test_faults_of_episodes_leave_the_others_alone(tmp_path):
    made = make_v21(tmp_path / "cubes", lengths=(12, 12, 12, 12, 12, 12))
    edit_rows(made[0]["data"], task_index=[0] * 6 + [1] * 6)
    states = made[1]["states"].copy()
    states[4, 2] = np.nan
    edit_rows(made[1]["data"], **{STATE: list(states)})
    actions = made[2]["actions"].copy()
    actions[7, 1] = 40.0
    edit_rows(made[2]["data"], **{ACTION: list(actions)})
    edit_rows(made[3]["data"], timestamp=np.arange(12, dtype=np.float32))
    made[4]["video"].write_bytes(made[4]["video"].read_bytes()[:900])
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000001", "cubes-000005"]
    reasons = {entry["id"]: entry["reason"] for entry in done.skipped}
    assert "its task changes ('pick up the cube'; 'close the drawer')" in reasons["cubes-000000"]
    assert "unsafe: action shoulder_lift of frame 7 is 40" in reasons["cubes-000002"]
    assert "timestamp of frame 11: found 11.0000 s, expected 1.1000 s" in reasons["cubes-000003"]
    assert len(done.failed) == 1
    assert "episode_000004.mp4: cannot be decoded" in done.failed[0]
    entry = done.index.episodes["cubes-000001"]
    assert (entry["frames"], entry["dropped"]) == (11, {"state.joints: non-finite": 1})
    data = load_frames(tmp_path / "ours")
    assert data.frame_indices[:6].tolist() == [0, 1, 2, 3, 5, 6]
    assert psnr(data.image(4), made[1]["images"][5]) > 35


def test_what_could_not_be_read_is_tried_again(tmp_path):
    made = make_v21(tmp_path / "cubes")
    whole = made[1]["video"].read_bytes()
    made[1]["video"].write_bytes(whole[:900])
    first = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert [e["id"] for e in load_index(tmp_path / "ours").skipped] == ["episode 1"]
    made[1]["video"].write_bytes(whole)
    second = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert (first.added, second.added) == (["cubes-000000", "cubes-000002"], ["cubes-000001"])
    assert (second.known, load_index(tmp_path / "ours").skipped) == (2, [])


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda m: write_mp4(m["video"], m["images"][:9], 10), "ends after 9 of the 15 frames"),
        (
            lambda m: write_mp4(m["video"], m["images"], 7),
            "frame 1 of the episode: found the next",
        ),
        (
            lambda m: write_mp4(m["video"], m["images"][:, :32], 10),
            r"image.top of frame 0: found \(32, 64, 3\), expected \(48, 64, 3\)",
        ),
        (lambda m: m["video"].unlink(), "cannot be read"),
        (lambda m: m["data"].write_bytes(b"PAR1"), "cannot be read"),
        (
            lambda m: edit_rows(m["data"], episode_index=[0] * 15),
            "found 0 frames, expected the 15",
        ),
        (lambda m: edit_rows(m["data"], task_index=[9] * 15), "task_index: found 9"),
        (lambda m: edit_rows(m["data"], frame_index=[0, *range(14)]), "frame_index of frame 1"),
    ],
)
def test_files_that_are_not_what_the_metadata_says(tmp_path, damage, text):
    made = make_v21(tmp_path / "cubes")
    damage(made[1])
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000000", "cubes-000002"]
    said = [*done.failed, *(entry["reason"] for entry in done.skipped)]
    assert len(said) == 1
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(said[0])
    assert not list((tmp_path / "ours/data").glob(".*"))


def test_an_interrupted_import_is_picked_up(v21, tmp_path):
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(v21, tmp_path / "ours", CONTRACT, on_frame=stop)
    assert not (tmp_path / "ours/dataset.json").exists()
    done = import_dataset(v21, tmp_path / "ours", CONTRACT)
    assert (done.known, done.added) == (1, ["cubes-000001", "cubes-000002"])
    again = import_dataset(v21, tmp_path / "ours", CONTRACT)
    assert (again.known, again.added) == (3, [])
    assert len(load_frames(tmp_path / "ours").episodes) == 3


def test_the_instruction_may_be_given(v21, tmp_path):
    lines = [{"task_index": 0, "task": " "}, {"task_index": 1, "task": "close it"}]
    write_lines(v21 / "meta/tasks.jsonl", lines)
    done = import_dataset(v21, tmp_path / "ours", CONTRACT)
    assert {e["reason"] for e in done.skipped} == {"its task is empty: give the instruction"}
    recipe = Recipe(instruction="do it")
    done = import_dataset(v21, tmp_path / "other", CONTRACT, recipe=recipe)
    assert {e["instruction"] for e in done.index.episodes.values()} == {"do it"}


def test_no_episode_is_an_error_with_the_reasons(v21, tmp_path):
    with pytest.raises(DatasetError, match="no episode to put in it: too short: 12 frames"):
        import_dataset(v21, tmp_path / "ours", CONTRACT, recipe=Recipe(min_frames=99))


def test_repository_and_revision_are_known_from_the_folder(v21, tmp_path):
    place = tmp_path / "hub/datasets--lab--cubes--2/snapshots/0123abc"
    shutil.copytree(v21, place)
    done = import_dataset(place, tmp_path / "ours", CONTRACT)
    origin = done.index.episodes["cubes--2-000000"]["origin"]
    assert (origin["repo"], origin["revision"]) == ("lab/cubes--2", "0123abc")
    note = v21 / ".cache/huggingface/download/meta/info.json.metadata"
    note.parent.mkdir(parents=True)
    note.write_text("feed01\nanother hash\n17.0\n")
    done = import_dataset(v21, tmp_path / "other", CONTRACT)
    assert done.index.episodes["cubes-000000"]["origin"]["revision"] == "feed01"


# Exports of ours that were changed


@pytest.fixture
def exported(tmp_path):
    """An export with its images in the data files."""
    make_dataset(tmp_path / "kitchen")
    export_dataset(tmp_path / "kitchen", tmp_path / "theirs", images="png")
    return tmp_path / "theirs"


def test_a_changed_export_is_refused(exported, tmp_path):
    path = exported / "data/chunk-000/file-000.parquet"
    table = pq.ParquetFile(path).read()
    actions = np.array(table[ACTION].to_pylist(), np.float32)
    actions[3, 0] *= 0.5
    edit_rows(path, action=list(actions))
    done = import_dataset(exported, tmp_path / "ours")
    assert done.added == ["2025-1", "2025-2"]
    assert "values_sha256 of episode 0" in done.failed[0]


def test_changed_pictures_of_an_export_are_refused(exported, tmp_path):
    path = exported / "data/chunk-000/file-000.parquet"
    table = pq.ParquetFile(path).read()
    cells = table["observation.images.front"].to_pylist()
    cells[0], cells[1] = cells[1], cells[0]
    edit_rows(path, **{"observation.images.front": cells})
    done = import_dataset(exported, tmp_path / "ours")
    assert done.added == ["2025-1", "2025-2"]
    assert "content_sha256 of episode 0" in done.failed[0]


def test_an_export_with_another_contract_or_episode_count_is_refused(exported, tmp_path):
    passport = json.loads((exported / "meta/roboalign.json").read_text())
    passport["episodes"].pop()
    (exported / "meta/roboalign.json").write_text(json.dumps(passport))
    with pytest.raises(DatasetError, match="has 3 episodes, but 2 were exported: changed since"):
        import_dataset(exported, tmp_path / "ours")
    text = (exported / "meta/contract.yaml").read_text()
    (exported / "meta/contract.yaml").write_text(text.replace("rate_hz: 10.0", "rate_hz: 20.0"))
    with pytest.raises(DatasetError, match=r"contract.yaml: hash: found"):
        import_dataset(exported, tmp_path / "ours")


def test_without_its_passport_an_export_is_as_any_other(exported, tmp_path):
    (exported / "meta/roboalign.json").unlink()
    done = import_dataset(exported, tmp_path / "ours", arm_contract())
    data, truth = load_frames(tmp_path / "ours"), load_frames(tmp_path / "kitchen")
    assert done.added == [f"theirs-{n:06d}" for n in range(3)]
    np.testing.assert_array_equal(data.actions, truth.actions)
    for key in truth.states:
        np.testing.assert_array_equal(data.states[key], truth.states[key])
    np.testing.assert_array_equal(data.image(20, "image.wrist"), truth.image(20, "image.wrist"))


def test_nothing_of_an_export_is_mapped(exported, tmp_path):
    with pytest.raises(DatasetError, match="there is nothing to map or convert"):
        import_dataset(exported, tmp_path / "ours", gains={"dx": (2.0, 0.0)})


def test_an_episode_that_is_there_already_is_not_replaced(exported, tmp_path):
    done = import_dataset(exported, tmp_path / "kitchen")
    assert (done.added, len(done.skipped)) == ([], 3)
    assert done.skipped[0]["reason"] == "episode id '2025-0' is already that of ../bags/2025-0"


# The command


def test_command_line(v21, tmp_path, capsys):
    contract = tmp_path / "arm.yaml"
    contract.write_text(so101_contract("image.hand", SHAPE, 10.0).to_yaml())
    names = {"names": [f"m{n}" for n in range(6)]}
    edit_info(v21, lambda i: [i["features"][key].update(names) for key in (STATE, ACTION)])
    edit_info(v21, lambda i: i["features"].update({"next.reward": {"dtype": "float32"}}))
    options = [str(v21), "--out", str(tmp_path / "ours"), "--contract", str(contract)]
    assert import_cli.main(options) == 1
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
    assert import_cli.main([*options, "--map", "wrong"]) == 1
    assert "--map: found 'wrong', expected LEFT=RIGHT" in capsys.readouterr().err
    next(v21.glob("videos/*/*/episode_000001.mp4")).write_bytes(b"no video")
    assert import_cli.main(options) == 1
    assert "not read:" in capsys.readouterr().err
