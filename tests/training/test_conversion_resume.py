"""A conversion that is killed goes on where it ended, and comes to the same data set."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conversion_bags import Trouble, two_cameras, write_bag

from roboalign_training.conversion.build import build_dataset
from roboalign_training.conversion.parts import PartWriter, read_part
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.episodes.recipe import Recipe

SMALL = 40_000
MARKERS = (
    (0.1, 1.2, "one", "success"),
    (1.4, 2.4, "two", "success"),
    (2.5, 2.9, "bad", "failure"),
)

CONVERT = """
import sys
from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.conversion.build import build_dataset, find_bags
from roboalign_training.episodes.recipe import Recipe

def convert(out, contract, bags, choice, workers=1):
    recipe = Recipe(min_frames=1, max_gap_s=100.0, images=choice)
    build_dataset(find_bags(bags), load_contract(contract), out, recipe=recipe, workers=workers,
                  segment_bytes=40_000)
"""

ONCE = (
    CONVERT
    + """
if __name__ == "__main__":
    out, contract, choice, workers, *bags = sys.argv[1:]
    convert(out, contract, bags, choice, int(workers))
"""
)

# A process that has loaded everything, also what a conversion loads on its way, forks one child
# for each attempt, which is quick. A child dies at its n-th renaming: what a conversion leaves
# behind changes only there.
EVERY_STEP = (
    CONVERT
    + """
import json, os, shutil, signal
from pathlib import Path
import av, datasets
from roboalign_training.conversion.pictures import PictureJob
from roboalign_training.conversion.scanning import ScanJob
from roboalign_training.bags.bags import read_bag

folder, contract, choice, every, *bags = sys.argv[1:]
folder, every = Path(folder), int(every)
for bag in find_bags(bags):
    read_bag(bag)  # the definitions of its types

def attempt(number, deadly):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    seen, rename = [0], os.replace
    def replace(source, target):
        seen[0] += 1
        if seen[0] == deadly and deadly % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
        if seen[0] == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace
    for kind in (ScanJob, PictureJob):
        def run(self, real=kind.run):
            with (folder / f"{number}.jobs").open("a") as log:
                log.write(self.path.name + "\\n")
            real(self)
        kind.run = run
    try:
        convert(folder / "set", contract, bags, choice)
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)

number = 1
while True:
    status = attempt(number, number)
    done = status == 0
    while status:
        assert os.WIFSIGNALED(status), status
        status = attempt(number, 0)
    files = {str(p.relative_to(folder / "set")): p.read_bytes().hex()
             for p in sorted((folder / "set").rglob("*")) if p.is_file()}
    (folder / f"{number}.json").write_text(json.dumps(files))
    shutil.rmtree(folder / "set")
    if done:
        break
    number += every
print(number)
"""
)


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """A recording of three marked episodes, one a failure, and a plain one beside it."""
    folder = tmp_path_factory.mktemp("resume")
    trouble = Trouble(jitter_s=0.01, bad_pixels=0.05)
    write_bag(folder / "bags/a.mcap", 3.0, trouble=trouble, markers=MARKERS)
    write_bag(folder / "bags/b.mcap", 1.0, seed=1)
    (folder / "contract.yaml").write_text(two_cameras().to_yaml())
    (folder / "once.py").write_text(ONCE)
    (folder / "every.py").write_text(EVERY_STEP)
    return folder


def content(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): p.read_bytes().hex()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def command(bags: Path, out: Path, choice: str, workers: int) -> list[str]:
    parts = [sys.executable, bags / "once.py", out, bags / "contract.yaml", choice, workers]
    return [*map(str, parts), str(bags / "bags")]


@pytest.mark.parametrize(("choice", "every"), [("auto", 3), ("video", 5)])
def test_killed_at_any_step_the_result_is_the_same(bags, choice, every):
    folder = bags / choice
    folder.mkdir()
    parts = [bags / "every.py", folder, bags / "contract.yaml", choice, every, bags / "bags"]
    done = subprocess.run(
        [sys.executable, *map(str, parts)], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    last = int(done.stdout)
    assert last > 20, "it was killed at many places"
    uninterrupted = json.loads((folder / f"{last}.json").read_text())
    assert any("episode-one.parquet" in name for name in uninterrupted)
    assert not any(".parts" in name for name in uninterrupted)
    jobs = (folder / f"{last}.jobs").read_text().split()
    for number in range(1, last, every):
        assert json.loads((folder / f"{number}.json").read_text()) == uninterrupted, number
        # Whatever was finished is not done again: at most the job that was killed.
        redone = len((folder / f"{number}.jobs").read_text().split()) - len(jobs)
        assert redone <= 1, (number, redone)


@pytest.fixture(scope="module")
def whole(bags):
    """What a conversion by two processes comes to that nobody stops."""
    subprocess.run(command(bags, bags / "whole", "auto", 2), check=True, timeout=300)
    return content(bags / "whole")


def finished(out: Path) -> int:
    """Files that there are, also while folders come and go."""
    return sum(len(names) for _, _, names in os.walk(out))


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_with_several_processes(bags, whole, seed):
    """At any moment, but not before something more was done than at the last one."""
    out, rng, kills = bags / f"killed-{seed}", random.Random(seed), 0
    while True:
        enough, rest_s = finished(out) + rng.randint(3, 14), rng.uniform(0.0, 0.1)
        process = subprocess.Popen(command(bags, out, "auto", 2), stderr=subprocess.PIPE)
        while process.poll() is None and finished(out) < enough:
            time.sleep(0.002)
        try:
            process.wait(rest_s)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()
    assert kills
    assert content(out) == whole


def test_ctrl_c_says_that_it_can_be_resumed(bags, tmp_path):
    out = bags / "stopped"
    options = ["--contract", str(bags / "contract.yaml"), "--out", str(out), "--workers", "2"]
    program = [sys.executable, "-m", "roboalign_training.cli", "convert", str(bags / "bags")]
    process = subprocess.Popen([*program, *options], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (out / ".parts").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on where this one ended" in errors
    assert "Traceback" not in errors
    done = subprocess.run([*program, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {e.id for e in load_frames(out).episodes} == {"one", "two", "b"}
    assert not (out / ".parts").exists()


def test_parts_that_were_made_otherwise_are_thrown_away(tmp_path):
    path = write_bag(tmp_path / "a.mcap", 2.0)
    out = tmp_path / "set"

    class Killed(BaseException):
        pass

    def stop(path, share):
        if share > 0.6:
            raise Killed

    recipe = Recipe(min_frames=1)
    with pytest.raises(Killed):
        build_dataset([path], two_cameras(), out, recipe=recipe, segment_bytes=SMALL,
                      on_progress=stop)  # fmt: skip
    (folder,) = (out / ".parts").iterdir()
    kept = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.part")}
    assert any("pictures" in name for name in kept)
    damaged = next(folder.glob("*scan-000002.part"))
    data = bytearray(damaged.read_bytes())
    data[100] ^= 1
    damaged.write_bytes(data)
    (folder / ".half.123.writing").write_bytes(b"half")
    with pytest.raises(Killed):
        build_dataset([path], two_cameras(), out, recipe=recipe, segment_bytes=SMALL,
                      on_progress=stop)  # fmt: skip
    again = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.part")}
    assert [name for name in kept if again[name] != kept[name]] == [damaged.name]
    assert not list(folder.glob(".*"))
    # Another recipe, another recording: nothing of what is there fits.
    with pytest.raises(Killed):
        build_dataset([path], two_cameras(), out, recipe=Recipe(min_frames=2),
                      segment_bytes=SMALL, on_progress=stop)  # fmt: skip
    assert all(p.stat().st_mtime_ns not in again.values() for p in folder.glob("*.part"))
    write_bag(path, 2.0, seed=9)
    build_dataset([path], two_cameras(), out, recipe=Recipe(min_frames=2), segment_bytes=SMALL)
    fresh = tmp_path / "fresh"
    build_dataset([path], two_cameras(), fresh, recipe=Recipe(min_frames=2), segment_bytes=SMALL)
    assert content(out) == content(fresh)


def test_a_part_is_whole_and_of_its_makers_or_none(tmp_path):
    path, made_with = tmp_path / "a.part", {"bag": "x", "n": [1, 2]}
    with PartWriter(path, made_with) as part:
        assert part.add(b"12345") == 0
        assert part.add(memoryview(b"67")) == 5
        part.finish({"x": np.arange(6.0).reshape(2, 3), "none": np.zeros((0, 2), "i8")}, {"f": 1})
    found = read_part(path, made_with, check=True)
    np.testing.assert_array_equal(found.arrays["x"], np.arange(6.0).reshape(2, 3))
    assert found.arrays["none"].shape == (0, 2)
    assert found.facts == {"f": 1}
    assert found.path.read_bytes()[5:7] == b"67"
    assert read_part(path, {**made_with, "n": [1]}, check=True) is None
    assert read_part(tmp_path / "b.part", made_with, check=True) is None
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read_part(path, made_with, check=True) is None, length
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert read_part(path, made_with, check=True) is None, place
    with pytest.raises(ZeroDivisionError), PartWriter(tmp_path / "c.part", {}) as part:
        part.add(b"x")
        raise ZeroDivisionError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.part"]


def test_a_killed_worker_is_no_hang_and_no_loss(bags):
    out = bags / "worker"
    shutil.rmtree(out, ignore_errors=True)
    process = subprocess.Popen(command(bags, out, "auto", 2), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    killed = False
    while process.poll() is None and not killed and time.monotonic() < deadline:
        for child in children(process.pid):
            if list((out / ".parts").glob("*/*.part")):
                try:
                    os.kill(child, signal.SIGKILL)
                    killed = True
                except ProcessLookupError:
                    pass
        time.sleep(0.01)
    _, errors = process.communicate(timeout=60)
    if process.returncode:
        assert errors.splitlines()[-1].startswith(
            "roboalign_training.conversion.pool.WorkerLostError: conversion: a process was killed"
        ), errors
        assert not (out / "dataset.json").exists(), "no bag is said to be at fault"
    subprocess.run(command(bags, out, "auto", 1), check=True, timeout=300)
    assert {e.id for e in load_frames(out).episodes} == {"one", "two", "b"}


def children(pid: int) -> list[int]:
    """Processes that `pid` has spawned to convert."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
            line = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(text.rsplit(")", 1)[1].split()[1]) == pid and b"spawn_main" in line:
            found.append(int(stat.parent.name))
    return found
