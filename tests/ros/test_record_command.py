"""`roboalign record` in a terminal: keys in, bags out, and a screen that says how it goes."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from recorder_harness import Robot, freeze, read_bag
from roboalign_msgs.msg import GateStatus, PolicyStatus
from roboalign_msgs.srv import StartEpisode
from std_msgs.msg import String

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.ros.qos import reliable_qos
from roboalign_policy.ros.stamps import stamp_to_ns

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal with `roboalign record` in it."""

    def __init__(self, folder, *arguments):
        self.folder, self._master, self._text = folder, None, ""
        self._gone, self.said = False, ""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "roboalign_training.cli", "record", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**os.environ, "COLUMNS": "120", "LINES": "40", "TERM": "xterm"},
        )
        os.close(slave)

    def read(self):
        """All that is new on the screen."""
        while not self._gone and select.select([self._master], [], [], 0.0)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the program has ended
                return
            self.said += data.decode(errors="replace")
            self._text += ESCAPES.sub("", data.decode(errors="replace"))

    def wait(self, text, meanwhile, timeout_s=40.0):
        """Until the screen shows a text, or what matches a pattern, from now on."""
        self._text, end_s = "", time.monotonic() + timeout_s
        words = text.split() if isinstance(text, str) else ()  # a line may break between them
        found = re.compile(r"\s+".join(map(re.escape, words))) if words else text
        while not found.search(self._text):
            assert time.monotonic() < end_s, f"no {text!r} in:\n{self._text[-3000:]}"
            ended = self.process.poll() is not None
            meanwhile()
            self.read()
            assert not ended or found.search(self._text), self._text[-3000:]

    def press(self, keys):
        """Press keys."""
        os.write(self._master, keys.encode())

    def ended(self, meanwhile=lambda: time.sleep(0.05)):
        """Exit status, once it has ended."""
        end_s = time.monotonic() + 40
        while self.process.poll() is None and time.monotonic() < end_s:
            meanwhile()
            self.read()
        self.read()
        return self.process.poll()

    def close(self):
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        if not self._gone:
            os.close(self._master)

    def hang_up(self):
        """Close the terminal, as a lost connection does."""
        os.close(self._master)
        self._gone = True


def patient_contract(name):
    """A packaged contract for a busy machine, as a document: no hiccup makes an episode unfit."""
    document = load_contract(name).to_dict()
    for stream in [*document["observations"], *document["action"]["commands"]]:
        stream["align"]["tolerance_s"] = 5.0
        stream.update({key: 5.0 for key in ("max_age_s", "max_frozen_s") if key in stream})
    return document


@pytest.fixture
def terminal(request, start_node, tmp_path, probe):
    """A terminal with a robot beside it that publishes at 20 Hz for as long as one waits.

    A parameter: further words of its command.
    """
    (tmp_path / "tasks.txt").write_text("2 x stack the blocks\nopen the drawer\n")
    (tmp_path / "patient.yaml").write_text(yaml.safe_dump(patient_contract("sim_panda")))
    arguments = ("--tasks", "tasks.txt", "--contract", "patient.yaml", "--operator", "ada")
    terminal = Terminal(tmp_path, *arguments, "--keep", "5", *getattr(request, "param", ()))
    robot = Robot(probe)

    def beat():
        robot.publish(time.time_ns())
        probe.spin_for(0.05)

    def send_frames():
        """Enough for a demonstration, also where the machine is busy."""
        for _ in range(16):
            beat()

    def begin():
        """The first episode."""
        terminal.wait("ready", beat)
        robot.wait_for_recorder()
        terminal.press(" ")
        terminal.wait("recording 0", beat)

    terminal.beat, terminal.robot, terminal.send_frames = beat, robot, send_frames
    terminal.begin = begin
    yield terminal
    terminal.close()


def children(pid):
    """Process ids directly below ``pid``, from the kernel."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")  # each thread has its own
    return [int(child) for path in lists for child in path.read_text().split()]


def bags(folder):
    """Instruction and outcome of the finished bags, in the order in which they were finished.

    Names of bags that were begun in the same second stand in any order.
    """
    made = sorted((folder / "bags").glob("2*/metadata.yaml"), key=lambda p: p.stat().st_mtime_ns)
    found = [read_bag(path.parent)[0] for path in made]
    return [(c["roboalign.instruction"], c["roboalign.outcome"]) for c in found]


def test_an_afternoon_of_demonstrations(terminal, tmp_path):
    wait = terminal.wait
    wait("ready", terminal.beat)
    wait("0 of 2 recorded", terminal.beat)
    terminal.robot.wait_for_recorder()
    terminal.press(" ")
    wait("recording 0", terminal.beat)
    wait("camera/front/image_raw", terminal.beat)
    terminal.press("\x03")  # a slip ends no episode
    wait("an episode is being recorded: end it first", terminal.beat)
    terminal.send_frames()
    terminal.press(" ")
    wait("success,", terminal.beat)
    wait("1 of 2 recorded", terminal.beat)
    terminal.press(" ")
    wait("recording 0", terminal.beat)
    terminal.press("p")
    wait("paused at", terminal.beat)
    terminal.press("p")
    wait("recording", terminal.beat)
    terminal.send_frames()
    terminal.press("f")
    wait("failure,", terminal.beat)
    terminal.send_frames()
    terminal.press("k")  # what was sent since then
    wait("open the drawer", terminal.beat)  # two of two: the next task
    terminal.press(" ")
    wait("recording 0", terminal.beat)
    terminal.press("d")
    wait("thrown away", terminal.beat)
    terminal.press("q")
    assert terminal.ended() == 0
    said = " ".join(ESCAPES.sub("", terminal.said).split())
    assert "4 episodes in this session: 2 success, 1 failure, 1 thrown away" in said
    assert "still wanted" not in said
    stack = "stack the blocks"
    assert bags(tmp_path) == [(stack, "success"), (stack, "failure"), (stack, "success")]
    assert not [p for p in (tmp_path / "bags").iterdir() if p.name.startswith(".")]
    again = Terminal(tmp_path, "--tasks", "tasks.txt")
    with contextlib.closing(again):
        again.wait("no recorder", lambda: time.sleep(0.05))
        again.press("b")  # the first task was done when it began
        again.wait("2 of 2 recorded", lambda: time.sleep(0.05))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_ends_the_episode_and_the_recorder(terminal, tmp_path, number):
    terminal.begin()
    if number == signal.SIGHUP:
        terminal.hang_up()
    terminal.process.send_signal(number)
    assert terminal.ended(terminal.beat) == 128 + number
    assert bags(tmp_path) == [("stack the blocks", "unknown")]
    assert "Traceback" not in terminal.said + (tmp_path / "bags" / "recorder.log").read_text()


@pytest.fixture
def policy(probe):
    """Function that says ten times a second what policy_node would; begins with the first call."""
    publisher = probe.node.create_publisher(PolicyStatus, "policy_node/status", reliable_qos(1))
    now = {}
    probe.node.create_timer(0.1, lambda: now and publisher.publish(PolicyStatus(**now)))

    def say(state, enabled=False, instruction="", goal=False):
        now.update(state=state, enabled=enabled, instruction=instruction, goal=goal)

    return say


def test_no_demonstration_begins_beside_a_policy_that_would_drive(terminal, probe, policy):
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    wait = terminal.wait
    policy(PolicyStatus.STATE_IDLE, enabled=True)
    wait("ready", terminal.beat)
    wait("policy_node is enabled and would drive, too: disable it, or --correct", terminal.beat)
    terminal.robot.wait_for_recorder()
    terminal.press("n ")  # another task, and begin
    wait(re.compile(r"task 2 of 2(?s:.)*would drive, too(?s:.)*would drive, too"), terminal.beat)
    assert "recording 0" not in terminal.said
    policy(PolicyStatus.STATE_GATE_HOLD, instruction="open the door")
    wait("policy_node drives (open the door): end that first, or --correct", terminal.beat)
    terminal.press(" k")
    wait(re.compile(r"end that first(?s:.)*end that first"), terminal.beat)
    assert "recording 0" not in terminal.said and tasks == []
    policy(PolicyStatus.STATE_IDLE)
    terminal.press("b")
    wait("stack the blocks", terminal.beat)
    terminal.press(" ")
    wait("recording 0", terminal.beat)
    probe.until(lambda: tasks, what="the instruction")
    assert tasks == [String(data="stack the blocks")]
    terminal.send_frames()
    terminal.press(" ")
    wait("success,", terminal.beat)
    probe.until(lambda: len(tasks) > 1, what="its end")
    assert [msg.data for msg in tasks] == ["stack the blocks", ""]
    terminal.press("q")
    assert terminal.ended(terminal.beat) == 0
    said = " ".join(ESCAPES.sub("", terminal.said).split())
    assert "1 episode in this session: 1 success still wanted: 1 of 2 x stack the blocks" in said


@pytest.mark.parametrize("terminal", [("--correct",)], indirect=True)
def test_a_policy_that_is_corrected_is_named_in_the_episode(terminal, probe, policy, tmp_path):
    gate = probe.node.create_publisher(GateStatus, "safety_gate_node/status", reliable_qos(10))
    driver = {"source": "ab" * 32}
    probe.node.create_timer(0.05, lambda: gate.publish(GateStatus(**driver)))
    policy(PolicyStatus.STATE_IDLE, enabled=True)
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    terminal.begin()
    terminal.send_frames()
    driver["source"] = "teleoperation"
    terminal.send_frames()
    terminal.press(" ")
    terminal.wait("driven by a policy for", terminal.beat)
    terminal.wait("ready", terminal.beat)
    terminal.press(" ")
    terminal.wait("recording 0", terminal.beat)
    probe.until(lambda: len(tasks) == 3, what="the instruction")
    terminal.process.send_signal(signal.SIGTERM)  # the policy does not go on alone
    probe.until(lambda: tasks[-1].data == "", what="its end")
    assert terminal.ended(terminal.beat) == 128 + signal.SIGTERM
    first = min((tmp_path / "bags").glob("2*/metadata.yaml"), key=lambda p: p.stat().st_mtime_ns)
    custom = read_bag(first.parent)[0]
    drivers = json.loads(custom["roboalign.driven_by_s"])
    assert list(drivers) == ["ab" * 32, "teleoperation"] and min(drivers.values()) > 0.3
    assert "(abababababab " in custom["roboalign.notes"]


def test_the_simulated_arm_demonstrates_where_no_robot_is_at_hand(ros_domain, tmp_path):
    terminal = Terminal(tmp_path, "--sim", "object", "--seed", "5", "--out", "bags")
    wait = functools.partial(terminal.wait, meanwhile=lambda: time.sleep(0.05))
    with contextlib.closing(terminal):
        wait("ready")
        terminal.press(" ")
        wait(re.compile("recording [1-9]"))
        terminal.press("p")
        wait("knows no pause")
        terminal.press("r")
        wait("thrown away")
        wait(re.compile("recording ([6-9]|[1-9][0-9])"))
        terminal.press(" ")
        wait("success, ")
        wait("ready")
        terminal.press("nq")
        assert terminal.ended() == 0
    said = " ".join(ESCAPES.sub("", terminal.said).split())
    (path,) = (tmp_path / "bags").glob("object-red_cube_on_plate-6")  # 5 was thrown away
    custom = read_bag(path)[0]
    assert custom["roboalign.instruction"] == "put the red cube on the plate"
    assert custom["roboalign.outcome"] == "success"
    fit = custom["roboalign.verdict"] == "fit"  # not where a busy machine made late images
    end = "1 thrown away, 1 success" if fit else "1 thrown away, 1 unfit"
    assert f"2 episodes in this session: {end}" in said
    found = read_bag(path)[1]
    places = np.array(
        [[getattr(msg.pose.position, a) for a in "xyz"] for _, msg in found["/ee_pose"]]
    )
    stamps = [stamp_to_ns(msg.header.stamp) for _, msg in found["/ee_pose"]]
    assert (np.diff(stamps) % 100_000_000 == 0).mean() > 0.8  # whole periods
    assert all(s - 5_000_000 < got for s, (got, _) in zip(stamps, found["/ee_pose"], strict=True))
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert 0.1 < steps.sum() and steps.max() < 0.06  # it moved, and was not set back within
    command = ["convert", str(path), "--contract", "sim_panda", "--out", str(tmp_path / "data")]
    done = subprocess.run(
        [sys.executable, "-m", "roboalign_training.cli", *command], capture_output=True, text=True
    )
    assert (done.returncode == 0) == fit, done.stdout + done.stderr
    assert "1 episode" in done.stdout + done.stderr


@pytest.mark.parametrize("terminal", [("--correct",)], indirect=True)
def test_a_recorder_that_is_killed_takes_the_instruction_with_it(terminal, probe, policy):
    policy(PolicyStatus.STATE_IDLE, enabled=True)
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    terminal.begin()
    probe.until(lambda: tasks, what="the instruction")
    (recorder,) = children(terminal.process.pid)
    os.kill(recorder, signal.SIGKILL)
    assert terminal.ended(terminal.beat) == 1
    probe.until(lambda: tasks[-1].data == "", what="its end")
    said = " ".join(ESCAPES.sub("", terminal.said).split())
    assert "recorder_node ended with code -9" in said and "1 of unknown outcome" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("terminal", [("--correct",)], indirect=True)
def test_a_pause_and_a_new_try_take_the_instruction_back_first(terminal, probe, policy):
    policy(PolicyStatus.STATE_IDLE, enabled=True)
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    terminal.begin()
    for key, said, count in (("p", "paused at", 2), ("p", "go on", 3), ("r", "again", 5)):
        terminal.press(key)
        terminal.wait(said, terminal.beat)
        probe.until(lambda count=count: len(tasks) >= count, what=f"what {key} says")
        assert [msg.data for msg in tasks] == ["stack the blocks", "", "stack the blocks", "",
                                               "stack the blocks"][:count]  # fmt: skip


@pytest.mark.parametrize("terminal", [("--correct",)], indirect=True)
def test_a_goal_in_force_and_a_silent_policy_are_no_company(terminal, probe, policy):
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    probe.node.create_publisher(PolicyStatus, "policy_node/status", reliable_qos(1))
    terminal.wait("ready", terminal.beat)
    terminal.robot.wait_for_recorder()
    terminal.wait("policy_node is there and says nothing", terminal.beat)
    for enabled in (False, True):
        policy(PolicyStatus.STATE_RUNNING, enabled, "open the door", goal=True)
        terminal.wait("drives by a goal (open the door): end that first", terminal.beat)
        terminal.press(" ")
        terminal.wait(re.compile(r"end that first(?s:.)*end that first"), terminal.beat)
    assert "recording 0" not in terminal.said and tasks == []
    policy(PolicyStatus.STATE_IDLE, True)
    terminal.wait("ready", terminal.beat)
    terminal.press(" ")
    terminal.wait("recording 0", terminal.beat)
    probe.until(lambda: tasks, what="the instruction")
    policy(PolicyStatus.STATE_RUNNING, True, "stack the blocks")  # as it was told
    terminal.send_frames()
    assert tasks == [String(data="stack the blocks")]
    policy(PolicyStatus.STATE_RUNNING, True, "open the door", goal=True)
    terminal.wait("the instruction is withdrawn: policy_node drives by a goal", terminal.beat)
    probe.until(lambda: tasks[-1].data == "", what="its end")


@pytest.mark.parametrize("key", ["d", "f", "p"])
@pytest.mark.parametrize("terminal", [("--correct",)], indirect=True)
def test_a_start_that_was_called_off_moves_nothing(terminal, probe, policy, tmp_path, key):
    policy(PolicyStatus.STATE_IDLE, enabled=True)
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    terminal.wait("ready", terminal.beat)
    terminal.robot.wait_for_recorder()
    (recorder,) = children(terminal.process.pid)
    freeze(recorder)  # a disk that stands still
    terminal.press(f" {key}")
    terminal.wait("when the recorder answers: throw away", terminal.beat)
    os.kill(recorder, signal.SIGCONT)
    terminal.wait("thrown away", terminal.beat)
    terminal.wait("ready", terminal.beat)
    assert tasks == [] and bags(tmp_path) == []
    terminal.press("d")  # of the episode before there is none to judge
    terminal.wait("there is nothing to judge", terminal.beat)


@pytest.mark.parametrize("terminal", [("--correct",)], indirect=True)
def test_the_end_of_the_panel_keeps_an_episode_that_is_to_go_on(terminal, probe, policy, tmp_path):
    policy(PolicyStatus.STATE_IDLE, enabled=True)
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    terminal.begin()
    terminal.press("p")
    terminal.wait("paused at", terminal.beat)
    probe.until(lambda: tasks and tasks[-1].data == "", what="the end of the instruction")
    told = len(tasks)
    (recorder,) = children(terminal.process.pid)
    freeze(recorder)
    terminal.press("p")
    for _ in range(6):
        terminal.beat()
    terminal.process.send_signal(signal.SIGTERM)
    for _ in range(10):
        terminal.beat()
    os.kill(recorder, signal.SIGCONT)
    assert terminal.ended(terminal.beat) == 128 + signal.SIGTERM
    assert bags(tmp_path) == [("stack the blocks", "unknown")]
    assert len(tasks) == told


@pytest.mark.parametrize("terminal", [("--correct",)], indirect=True)
def test_an_unanswered_start_is_told_at_the_end(terminal, probe, policy, tmp_path):
    policy(PolicyStatus.STATE_IDLE, enabled=True)
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    terminal.wait("ready", terminal.beat)
    terminal.robot.wait_for_recorder()
    (recorder,) = children(terminal.process.pid)
    freeze(recorder)
    terminal.press(" ")
    for _ in range(6):
        terminal.beat()
    terminal.process.send_signal(signal.SIGTERM)
    terminal.wait("no answer to recorder_node/start_episode: see what the", terminal.beat)
    os.kill(recorder, signal.SIGCONT)
    assert terminal.ended(terminal.beat) == 128 + signal.SIGTERM
    assert tasks == []


RECORDER = {"contract": "sim_panda", "bag_dir": "bags", "health_period_s": 0.2}


def test_a_recorder_of_others_is_joined_and_left_in_order(start_node, tmp_path, probe):
    """Its topic of tasks, an episode of somebody else, the end of the panel, a second recorder."""
    contract = patient_contract("sim_panda")
    contract["task"]["topic"] = "what_to_do"
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(contract))
    folder = {"contract": str(tmp_path / "robot.yaml"), "bag_dir": str(tmp_path / "bags")}
    start_node("recorder_node", **{**RECORDER, **folder})
    tasks = probe.collect(String, "what_to_do", reliable_qos(10, latched=True))
    robot = Robot(probe)

    def beat():
        robot.publish(time.time_ns())
        probe.spin_for(0.05)

    robot.wait_for_recorder()
    start = "recorder_node/start_episode"
    assert probe.call(StartEpisode, start, instruction="open the door").ok
    with contextlib.closing(Terminal(tmp_path, "--instruction", "stack the blocks")) as terminal:
        terminal.wait("recording", beat)
        terminal.press(" ")
        terminal.wait("was not begun here, and may be of another task: d throws it away", beat)
        terminal.press("f")
        terminal.wait("failure,", beat)
        terminal.press(" ")
        terminal.wait("recording 0", beat)
        probe.until(lambda: tasks, what="the instruction on the topic of the contract")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ended(beat) == 128 + signal.SIGTERM
        assert "1 failure, 1 of unknown outcome" in " ".join(terminal.said.split())
    probe.until(lambda: tasks[-1].data == "", what="its end")
    assert bags(tmp_path) == [("open the door", "failure"), ("stack the blocks", "unknown")]
    again = Terminal(tmp_path, "--instruction", "stack the blocks", "--contract", "sim_panda")
    with contextlib.closing(again):
        again.wait("2 recorders are there and would all record", beat)
        again.press(" ")
        again.wait(re.compile(r"would all(?s:.)*would all"), beat)
    assert len(bags(tmp_path)) == 2


def test_a_policy_that_is_enabled_meanwhile_is_not_told(terminal, probe, policy):
    tasks = probe.collect(String, "task", reliable_qos(10, latched=True))
    policy(PolicyStatus.STATE_IDLE)
    terminal.begin()
    probe.until(lambda: tasks, what="the instruction")
    policy(PolicyStatus.STATE_IDLE, enabled=True)
    terminal.wait("the instruction is withdrawn", terminal.beat)
    probe.until(lambda: tasks[-1].data == "", what="its end")


def test_without_a_terminal_it_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "roboalign_training.cli", "record", "--instruction", "go"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "the keyboard is not a terminal" in done.stderr
    for words, said in (
        (["--instruction", "go", "--namespace", "a b"], "namespace: found 'a b': Invalid"),
        (["--sim", "objects"], "--sim: found 'objects', expected one of object, spatial, goal"),
        (["--sim", "object", "--correct"], "--correct: found with --sim, expected it to be left"),
        (["--sim", "object", "--contract", "so101"], "--contract: found with --sim"),
        (["--sim", "object", "--seed", "-1"], "--seed: found -1, expected 0 or more"),
        (["--instruction", "go", "--seed", "1"], "--seed: found 1 without --sim"),
        (["--instruction", "go", "--contract", "gone.yaml"], "--contract: gone.yaml: "),
        (
            ["--instruction", "go", "--out", "/etc/hostname/bags"],
            "found the file /etc/host",
        ),
    ):
        command = [sys.executable, "-m", "roboalign_training.cli", "record", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=tmp_path
        )
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert not list(tmp_path.iterdir())
