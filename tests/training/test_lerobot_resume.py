"""An export that is stopped goes on where it ended, and comes to the same LeRobot data set."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conversion_bags import two_cameras, write_bag
from lerobot_sets import arm_contract, make_dataset

from roboalign_training.data.dataset import build_dataset
from roboalign_training.data.errors import DatasetError
from roboalign_training.data.recipe import Recipe
from roboalign_training.data.video import CODECS, VideoWriter, join_videos
from roboalign_training.lerobot import assembly, export_cli
from roboalign_training.lerobot.export import export_dataset

SHAPE, EPISODES, FRAMES = (48, 64, 3), 5, 6
IMAGES = 2 * sum(FRAMES + n for n in range(EPISODES))
FILE_MB = 0.0055  # two episodes in a file

# A process that has loaded everything forks one child for each attempt, which is quick. A child is
# killed before or after its n-th change of a name or removal: what is left changes only there.
EVERY_STEP = """
import json, os, shutil, signal, sys
from pathlib import Path
from roboalign_training.lerobot import assembly
from roboalign_training.lerobot.episode_part import EpisodePart
from roboalign_training.lerobot.export import export_dataset

dataset, folder, images, file_mb, every = sys.argv[1:]
folder = Path(folder)
assembly.DATA_FILE_MB = assembly.VIDEO_FILE_MB = float(file_mb)

def attempt(number, deadly):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    seen = [0]
    def deadly_at(real):
        def call(*args, **options):
            seen[0] += 1
            if seen[0] == deadly and deadly % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            found = real(*args, **options)
            if seen[0] == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return found
        return call
    os.replace, os.unlink = deadly_at(os.replace), deadly_at(os.unlink)
    Path.unlink, shutil.rmtree = deadly_at(Path.unlink), deadly_at(shutil.rmtree)
    os.rmdir = deadly_at(os.rmdir)
    real = EpisodePart.make
    def make(self, on_frame):
        real(self, on_frame)
        with (folder / f"{number}.made").open("a") as log:
            log.write(self.path.name + "\\n")
    EpisodePart.make = make
    try:
        export_dataset(dataset, folder / "set", images=images)
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)

number = 1
while True:
    status = attempt(number, number)
    done = status == 0
    if not done:
        assert os.WIFSIGNALED(status), status
        assert attempt(number, 0) == 0
    assert not list(folder.glob(".*")), "something is left"
    (folder / "set").rename(folder / f"set-{number}")
    if done:
        break
    number += int(every)
print(number)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A data set of five episodes and two cameras, stored as pictures."""
    folder = tmp_path_factory.mktemp("ours") / "kitchen"
    make_dataset(folder, arm_contract(SHAPE), EPISODES, FRAMES, holes=(2,))
    return folder


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A data set of two episodes whose images are stored as video."""
    folder = tmp_path_factory.mktemp("filmed")
    bags = [write_bag(folder / f"{n}.mcap", 1.0, seed=n) for n in range(2)]
    recipe = Recipe(min_frames=1, images="video")
    build_dataset(bags, two_cameras(), folder / "set", recipe=recipe)
    return folder / "set"


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    """Files that are full after two episodes."""
    monkeypatch.setattr(assembly, "DATA_FILE_MB", FILE_MB)
    monkeypatch.setattr(assembly, "VIDEO_FILE_MB", FILE_MB)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pictures(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as video:
        return [(f.time, f.to_ndarray(format="rgb24").tobytes()) for f in video.decode(video=0)]


def same(one: Path, other: Path) -> None:
    """Both data sets have the same files with the same bytes; of videos say what differs."""
    first, second = contents(one), contents(other)
    assert list(first) == list(second)
    for name, data in first.items():
        if name.endswith(".mp4"):
            assert pictures(one / name) == pictures(other / name), name
        assert data == second[name], name


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


def resumed(dataset: Path, out: Path, **options) -> tuple[int, int]:
    """Finishes an export; how many images were there already, and how many were made."""
    calls: list[int] = []
    export_dataset(dataset, out, on_frame=calls.append, **options)
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []
    return sum(n for n in calls if n > 1), sum(n for n in calls if n == 1)


@pytest.mark.parametrize(
    ("source", "images", "every"),
    [("dataset", "h264", 13), ("dataset", "av1", 29), ("dataset", "png", 9), ("filmed", "png", 5)],
)
def test_killed_at_any_moment_it_comes_to_the_same(request, tmp_path, source, images, every):
    folder = request.getfixturevalue(source)
    export_dataset(folder, tmp_path / "whole", images=images)
    (tmp_path / "every").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", EVERY_STEP, folder, tmp_path / "every", images, str(FILE_MB),
         str(every)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    last = int(run.stdout)
    assert last > 4 * every, "killed at no more than a few moments"
    episodes = len(json.loads((folder / "dataset.json").read_text())["episodes"])
    for number in range(1, last + 1, every):
        same(tmp_path / "whole", tmp_path / "every" / f"set-{number}")
        made = (tmp_path / "every" / f"{number}.made").read_text().split()
        # Once each, but for the one that was made and not noted in the log when the kill came.
        assert len(made) == len(set(made)) >= episodes - 1


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


def begun(dataset: Path, out: Path, parts: int) -> subprocess.Popen:
    """The command, after it has made so many parts."""
    run = subprocess.Popen(
        [sys.executable, "-m", "roboalign_training.lerobot.export_cli", dataset, "--out", out],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    folder = out.with_name(f".{out.name}.partial") / "parts"
    end = time.monotonic() + 60
    while len(list(folder.glob("[!.]*"))) < parts:
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.001)
    return run


def test_the_command_stops_at_ctrl_c_or_a_kill_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.undo()  # a process of its own has files of full size
    dataset, out = tmp_path / "ours", tmp_path / "theirs"
    make_dataset(dataset, arm_contract((120, 160, 3)), 12, 40)
    total = 2 * sum(40 + n for n in range(12))
    for number, (kind, status) in enumerate(
        ((signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, 130))
    ):
        run = begun(dataset, out, 1 + 3 * number)
        os.kill(run.pid, kind)
        _, said = run.communicate(timeout=60)
        assert run.returncode == status, said
        assert not out.exists()
    assert said.strip() == "stopped: the same command goes on where this one ended"
    there, made = resumed(dataset, out)
    assert there >= 2 * 7 * 40
    assert there + made == total
    export_dataset(dataset, tmp_path / "whole")
    same(tmp_path / "whole", out)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_joined_videos_have_every_image_at_its_time(tmp_path, codec):
    """Also parts of one image, which have another delay; every episode begins at a key frame."""
    pieces, expected = [], []
    for number, count in enumerate((3, 1, 2, 5)):
        path = tmp_path / f"{number}.mp4"
        writer = VideoWriter(path, 30, SHAPE, CODECS[codec], 10)
        for at in range(count):
            writer.add(np.full(SHAPE, 60 * number + 10 * at, np.uint8))
        writer.close()
        pieces.append((path, count))
        expected += [image for _, image in pictures(path)]
    join_videos(pieces, Fraction(30), tmp_path / "joined.mp4")
    found = pictures(tmp_path / "joined.mp4")
    assert [image for _, image in found] == expected
    assert [time for time, _ in found] == pytest.approx([n / 30 for n in range(11)], abs=1e-6)
    with av.open(str(tmp_path / "joined.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.start_time, stream.frames) == (0, 11)
        assert stream.duration * stream.time_base == Fraction(11, 30)
        packets = [packet for packet in video.demux(video=0) if packet.dts is not None]
    assert all(packet.dts <= packet.pts for packet in packets)
    assert np.all(np.diff([packet.dts for packet in packets]) > 0)
    assert {packet.duration * stream.time_base for packet in packets} == {Fraction(1, 30)}
    assert all(packets[first].is_keyframe for first in (0, 3, 4, 6))
