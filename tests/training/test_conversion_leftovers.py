"""What a stopped conversion left, and what somebody removed, is never lost without a word."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conversion_bags import Trouble, two_cameras, write_bag
from demo_bags import write_demo
from test_conversion import content
from test_episode_names import snapshot

from roboalign_policy.ros.recording.bag_outcome import mark_outcome
from roboalign_training.bags.errors import RefusedError
from roboalign_training.conversion import bag_job, convert_cli, work_folder
from roboalign_training.conversion.build import open_index
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import DatasetIndex, load_index, locked
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.shared.left_out import STRICT_STATUS

MARKERS = (
    (0.1, 1.2, "one", "success"),
    (1.4, 2.4, "two", "success"),
    (2.5, 2.9, "bad", "failure"),
)


class Killed(BaseException):
    """Stands for the end of the process."""


def killed(*args):
    raise Killed


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recording of three episodes, one of them a failure, and a plain one."""
    folder = tmp_path_factory.mktemp("made")
    trouble = Trouble(lost=0.05, bad_heads=0.05)
    write_bag(folder / "a.mcap", 3.0, trouble=trouble, markers=MARKERS)
    write_bag(folder / "b.mcap", 1.0, seed=1)
    (folder / "contract.yaml").write_text(two_cameras().to_yaml())
    return folder


@pytest.fixture
def bags(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "bags"))


@pytest.fixture
def convert(bags, capsys):
    """Runs the command; (status, last line)."""

    def run(*names, out="set", more=()):
        words = [str(bags / name) for name in names]
        words += ["--contract", str(bags / "contract.yaml"), "--out", str(bags.parent / out)]
        status = convert_cli.main([*words, "--min-frames", "1", "--max-gap", "9", *more])
        said = capsys.readouterr()
        run.err = said.err
        return status, (said.out.splitlines() or [""])[-1]

    return run


@pytest.fixture
def stop(convert, monkeypatch):
    """Converts `a.mcap` and kills that: at the n-th episode's renaming, or before the index."""

    def run(at):
        real, seen = Path.replace, []

        def replace(self, target):
            seen.append(target)
            if len(seen) == at:
                raise Killed
            return real(self, target)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Path, "replace", replace)
            patch.setattr(DatasetIndex, "save", killed)
            convert("a.mcap")

    return run


def by_convert(convert, bags):
    assert convert("b.mcap")[0] == 0


def by_append(convert, bags):
    assert convert("b.mcap", more=["--append"])[0] == 0


def by_import(convert, bags):
    """As an import does, which knows no bags."""
    out = bags.parent / "set"
    with locked(out):
        open_index(out, two_cameras(), (), Recipe(min_frames=1, max_gap_s=9.0)).save()
    convert("b.mcap")


@pytest.mark.parametrize("other", [by_convert, by_append, by_import])
@pytest.mark.parametrize("at", [1, 2, 99])
def test_another_conversion_loses_nothing_of_one_that_was_stopped(
    bags, convert, stop, at, other, tmp_path
):
    convert("b.mcap", out="fresh")
    expected = convert("a.mcap", out="fresh", more=["--strict"])
    assert expected[0] == STRICT_STATUS and "1 episode (outcome not wanted)" in expected[1]
    stop(at)
    other(convert, bags)
    assert convert("a.mcap", more=["--strict"]) == expected
    assert convert("a.mcap", more=["--strict"]) == expected
    assert content(tmp_path / "set") == content(tmp_path / "fresh")


def test_neither_does_one_by_another_version(bags, convert, stop, monkeypatch, tmp_path):
    """Parts of the older one do not fit: the bag is read again as a whole."""
    stop(2)
    monkeypatch.setattr(work_folder, "tool_version", lambda: "roboalign 99")
    convert("b.mcap")
    status, line = convert("a.mcap", more=["--strict"])
    assert status == STRICT_STATUS and "outcome not wanted" in line
    assert set(load_index(tmp_path / "set").episodes) == {"one", "two", "b"}
    assert not (tmp_path / "set/.parts").exists()


def test_nor_one_that_cannot_read_the_bag(bags, convert, stop, tmp_path):
    stop(2)
    data = (bags / "a.mcap").read_bytes()
    (bags / "a.mcap").write_bytes(data[:-100])
    assert convert("a.mcap", "b.mcap") == (1, "left out: 1 bag (cannot be read)")
    (bags / "a.mcap").write_bytes(data)
    status, line = convert("a.mcap", more=["--strict"])
    assert status == STRICT_STATUS and "outcome not wanted" in line
    assert set(load_index(tmp_path / "set").episodes) == {"one", "two", "b"}
    assert not (tmp_path / "set/.parts").exists()


def test_the_parts_of_a_bag_that_is_not_given_stay(bags, convert, monkeypatch, tmp_path):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(bag_job.EpisodeJob, "_finish", killed)
        convert("a.mcap")
    (kept,) = (tmp_path / "set/.parts").iterdir()
    before = snapshot(kept)
    assert any(name.endswith(".part") for name in before)
    convert("b.mcap")
    assert snapshot(kept) == before
    convert("a.mcap")
    assert not (tmp_path / "set/.parts").exists()
    assert set(load_index(tmp_path / "set").episodes) == {"one", "two", "b"}


def test_two_names_of_a_recording_that_was_finished_are_one(
    bags, convert, stop, monkeypatch, tmp_path
):
    """Both have a result; the sheet is that of the first."""
    shutil.copy(bags / "a.mcap", bags / "c.mcap")
    stop(99)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(DatasetIndex, "save", killed)
        convert("c.mcap")
    assert convert("b.mcap")[0] == 0
    assert {e["source"] for e in load_index(tmp_path / "set").episodes.values()} == {
        "../bags/a.mcap",
        "../bags/b.mcap",
    }


@pytest.fixture
def robbed(convert, tmp_path):
    """A data set of both bags that has lost the file of an episode."""
    convert("a.mcap", "b.mcap")
    whole = content(tmp_path / "set")
    (tmp_path / "set/data/episode-two.parquet").unlink()
    return tmp_path / "set", whole


@pytest.mark.parametrize("more", [[], ["--append"]])
def test_a_missing_file_is_refused_before_anything_is_written(robbed, bags, convert, more):
    out, _ = robbed
    before = snapshot(out)
    assert convert("b.mcap", more=more)[0] == 2
    assert (
        "set: dataset.json names files that are missing: data/episode-two.parquet; nothing was "
        "changed: put them back, give what they were made of again (../bags/a.mcap), or name a "
        "new folder"
    ) in convert.err
    with pytest.raises(RefusedError, match=r"missing: data/episode-two\.parquet; nothing was"):
        open_index(out, two_cameras(), (), None)
    assert snapshot(out) == before


def test_it_is_made_again_when_its_bag_is_given(robbed, convert):
    out, whole = robbed
    assert "(outcome not wanted)" in convert("a.mcap")[1]
    assert content(out) == whole


def test_it_is_forgotten_when_another_source_is_said_to_come_again(robbed):
    out, _ = robbed
    index = open_index(out, two_cameras(), (), None, again=["../bags/a.mcap"])
    assert set(index.episodes) == {"one", "b"}


def test_many_missing_files_are_counted(robbed, convert):
    out, _ = robbed
    for path in (out / "data").iterdir():
        path.unlink()
    convert("b.mcap")
    assert "missing: data/episode-one.parquet, data/episode-two.parquet; nothing" in convert.err


def test_a_data_set_that_loses_its_last_episode_is_whole_all_the_same(tmp_path, capsys):
    """It was judged again: that must not leave an index that names a file that is gone."""
    write_demo(tmp_path / "bags/a")
    write_demo(tmp_path / "bags/b", seed=2)
    out = ["--out", str(tmp_path / "set")]
    assert convert_cli.main([str(tmp_path / "bags/a"), *out]) == 0
    mark_outcome(tmp_path / "bags", "a", "failure")
    for _ in range(2):
        assert convert_cli.main([str(tmp_path / "bags/a"), *out]) == 1
        said = capsys.readouterr().out.splitlines()
        assert said[-1] == "left out: 1 episode (outcome not wanted)"
        assert len(load_frames(tmp_path / "set").episodes) == 0
    assert convert_cli.main([str(tmp_path / "bags/b"), *out]) == 0
