"""bench/ends.py: real nodes in every state, told to end in every way, end cleanly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("roboalign_msgs", reason="roboalign_msgs is not built: run `make build`")

BENCH = Path(__file__).resolve().parents[2] / "bench" / "ends.py"


def clean(out, *arguments):
    """Run the bench; its trials by state, all of which were clean."""
    command = [sys.executable, str(BENCH), "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert (out / "ends.json").exists(), done.stdout + done.stderr
    records = json.loads((out / "ends.json").read_text())
    wrong = [trial for trials in records.values() for trial in trials if trial["wrong"]]
    logs = "\n".join(path.read_text()[-2000:] for path in out.glob("*.log"))
    assert not wrong and done.returncode == 0, f"{wrong}\n{logs}\n{done.stdout[-2000:]}"
    return records


def test_an_arm_that_drives_is_left_with_the_safe_command_whatever_ends_its_nodes(tmp_path):
    records = clean(tmp_path, "--states", "driving", "--repeats", "5", "--patience", "20")
    ways = [trial["way"] for trial in records["driving"]]
    assert ways == ["SIGINT", "SIGTERM", "SIGHUP", "starter SIGKILL", "starter SIGTERM"]


def test_the_last_episode_is_in_the_data_set_when_ctrl_c_comes_right_after_it(tmp_path):
    pytest.importorskip("datasets", reason="the offline package is not installed")
    assert len(clean(tmp_path, "--states", "append", "--repeats", "1")["append"]) == 1


def test_ctrl_c_while_a_policy_loads_is_no_crash(untrained_policy, tmp_path):
    policy = ("--policy", str(untrained_policy))
    records = clean(tmp_path, "--states", "loading", "--repeats", "2", *policy)
    assert all(trial["seconds"] < 15 for trial in records["loading"])
