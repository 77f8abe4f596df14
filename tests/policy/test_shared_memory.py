"""What killed processes leave in shared memory is found; what a living one uses is not touched."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from roboalign_policy.core.host.shared_memory import (
    abandoned,
    files_of,
    remove,
    shared_memory_files,
)


@pytest.fixture
def machine(tmp_path):
    """Root of a file system with two segments, a port and a file that is not of Fast DDS."""
    folder = tmp_path / "dev/shm"
    folder.mkdir(parents=True)
    for name in ("fastrtps_aa", "fastrtps_bb", "fastrtps_port7412"):
        (folder / name).write_bytes(b"x" * 100)
        (folder / f"{name}_el").touch()
    for name in ("sem.fastrtps_port7412_mutex", "fastrtps_port7412_sl", "other_process"):
        (folder / name).touch()
    (tmp_path / "proc").mkdir()
    return tmp_path


def process(machine, pid, opened=(), mapped=()):
    """A process that has files of /dev/shm open or mapped."""
    folder = machine / f"proc/{pid}"
    (folder / "fd").mkdir(parents=True)
    for number, name in enumerate(opened):
        (folder / f"fd/{number}").symlink_to(machine / "dev/shm" / name)
    lines = [f"7f00-7f01 rw-s 0 00:19 5   {machine / 'dev/shm' / name}" for name in mapped]
    (folder / "maps").write_text("\n".join(["5500-5600 r-xp 0 fe:00 7 /usr/bin/python", *lines]))


def names(paths):
    """Their names, in order."""
    return sorted(path.name for path in paths)


def test_without_processes_all_of_fast_dds_is_abandoned(machine):
    assert names(abandoned(root=machine)) == names(shared_memory_files(machine))
    assert "other_process" not in names(shared_memory_files(machine))


def test_a_mapped_segment_keeps_its_lock_and_an_open_lock_keeps_its_segment(machine):
    mapped = ["fastrtps_port7412", "other_process"]
    process(machine, 100, opened=["fastrtps_aa_el"], mapped=mapped)
    assert names(abandoned(root=machine)) == ["fastrtps_bb", "fastrtps_bb_el"]
    assert names(files_of(100, machine)) == ["fastrtps_aa_el", "fastrtps_port7412"]


def test_a_lock_held_by_somebody_unseen_counts(machine):
    with (machine / "dev/shm/fastrtps_bb_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "fastrtps_bb" not in names(abandoned(root=machine))
    assert "fastrtps_bb" in names(abandoned(root=machine))


def test_only_named_files_are_considered(machine):
    wanted = machine / "dev/shm/fastrtps_aa"
    assert abandoned([wanted], machine) == {wanted}


def test_removing_counts_bytes_and_bears_files_that_are_gone(machine):
    paths = abandoned(root=machine)
    assert remove([*paths, machine / "dev/shm/fastrtps_cc"]) == 300
    assert shared_memory_files(machine) == set()


def test_of_a_real_process_until_it_ends():
    path = Path(f"/dev/shm/fastrtps_test_{os.getpid()}")
    program = f"import sys; file = open({str(path)!r}, 'w'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        assert files_of(child.pid) == {path}
        assert path not in abandoned()
        child.kill()
        child.wait()
        assert files_of(child.pid) == set()
        assert path in abandoned()
    finally:
        child.kill()
        path.unlink(missing_ok=True)
