"""Recordings of different names are different episodes, in any script and of any length."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from demo_bags import write_demo

from roboalign_training.conversion import convert_cli, entering
from roboalign_training.conversion.build import build_dataset, find_bags
from roboalign_training.conversion.target import LONGEST_NAME, safe_name
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import load_index
from roboalign_training.shared.left_out import STRICT_STATUS

NAMES = ["抓取", "放置", "détache", "dètache", "take #1", "take (1", "ordinary-1.b_c"]


def snapshot(folder):
    """Every file with its content and the time of its last change; but for the lock."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_names_are_names_of_files():
    made = {safe_name(name) for name in [*NAMES, "x" * 300, "x" * 301, "", "a_b", "a b", "a/b"]}
    assert len(made) == len(NAMES) + 6
    assert all(len(name) <= LONGEST_NAME + 20 and name.isascii() for name in made)
    for plain in ("20250102T030405-1a2b", "ordinary-1.b_c", "x" * 100):
        assert safe_name(plain) == plain


def test_every_name_is_an_episode(tmp_path, capsys):
    for number, name in enumerate([*NAMES, "y" * 245]):
        write_demo(tmp_path / f"{number}", episode_id=name, seed=number, count=8 + number)
        if number < len(NAMES):
            (tmp_path / f"{number}").rename(tmp_path / name)
    out = tmp_path / "set"
    bags = find_bags([tmp_path])
    words = [*map(str, bags), "--out", str(out)]
    assert convert_cli.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "left out: nothing"
    data = load_frames(out)
    assert {e.id: len(e) for e in data.episodes} == {
        name: 8 + number for number, name in enumerate([*NAMES, "y" * 245])
    }
    before = snapshot(out)
    assert convert_cli.main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert "(0 new episodes; 8 of 8 bags were in it before)" in said[-2]
    assert snapshot(out) == before


@pytest.fixture
def older(tmp_path, monkeypatch):
    """A data set of two bags as versions made it whose file names fell together."""
    for number, name in enumerate(["take #1", "take (1"]):
        write_demo(tmp_path / "bags" / f"{number}", episode_id=name, seed=number)
    out = tmp_path / "set"
    build_dataset(find_bags([tmp_path / "bags" / "0"]), None, out)
    (made,) = (out / "data").glob("*.parquet")
    made.rename(out / "data/episode-take__1.parquet")
    document = json.loads((out / "dataset.json").read_text())
    (entry,) = document["episodes"]
    entry["file"] = "data/episode-take__1.parquet"
    other = build_dataset([tmp_path / "bags" / "1"], None, tmp_path / "other")
    (second,) = other.episodes.values()
    reason = "episode id 'take (1' is already that of ../bags/0"
    document["skipped"] = [
        {"id": "take (1", "source": "../bags/1", "bag_sha256": second["bag_sha256"],
         "reason": reason}
    ]  # fmt: skip
    (out / "dataset.json").write_text(json.dumps(document))
    return tmp_path / "bags", out


def test_an_older_data_set_keeps_its_files_and_gets_what_it_had_lost(older):
    bags, out = older
    kept = (out / "data/episode-take__1.parquet").read_bytes()
    index = build_dataset(find_bags([bags]), None, out)
    assert set(index.episodes) == {"take #1", "take (1"} and not index.skipped
    assert index.episodes["take #1"]["file"] == "data/episode-take__1.parquet"
    assert (out / "data/episode-take__1.parquet").read_bytes() == kept
    assert index.episodes["take (1"]["file"] != "data/episode-take__1.parquet"


def test_a_new_recording_replaces_the_old_file_of_another_name(older):
    bags, out = older
    shutil.rmtree(bags / "0")
    write_demo(bags / "0", episode_id="take #1", seed=7, count=9)
    index = build_dataset([bags / "0"], None, out)
    assert index.episodes["take #1"]["frames"] == 9
    assert not (out / "data/episode-take__1.parquet").exists()
    assert {f"data/{p.name}" for p in (out / "data").iterdir()} == {
        e["file"] for e in index.episodes.values()
    }


def test_an_older_file_is_not_taken_by_an_id_of_its_name(older):
    bags, out = older
    write_demo(bags / "2", episode_id="take__1", seed=5, count=11)
    build_dataset([bags / "2"], None, out)
    assert {e.id: len(e) for e in load_frames(out).episodes} == {"take #1": 20, "take__1": 11}


def test_episodes_are_found_again_by_their_files(tmp_path, monkeypatch):
    """As after a run that was killed before its index was written."""
    write_demo(tmp_path / "a", episode_id="抓取")
    out = tmp_path / "set"
    build_dataset([tmp_path / "a"], None, out)
    before = load_index(out).hashes
    (out / "dataset.json").unlink()
    monkeypatch.setattr(entering, "name_digest", lambda name: pytest.fail("nothing is in its way"))
    assert build_dataset([tmp_path / "a"], None, out).hashes == before


def test_a_name_that_is_no_text(tmp_path, capsysbinary):
    """As on a disk of another system: bytes that are no UTF-8."""
    write_demo(tmp_path / "a", custom=False)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    (tmp_path / "a").rename(odd)
    words = [odd, "--contract", "sim_panda", "--instruction", "x", "--out", str(tmp_path / "set")]
    assert convert_cli.main(words) == 0
    assert list(load_index(tmp_path / "set").episodes) == ["caf\\xe9"]
    assert convert_cli.main(words) == 0


@pytest.mark.parametrize("again", [shutil.copytree, lambda source, link: link.symlink_to(source)])
def test_one_recording_under_two_names_is_one(tmp_path, capsys, again):
    """A repeated call says and ends as the first one: the one sheet is not counted twice."""
    write_demo(tmp_path / "bags/a", episode_id="a", count=30, without_command=(12,))
    again(tmp_path / "bags/a", tmp_path / "bags/b")
    words = [str(tmp_path / "bags"), "--out", str(tmp_path / "set"), "--strict"]
    for known in (0, 2, 2):
        assert convert_cli.main(words) == STRICT_STATUS
        said = capsys.readouterr().out.splitlines()
        assert f"{known} of 2 bags were in it before" in said[-2]
        assert said[-1].startswith("left out: 1 frame (")
        assert said[-1].endswith("no command), 1 bag (a copy of another one)")
        assert len(load_index(tmp_path / "set").episodes) == 1
