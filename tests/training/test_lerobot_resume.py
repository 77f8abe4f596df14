"""An export that is stopped goes on where it ended, and comes to the same LeRobot data set."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest
from lerobot_same import resumed, same
from lerobot_sets import arm_contract, make_dataset

from roboalign_training.bags.errors import DatasetError
from roboalign_training.lerobot import assembly, export_cli
from roboalign_training.lerobot.export import export_dataset

SHAPE, EPISODES, FRAMES = (48, 64, 3), 5, 6
IMAGES = 2 * sum(FRAMES + n for n in range(EPISODES))
FILE_MB = 0.0055  # two episodes in a file


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A data set of five episodes and two cameras, stored as pictures."""
    folder = tmp_path_factory.mktemp("ours") / "kitchen"
    make_dataset(folder, arm_contract(SHAPE), EPISODES, FRAMES, holes=(2,))
    return folder


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Files that are full after two episodes."""
    monkeypatch.setattr(assembly, "DATA_FILE_MB", FILE_MB)
    monkeypatch.setattr(assembly, "VIDEO_FILE_MB", FILE_MB)


class Stop(Exception):
    """What `stop_after` raises."""


def stop_after(count: int):
    """An `on_frame` that ends an export after so many images."""
    left = [count]

    def on_frame(images: int) -> None:
        left[0] -= images
        if left[0] <= 0:
            raise Stop

    return on_frame


def stopped(dataset: Path, out: Path, after: int = IMAGES // 2, **options) -> Path:
    """Begins an export and stops it after so many images; gives the folder of its parts."""
    with pytest.raises(Stop):
        export_dataset(dataset, out, on_frame=stop_after(after), **options)
    assert not out.exists()
    return out.with_name(f".{out.name}.partial") / "parts"


def test_what_is_done_is_not_made_again(dataset, tmp_path):
    parts = stopped(dataset, tmp_path / "theirs")
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in parts.glob("[!.]*/*")}
    held = len(list(parts.glob("[!.]*")))
    assert held == 2
    there = 2 * (FRAMES + FRAMES + 1)
    with pytest.raises(Stop):
        export_dataset(dataset, tmp_path / "theirs", on_frame=stop_after(there + 1))
    assert {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in before} == before
    assert resumed(dataset, tmp_path / "theirs") == (there, IMAGES - there)
    export_dataset(dataset, tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "theirs")


def test_finished_files_are_kept_and_their_parts_are_gone(dataset, tmp_path, monkeypatch):
    """Stopped while files are put together: at the second file of the second stream."""
    export_dataset(dataset, tmp_path / "whole")
    calls, real = [], assembly.join_videos

    def join(*args):
        calls.append(args)
        if len(calls) == 5:
            raise Stop
        real(*args)

    monkeypatch.setattr(assembly, "join_videos", join)
    with pytest.raises(Stop):
        export_dataset(dataset, tmp_path / "theirs")
    partial = tmp_path / ".theirs.partial"
    kept = {p: p.stat().st_ino for p in partial.rglob("file-*.mp4")}
    assert len(kept) == 4
    left = sorted(p.name for p in partial.glob("parts/*/*.mp4"))
    assert left.count("image.front.mp4") == 0
    assert left.count("image.wrist.mp4") == 3
    assert resumed(dataset, tmp_path / "theirs") == (IMAGES, 0)
    inodes = {p.stat().st_ino for p in (tmp_path / "theirs").rglob("*.mp4")}
    assert set(kept.values()) <= inodes
    same(tmp_path / "whole", tmp_path / "theirs")


@pytest.mark.parametrize(("images", "kinds"), [("h264", 3), ("png", 1)])
def test_progress_reaches_every_frame_of_every_file(dataset, tmp_path, monkeypatch, images, kinds):
    filed: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "write_metadata", lambda *args: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            export_dataset(dataset, tmp_path / "set", images=images, on_filed=filed.append)
    assert len(filed) > 2 * kinds, "not file by file"
    assert sum(filed) == kinds * IMAGES // 2
    again: list[int] = []
    export_dataset(dataset, tmp_path / "set", images=images, on_filed=again.append)
    assert again == [IMAGES // 2] * kinds, "what is complete counts at once"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["facts", "image.wrist.mp4"])
@pytest.mark.parametrize("change", [damage, Path.unlink, lambda p: p.write_bytes(b"")])
def test_a_damaged_part_is_made_anew(dataset, tmp_path, name, change):
    parts = stopped(dataset, tmp_path / "theirs")
    change(sorted(parts.glob(f"[!.]*/{name}"))[0])
    there, made = resumed(dataset, tmp_path / "theirs")
    assert there in (2 * FRAMES, 2 * (FRAMES + 1))
    assert there + made == IMAGES
    export_dataset(dataset, tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "theirs")


def test_a_damaged_file_is_made_anew(dataset, tmp_path, monkeypatch):
    export_dataset(dataset, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "write_metadata", lambda *args: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            export_dataset(dataset, tmp_path / "theirs")
    damage(next((tmp_path / ".theirs.partial").rglob("observation.images.front/*/file-001.mp4")))
    there, made = resumed(dataset, tmp_path / "theirs")
    assert there == 2 * (FRAMES + FRAMES + 1)
    assert there + made == IMAGES
    same(tmp_path / "whole", tmp_path / "theirs")


def test_parts_of_something_else_are_not_used_and_go(dataset, tmp_path, monkeypatch):
    out = tmp_path / "theirs"
    make_dataset(tmp_path / "other", arm_contract(SHAPE, name="other"), EPISODES, FRAMES)
    for source, options in (
        (tmp_path / "other", {}),
        (dataset, {"crf": 40}),
        (dataset, {"images": "png"}),
    ):
        before = set(stopped(source, out, **options).iterdir())
        parts = stopped(dataset, out, after=1)
        assert not before & set(parts.iterdir())
        assert len(list(parts.glob("[!.]*"))) == 0
    stopped(dataset, out)
    monkeypatch.setattr("av.__version__", "0")
    assert resumed(dataset, out) == (0, IMAGES)


def test_episodes_that_are_the_same_in_a_grown_data_set_are_kept(dataset, tmp_path):
    make_dataset(tmp_path / "fewer", arm_contract(SHAPE), 2, FRAMES)
    stopped(tmp_path / "fewer", tmp_path / "theirs", after=2 * FRAMES + 1)
    there = 2 * FRAMES
    assert resumed(dataset, tmp_path / "theirs") == (there, IMAGES - there)
    export_dataset(dataset, tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "theirs")


def test_an_episode_that_cannot_be_read_leaves_what_was_done(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "ours")
    path = sorted((tmp_path / "ours/data").iterdir())[3]
    whole = path.read_bytes()
    path.write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="cannot be read"):
        export_dataset(tmp_path / "ours", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
    path.write_bytes(whole)
    there = 2 * sum(FRAMES + n for n in range(3))
    assert resumed(tmp_path / "ours", tmp_path / "theirs") == (there, IMAGES - there)


def test_what_else_lies_there_is_cleared_and_two_at_once_are_not_let_in(dataset, tmp_path):
    left = tmp_path / ".theirs.partial"
    (left / "data").mkdir(parents=True)
    (left / "data/half.parquet").write_bytes(b"half")
    with (left / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DatasetError, match="another export is writing it"):
            export_dataset(dataset, tmp_path / "theirs", images="png")
    export_dataset(dataset, tmp_path / "theirs", images="png")
    assert [p.name for p in tmp_path.iterdir()] == ["theirs"]
    assert not list((tmp_path / "theirs").rglob("half*"))


def test_a_kill_between_naming_and_clearing_up_is_no_other_export(dataset, tmp_path, capsys):
    export_dataset(dataset, tmp_path / "theirs", images="png")
    (tmp_path / ".theirs.partial/parts").mkdir(parents=True)
    command = [str(dataset), "--out", str(tmp_path / "theirs"), "--images", "png"]
    assert export_cli.main(command) == 0
    assert "the same export was there" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["theirs"]
