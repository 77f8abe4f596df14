"""Data sets: what is in them, what is left out and why; resuming, appending, splits, fitting."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from demo_bags import make_actions, sim_contract, write_demo, write_recordings

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_policy.ros.recording.bag_outcome import mark_outcome
from roboalign_training.bags.errors import BagError, DatasetError
from roboalign_training.conversion import convert_cli
from roboalign_training.conversion.build import append_bag, build_dataset, find_bags
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.images.image_storage import decode_image


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Five recordings: three good ones, a failure, and one with a gap in its chunks."""
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def folder(bags, tmp_path_factory):
    """The data set made of `bags`."""
    out = tmp_path_factory.mktemp("set") / "data"
    build_dataset(find_bags([bags]), None, out)
    return out


def files(folder):
    return {p.name: p.read_bytes() for p in sorted((folder / "data").iterdir())}


def table(data):
    """What a file of frames says, its images as pixels: ISA-L has a choice of bytes for them."""
    found = pq.read_table(io.BytesIO(data))
    rows = [
        {
            k: decode_image(v["bytes"]).tobytes() if k.startswith("image.") else v
            for k, v in r.items()
        }
        for r in found.to_pylist()
    ]
    return found.schema, pq.read_metadata(io.BytesIO(data)).metadata, rows


def test_index_says_what_is_in_it_and_what_is_not(folder):
    document = json.loads((folder / "dataset.json").read_text())
    assert document["schema"] == "roboalign-dataset/1"
    assert [(e["id"], e["frames"]) for e in document["episodes"]] == [
        ("ep0", 20),
        ("ep1", 21),
        ("ep2", 22),
        ("ep4", 19),
    ]
    assert document["frames"] == 82
    assert [(e["id"], e["reason"]) for e in document["skipped"]] == [("ep3", "outcome failure")]
    assert document["episodes"][3]["dropped"] == {
        "gripper_controller/joint_trajectory: no command": 1,
        "servo_node/delta_twist_cmds: no command": 1,
    }
    assert document["hashes"]["contract"] == sim_contract().hash
    assert (folder / "contract.yaml").is_file()


def test_hugging_face_datasets_opens_it_with_images(folder, bags, tmp_path):
    data = datasets.load_dataset(
        "parquet",
        data_files=str(folder / "data" / "episode-ep1.parquet"),
        split="train",
        cache_dir=str(tmp_path),
    )
    assert isinstance(data.features["image.front"], datasets.Image)
    assert data.column_names == [
        "episode_id",
        "frame_index",
        "stamp_ns",
        "instruction",
        "outcome",
        "image.front",
        "state.joints",
        "state.ee",
        "state.gripper",
        "action",
    ]
    demo = write_demo(tmp_path / "again", seed=1, count=21)
    row = data[7]
    np.testing.assert_array_equal(np.asarray(row["image.front"]), demo.images[7])
    np.testing.assert_allclose(row["action"], demo.actions[7], atol=1e-6)
    assert (row["frame_index"], row["stamp_ns"]) == (7, demo.stamps_ns[7])
    assert row["instruction"] == "put the red cube on the blue plate"


def test_same_bags_same_data_set(bags, folder, tmp_path):
    """Deterministic, also in parallel and in another order."""
    paths = find_bags([bags])
    script = (
        "import sys; from roboalign_training.conversion import convert_cli;"
        "sys.exit(convert_cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "--workers", "2", "--out", str(tmp_path / "b")]
    done = subprocess.run(
        [*command, *map(str, reversed(paths))], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    made, before = files(tmp_path / "b"), files(folder)
    assert made.keys() == before.keys()
    for name in made:
        if made[name] != before[name]:
            assert table(made[name]) == table(before[name]), name
    hashes = [
        json.loads((f / "dataset.json").read_text())["hashes"] for f in (folder, tmp_path / "b")
    ]
    assert hashes[0] == hashes[1]


def test_an_episode_that_is_judged_again_leaves_the_data_set(tmp_path):
    """Marked as a failure afterwards it must not stay in what is trained on."""
    data, bags = tmp_path / "data", find_bags([write_recordings(tmp_path / "bags")])
    before = build_dataset(bags, None, data)
    name = sorted(before.episodes)[0]
    (bag,) = (path for path in bags if path.name == name)
    mark_outcome(bag.parent, name, "failure")
    after = build_dataset(bags, None, data)
    assert set(before.episodes) - set(after.episodes) == {name}
    assert not (data / before.episodes[name]["file"]).exists()
    assert "outcome failure" in {s["reason"] for s in after.skipped if s["id"] == name}
    mark_outcome(bag.parent, name, "success")
    again = build_dataset(bags, None, data)
    assert again.episodes.keys() == before.episodes.keys()
    assert len(load_frames(data)) == before.frames
    assert [s["id"] for s in again.skipped] == ["ep3"]


def test_converted_bags_are_not_converted_again(bags, tmp_path):
    out = tmp_path / "set"
    paths = find_bags([bags])
    build_dataset(paths[:2], None, out)
    before = {p: p.stat().st_mtime_ns for p in (out / "data").glob("*.parquet")}
    seen = []
    build_dataset(paths, None, out, on_bag=seen.append)
    assert [done.known for done in seen] == [True, True, False, False, False]
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in before.items())
    assert len(load_frames(out).episodes) == 4


def test_interrupted_run_is_picked_up(bags, tmp_path):
    """A run that was killed has written files, complete and pending ones, but no index."""
    out = tmp_path / "set"
    paths = find_bags([bags])
    build_dataset(paths[:2], None, out)
    (out / "dataset.json").unlink()
    (out / "data" / ".pending-0000-0.parquet").write_bytes(b"half of a file")
    seen = []
    build_dataset(paths[:3], sim_contract(), out, on_bag=seen.append)
    assert [done.known for done in seen] == [True, True, False]
    assert [e.id for e in load_frames(out).episodes] == ["ep0", "ep1", "ep2"]
    assert len(list((out / "data").iterdir())) == 3


def test_append_rewrites_nothing(bags, folder, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(folder, out)
    before = files(out)
    demo = write_demo(tmp_path / "new", seed=9, count=12)
    done = append_bag(demo.folder, out)
    assert [entry["id"] for entry in done.entries] == ["new"]
    after = files(out)
    assert after.keys() - before.keys() == {"episode-new.parquet"}
    assert all(after[name] == content for name, content in before.items())
    assert load_frames(out).hashes["dataset"] != load_frames(folder).hashes["dataset"]


def test_two_recordings_of_one_id(bags, tmp_path):
    write_demo(tmp_path / "a" / "one", seed=1)
    write_demo(tmp_path / "b" / "one", seed=2)
    index = build_dataset(find_bags([tmp_path]), None, tmp_path / "set")
    assert list(index.episodes) == ["one"]
    assert index.skipped[0]["reason"] == "episode id 'one' is already that of ../a/one"


def test_new_recording_in_the_old_place_replaces_the_episode(tmp_path):
    write_demo(tmp_path / "one", seed=1)
    build_dataset([tmp_path / "one"], None, tmp_path / "set")
    shutil.rmtree(tmp_path / "one")
    demo = write_demo(tmp_path / "one", seed=2, count=25)
    build_dataset([tmp_path / "one"], None, tmp_path / "set")
    data = load_frames(tmp_path / "set")
    np.testing.assert_array_equal(data.stamps_ns, demo.stamps_ns)


BAD_ACTIONS = make_actions(20, np.random.default_rng(0))
BAD_ACTIONS[7, 6] = 3.0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"count": 3}, "too short: 3 frames, expected at least 4"),
        ({"actions": BAD_ACTIONS}, "unsafe: action gripper of frame 7 is 3, limits [-1, 1]"),
        ({"count": 30, "without_command": tuple(range(10, 18))}, "gap of 0.90 s after frame 9"),
        ({"without_command": tuple(range(20))}, "delta_twist_cmds (geometry_msgs"),
        ({"verdict": "unfit: ee_pose: no message"}, "recorder's verdict: unfit: ee_pose"),
        ({"outcome": "discarded"}, "outcome discarded"),
        ({"custom": False}, "no instruction"),
    ],
)
def test_what_is_not_fit_is_left_out_with_the_reason(tmp_path, options, reason):
    write_demo(tmp_path / "good", seed=1)
    write_demo(tmp_path / "bad", **options)
    index = build_dataset([tmp_path / "good", tmp_path / "bad"], sim_contract(), tmp_path / "set")
    assert list(index.episodes) == ["good"]
    assert len(index.skipped) == 1
    assert reason in index.skipped[0]["reason"]


def test_nothing_fit_is_an_error_with_the_reasons(tmp_path):
    write_demo(tmp_path / "bad", outcome="failure")
    with pytest.raises(DatasetError, match=r"no episode to put in it: \.\./bad: outcome failure"):
        build_dataset([tmp_path / "bad"], None, tmp_path / "set")


def test_rules_can_be_chosen(tmp_path):
    write_demo(tmp_path / "short", outcome="failure", count=5)
    recipe = Recipe(outcomes=("failure",), min_frames=3, instruction="do it")
    index = build_dataset([tmp_path / "short"], None, tmp_path / "set", recipe=recipe)
    assert index.episodes["short"]["instruction"] == "do it"
    with pytest.raises(
        DatasetError,
        match=r"or other rules: instruction: found \"do it\", now null; min_fra",
    ):
        build_dataset([tmp_path / "short"], None, tmp_path / "set", recipe=Recipe())
    for wrong in ({"outcomes": ("good",)}, {"min_frames": 0}, {"max_gap_s": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Recipe(**wrong)


def test_another_contract_is_refused(folder, bags, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(folder, out)
    data = sim_contract().to_dict()
    data["rate_hz"] = 5.0
    words = 'contract: found "sim_panda .*", now "sim_panda .*nothing was changed: give those, or'
    with pytest.raises(DatasetError, match=words):
        build_dataset(find_bags([bags]), contract_from_dict(data), out)


def test_find_bags(bags, tmp_path):
    assert [p.name for p in find_bags([bags])] == [f"ep{i}" for i in range(5)]
    assert find_bags([bags / "ep0", bags])[0] == bags / "ep0"
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "killed_0.mcap").write_bytes(b"\x89MCAP0\r\n")
    assert find_bags([tmp_path]) == [tmp_path / "killed"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="no bag in it"):
        find_bags([tmp_path / "empty"])
    with pytest.raises(BagError, match="does not exist"):
        find_bags([tmp_path / "nowhere"])


def test_command_line(bags, tmp_path, capsys):
    out = tmp_path / "set"
    assert convert_cli.main([str(bags), "--out", str(out), "--workers", "1"]) == 0
    printed = capsys.readouterr()
    assert "4 episodes, 82 frames" in printed.out
    assert "ep3: outcome failure" in printed.err.replace("\n", "")


def test_command_line_with_a_broken_bag(bags, tmp_path, capsys):
    """Found on the way it is listed; asked for by name it is an error, and the others come in."""
    broken = tmp_path / "more" / "killed"
    broken.mkdir(parents=True)
    (broken / "killed_0.mcap").write_bytes((bags / "ep0" / "ep0.mcap").read_bytes()[:9000])
    shutil.copytree(bags / "ep1", tmp_path / "more" / "ep1")
    out = tmp_path / "set"
    assert convert_cli.main([str(tmp_path / "more"), "--out", str(out)]) == 0
    assert "is no complete MCAP file" in capsys.readouterr().err.replace("\n", "")
    skipped = json.loads((out / "dataset.json").read_text())["skipped"]
    assert [s["source"] for s in skipped] == ["../more/killed"]
    assert convert_cli.main([str(broken), str(bags / "ep2"), "--out", str(out)]) == 1
    assert [e.id for e in load_frames(out).episodes] == ["ep1", "ep2"]


def test_append_of_a_failure_is_no_error(bags, tmp_path):
    """What the recorder calls after each episode, whatever came of it."""
    out = tmp_path / "set"
    options = ["--append", "--contract", "sim_panda", "--out", str(out)]
    assert convert_cli.main([*options, str(bags / "ep3")]) == 0
    assert len(load_frames(out)) == 0
    assert convert_cli.main([*options, str(bags / "ep0")]) == 0
    assert len(load_frames(out)) == 20
