"""A disk without room: one line with the path, status 1, nothing half made, and it goes on after.

A limit on the size of files stands in for the disk: any write beyond it fails, as on a disk that
is full, and no other process notices.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from demo_bags import write_demo

from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.fit import fit_dataset
from roboalign_training.data.index import load_index
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.shared.outputs import content_hash

IN_A_ROOM_OF = """
import contextlib, io, json, resource, sys, traceback

def limited(size):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))
"""
COMMANDS = f"""{IN_A_ROOM_OF}
from roboalign_training import cli

def call(words, size):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        limited(size)
        try:
            status = cli.main(words)
        except BaseException:
            status = traceback.format_exc()
        finally:
            limited(None)
    return status, err.getvalue()

if __name__ == "__main__":
    for line in sys.stdin:
        words, size = json.loads(line)
        print(json.dumps(call(words, size)), flush=True)
"""
VIDEOS = f"""{IN_A_ROOM_OF}
from fractions import Fraction
from pathlib import Path
import numpy as np
from roboalign_training.images.video import CODECS, VideoWriter, read_frames
from roboalign_training.images.video_joining import join_videos

folder, codec = Path(sys.argv[1]), CODECS[sys.argv[2]]
images = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8)

def write(path):
    video = VideoWriter(path, 10, (64, 64, 3), codec, codec.crf)
    with contextlib.closing(video):
        for image in images:
            video.add(image)

def join(path):
    join_videos([(folder / "whole.mp4", 12)] * 2, Fraction(10), path)

write(folder / "whole.mp4")
for make, count in ((write, 12), (join, 24)):
    path = folder / f"{{make.__name__}}.mp4"
    make(path)
    whole = path.stat().st_size
    for size in (0, 1, 30, 500, whole // 2, whole - 1, whole):
        path.unlink()
        limited(size)
        try:
            make(path)
            told = None
        except OSError as error:
            told = [error.errno, error.filename]
        finally:
            limited(None)
        frames = sum(1 for _ in read_frames(path, 0, count, 10)) if told is None else 0
        print(json.dumps([size, whole, told, frames, str(path)]), flush=True)
"""


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_a_video_that_cannot_be_written_is_an_error_and_no_crash(tmp_path, codec):
    """FFmpeg crashes when it goes on after the head of a file could not be written."""
    done = subprocess.run(
        [sys.executable, "-c", VIDEOS, str(tmp_path), codec],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 14
    for size, whole, told, frames, path in lines:
        if size < whole:
            assert told and told[1] == path, (size, whole)
        else:
            assert told is None and frames in (12, 24)


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_base):
    """Bags, a fitted data set of them, its export, and a base model."""
    folder = tmp_path_factory.mktemp("world")
    for number in range(2):
        write_demo(folder / "bags" / f"ep{number}", seed=number, count=16)
    build_dataset(sorted((folder / "bags").iterdir()), None, folder / "data")
    fit_dataset(folder / "data", vocab_size=128)
    export_dataset(folder / "data", folder / "theirs")
    (folder / "base").symlink_to(tiny_base)
    return folder


@pytest.fixture(scope="module")
def call():
    """Runs a command line where files may have so many bytes; its status and stderr."""
    command = [sys.executable, "-c", COMMANDS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(words, size=None):
            process.stdin.write(json.dumps([list(map(str, words)), size]) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, f"the program ended with {process.wait(10)}"
            return json.loads(line)

        yield run
        process.stdin.close()


def words_of(name: str, world: Path, out: Path) -> list:
    """The command line that makes `out`."""
    sft = "--max_steps 1 --per_device_train_batch_size 2 --weight_scene 0 --dev_frames 1"
    return {
        "export": ["export", world / "data", "--out", out],
        "export png": ["export", world / "data", "--out", out, "--images", "png"],
        "convert": ["convert", world / "bags", "--out", out],
        "convert video": ["convert", world / "bags", "--out", out, "--images", "video"],
        "import": ["import", world / "theirs", "--out", out],
        "recover": ["recover", world / "bags/ep0", "--out", out],
        "sft": [
            "sft", "--dataset", world / "data", "--base", world / "base", "--out", out,
            "--max_answer_tokens", "4", *sft.split(),
        ],
    }[name]  # fmt: skip


WHOLE = {"convert": "dataset.json", "import": "dataset.json", "sft": "result.json"}
"""What a whole result has; of the others the folder itself appears when all is there."""


@pytest.mark.parametrize(
    "name", ["export", "export png", "convert", "convert video", "import", "recover", "sft"]
)
def test_one_line_names_the_place_and_nothing_is_taken_for_whole(name, world, tmp_path, call):
    out, words = tmp_path / "out", words_of(name, world, tmp_path / "out")
    for size in (0, 2000):
        status, said = call(words, size)
        assert status == 1, said
        assert "Traceback" not in said and len(said.splitlines()) == 1, said
        assert str(tmp_path) in said and "File too large" in said, said
        whole = WHOLE.get(name.split()[0])
        assert not (out / whole if whole else out).exists()
    status, said = call(words)
    assert status == 0, said
    assert (out / WHOLE.get(name.split()[0], "")).exists()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["out"], "nothing is left beside it"


def test_a_tokenizer_that_has_no_room_leaves_the_old_one(world, tmp_path, call):
    words = ["fit-tokenizer", tmp_path / "data", "--vocab-size", "140", "--overwrite"]
    build_dataset(sorted((world / "bags").iterdir()), None, tmp_path / "data")
    fit_dataset(tmp_path / "data", vocab_size=128)
    before = content_hash(tmp_path / "data")
    for size in (0, 1000):
        status, said = call(words, size)
        assert (status, len(said.splitlines())) == (1, 1), said
        assert f"{tmp_path / 'data'}" in said and "File too large" in said
        assert content_hash(tmp_path / "data") == before
    assert call(words)[0] == 0
    assert load_index(tmp_path / "data").fitted["options"]["vocab_size"] == 140


def test_several_processes_of_a_conversion_tell_it_too(world, tmp_path, call):
    words = [*words_of("convert", world, tmp_path / "out"), "--workers", "2"]
    status, said = call(words, 0)
    assert status == 1 and len(said.splitlines()) == 1
    assert f"{tmp_path / 'out'}" in said and "File too large" in said
    assert call(words)[0] == 0
