"""An export that is killed at any moment comes to the same bytes; joined videos are in time."""

from __future__ import annotations

import json
import os
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
from lerobot_same import pictures, resumed, same
from lerobot_sets import arm_contract, make_dataset

from roboalign_training.conversion.build import build_dataset
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.images.video import CODECS, VideoWriter
from roboalign_training.images.video_joining import join_videos
from roboalign_training.lerobot import assembly
from roboalign_training.lerobot.export import export_dataset

SHAPE = (48, 64, 3)
FILE_MB = 0.0055  # two episodes in a file

# A process that has loaded everything forks one child for each attempt, which is quick. A child is
# killed before or after its n-th change of a name or removal: what is left changes only there.
EVERY_STEP = """
import json, os, shutil, signal, sys
from pathlib import Path
import datasets, pandas
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
            place = seen[0]  # what is called within has places of its own
            if place == deadly and deadly % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*args, **options)
            finally:  # there may have been nothing to remove
                if place == deadly:
                    os.kill(os.getpid(), signal.SIGKILL)
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
    """A data set of three episodes and two cameras, stored as pictures."""
    folder = tmp_path_factory.mktemp("ours") / "kitchen"
    make_dataset(folder, arm_contract(SHAPE), 3, 6, holes=(2,))
    return folder


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    """A data set of two episodes whose images are stored as video."""
    folder = tmp_path_factory.mktemp("filmed")
    bags = [write_bag(folder / f"{n}.mcap", 1.0, seed=n) for n in range(2)]
    recipe = Recipe(min_frames=1, images="video")
    build_dataset(bags, two_cameras(), folder / "set", recipe=recipe)
    return folder / "set"


@pytest.mark.parametrize(
    ("source", "images", "every"),
    [("dataset", "h264", 9), ("dataset", "av1", 9), ("dataset", "png", 9), ("filmed", "png", 5)],
)
def test_killed_at_any_moment_it_comes_to_the_same(
    request, monkeypatch, tmp_path, source, images, every
):
    folder = request.getfixturevalue(source)
    for name in ("DATA_FILE_MB", "VIDEO_FILE_MB"):
        monkeypatch.setattr(assembly, name, FILE_MB)
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


def test_the_command_stops_at_ctrl_c_or_a_kill_and_goes_on(tmp_path):
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


def noisy_images(count: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Pictures that move and flicker, which leave x264 something to decide."""
    rng = np.random.default_rng(seed)
    small = rng.integers(6, 250, (shape[0] // 8, shape[1] // 8, 3), np.uint8)
    whole = small.repeat(8, 0).repeat(8, 1)
    return np.stack(
        [np.roll(whole, 3 * n, 1) + rng.integers(-6, 6, shape, np.int8) for n in range(count)]
    ).astype(np.uint8)


def test_the_same_images_are_the_same_bytes_whatever_stood_in_memory(tmp_path, monkeypatch):
    """Two processes whose C library fills memory with other bytes."""
    monkeypatch.setattr("lerobot_sets.smooth_images", noisy_images)
    make_dataset(tmp_path / "ours", arm_contract((240, 320, 3)), 1, 60)
    for fill in ("1", "200"):
        subprocess.run(
            [sys.executable, "-m", "roboalign_training.lerobot.export_cli", tmp_path / "ours",
             "--out", tmp_path / fill],
            env={**os.environ, "MALLOC_PERTURB_": fill}, check=True, capture_output=True,
        )  # fmt: skip
    same(tmp_path / "1", tmp_path / "200")


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
        assert {packet.duration * stream.time_base for packet in packets} == {Fraction(1, 30)}
    with av.open(str(pieces[0][0])) as video:
        first = next(video.demux(video=0))
    assert packets[0].dts == first.dts, "as the encoder would have it"
    assert all(packet.dts <= packet.pts for packet in packets)
    assert np.all(np.diff([packet.dts for packet in packets]) > 0)
    assert all(packets[first].is_keyframe for first in (0, 3, 4, 6))
