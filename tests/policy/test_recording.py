"""Bookkeeping of a recording without ROS.

Times, rates, verdicts, commands of a step, the worker for the data set.
"""

import os
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.core.recording.dataset_appender import DatasetAppender
from roboalign_policy.core.recording.episodes import (
    LogClock,
    RecordingError,
    check_episode_id,
    check_instruction,
    check_outcome,
    make_episode_id,
    recorded_topics,
)
from roboalign_policy.sim.command_collector import CommandCollector

S = 1_000_000_000


@pytest.fixture(scope="module")
def contract():
    """The simulator's contract."""
    return load_contract(find_contract("sim_panda"))


def test_recorded_topics_are_all_of_the_contract_once(contract):
    """Observations, commands, task and extra topics."""
    topics = [topic.topic for topic in recorded_topics(contract)]
    assert topics == [
        "camera/front/image_raw",
        "joint_states",
        "ee_pose",
        "gripper_state",
        "servo_node/delta_twist_cmds",
        "gripper_controller/joint_trajectory",
        "task",
        "scene",
    ]


def test_only_observations_and_commands_are_required(contract):
    """An episode without a task message can be trained on: its instruction is in the metadata."""
    assert [t.topic for t in recorded_topics(contract) if not t.required] == ["task", "scene"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" ", "instruction: found an empty text, expected what the demonstrator is asked to do"),
        ("pick <image> up", "instruction: found the tag '<image>' in 'pick <image> up'"),
        ("<|im_start|>user", r"instruction: found the tag '<\|im_start\|>'"),
    ],
)
def test_instructions_that_cannot_be_trained_on_are_refused(text, words):
    """Not weeks later, by a training that has begun."""
    with pytest.raises(RecordingError, match=words):
        check_instruction(text)
    check_instruction("put bolt #2 where x < y")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "a b", "x" * 101, "é"])
def test_episode_ids_that_are_no_folder_are_refused(name):
    """Nothing outside the folder of bags can be written, nothing hidden made."""
    with pytest.raises(RecordingError, match="episode_id"):
        check_episode_id(name)


def test_made_episode_ids_are_valid_and_differ():
    """Two made in the same second differ."""
    now = datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    made = {make_episode_id(now) for _ in range(20)}
    assert len(made) > 15
    for name in made:
        check_episode_id(name)
        assert name.startswith("20250102T030405-")


def test_unknown_outcome_is_refused():
    """The four outcomes and nothing else."""
    with pytest.raises(
        RecordingError, match="outcome: found 'won', expected one of unknown, success"
    ):
        check_outcome("won")


def test_log_clock_receive_ignores_the_header():
    """Filed under the arrival."""
    clock = LogClock("receive")
    assert clock.stamp(5 * S, 7 * S) == 7 * S
    assert clock.stamp(None, 8 * S) == 8 * S


def test_log_clock_header_gives_the_unstamped_the_newest_stamp():
    """Nothing before the first stamp, then the newest one, also after an older one."""
    clock = LogClock("header")
    assert clock.stamp(None, 100 * S) is None
    assert clock.stamp(0, 100 * S) is None  # a header whose stamp was never set
    assert clock.stamp(5 * S, 101 * S) == 5 * S
    assert clock.stamp(4 * S, 102 * S) == 4 * S
    assert clock.stamp(None, 103 * S) == 5 * S


TWIST, GRIPPER = "servo_node/delta_twist_cmds", "gripper_controller/joint_trajectory"
MOVE = {"dx": 0.5, "dy": -2.0, "dz": 0.0, "droll": 0.0, "dpitch": 0.0, "dyaw": 0.25}


def test_lock_step_waits_for_both_commands_of_one_stamp(contract):
    """Only the second one completes the action; values beyond the limits are clipped to them."""
    collector = CommandCollector(contract)
    collector.expect(5 * S)
    assert collector.offer_paired(TWIST, 5 * S, MOVE) is None
    action = collector.offer_paired(GRIPPER, 5 * S, {"gripper": 1.0})
    np.testing.assert_allclose(action, [0.5, -1.0, 0, 0, 0, 0.25, 1.0])
    assert collector.ignored == 0


def test_lock_step_ignores_and_counts_other_stamps(contract):
    """An old stamp, a repeated one after the step, and values that are not finite."""
    collector = CommandCollector(contract)
    collector.expect(5 * S)
    assert collector.offer_paired(TWIST, 4 * S, MOVE) is None
    assert collector.offer_paired(TWIST, 5 * S, {**MOVE, "dx": float("nan")}) is None
    assert collector.offer_paired(GRIPPER, 5 * S, {"gripper": 1.0}) is None
    assert collector.offer_paired(TWIST, 5 * S, MOVE) is not None
    assert collector.offer_paired(TWIST, 5 * S, MOVE) is None
    assert collector.ignored == 3


def test_real_time_holds_still_when_commands_are_old(contract):
    """The deltas become zero, the gripper stays."""
    collector = CommandCollector(contract)
    collector.reset(kept=-1.0)
    np.testing.assert_allclose(collector.held_action(0, 0.5), [0, 0, 0, 0, 0, 0, -1.0])
    collector.offer_held(TWIST, 1 * S, MOVE)
    collector.offer_held(GRIPPER, 1 * S, {"gripper": 1.0})
    np.testing.assert_allclose(
        collector.held_action(1 * S + S // 2, 0.5), [0.5, -1.0, 0, 0, 0, 0.25, 1.0]
    )
    np.testing.assert_allclose(collector.held_action(2 * S, 0.5), [0, 0, 0, 0, 0, 0, 1.0])


def test_collector_refuses_absolute_positions(contract):
    """Zero is no safe command for an arm that takes positions."""
    other = load_contract(find_contract("so101"))
    with pytest.raises(
        ValueError, match="action.control_mode: found 'joint_position', expected 'ee_delta'"
    ):
        CommandCollector(other)


def _appended(make_command, bags):
    """Results of an appender for bags that come one after the other."""
    results, done = [], threading.Event()

    def report(result):
        results.append(result)
        if sum(len(r.bags) for r in results) == len(bags):
            done.set()

    appender = DatasetAppender(make_command, report)
    for bag in bags:
        appender.add(bag)
    assert done.wait(30)
    assert appender.close() == ()
    return appender, results


def test_appender_runs_the_command_with_the_bags(tmp_path):
    """Every bag is handed over exactly once, to a process of its own."""
    out = tmp_path / "seen"
    program = "import sys; open(sys.argv[1], 'a').write('\\n'.join(sys.argv[2:]) + '\\n')"
    bags = [tmp_path / f"e{k}" for k in range(5)]
    appender, results = _appended(
        lambda some: [sys.executable, "-c", program, str(out), *map(str, some)], bags
    )
    assert out.read_text().split() == [str(bag) for bag in bags]
    assert {result.fault for result in results} == {""}


def test_appender_reports_the_last_words_of_a_failure(tmp_path):
    """Exit code and the end of the output, and the bags are counted."""
    said = "print('first', flush=True); print('disk is full', file=sys.stderr)"
    program = f"import sys; {said}; sys.exit(3)"
    appender, results = _appended(lambda _: [sys.executable, "-c", program], [tmp_path / "e0"])
    assert results[0].fault == "exit code 3: first | disk is full"


def test_appender_reports_a_command_that_does_not_exist():
    """No traceback in a thread that nobody sees."""
    _, results = _appended(lambda _: ["/nonexistent/program"], [Path("e0")])
    assert results[0].fault == "/nonexistent/program: No such file or directory"


def test_ctrl_c_reaches_no_run_and_what_has_come_is_appended_before_the_end(tmp_path):
    """The run is out of the terminal's reach, and the episode that ended last is in the data."""
    out = tmp_path / "seen"
    program = (
        "import os, sys, time; time.sleep(1.0); "
        "open(sys.argv[1], 'a').write(f'{os.getsid(0)} {sys.argv[2:]}' + chr(10))"
    )

    def make_command(bags):
        return [sys.executable, "-c", program, str(out), *map(str, bags)]

    results = []
    appender = DatasetAppender(make_command, results.append)
    appender.add(tmp_path / "e0")
    wait_until(lambda: not appender._bags)  # it runs: the next ones wait
    appender.add(tmp_path / "e1")
    appender.add(tmp_path / "e2")
    assert appender.busy
    assert appender.close() == () and not appender.busy
    assert [len(result.bags) for result in results] == [1, 2]
    sessions = {line.split()[0] for line in out.read_text().splitlines()}
    assert len(sessions) == 2 and str(os.getsid(0)) not in sessions


def test_a_run_goes_on_to_its_end_when_the_appenders_process_is_killed(tmp_path):
    """It writes into a file: a pipe would break under it."""
    out = tmp_path / "seen"
    run = (
        "import time; print('begun', flush=True); time.sleep(1.5); print('over', flush=True); "
        f"open({str(out)!r}, 'w').write('whole')"
    )
    code = f"""
import sys, time
from roboalign_policy.core.recording.dataset_appender import DatasetAppender
appender = DatasetAppender(lambda bags: [sys.executable, "-c", {run!r}], print)
appender.add("bag")
time.sleep(0.5)
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    wait_until(lambda: out.exists() and out.read_text() == "whole")


def wait_until(condition):
    """Wait until ``condition()`` is true."""
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)
