"""docs/bring-your-own-robot.md, read and done: what it says comes out."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: run `make setup`")

from document_shell import Shell, blocks_of, missing_lines  # noqa: E402
from roboalign_msgs.msg import GateStatus  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from roboalign_policy.core.contract.contract import load_contract  # noqa: E402
from roboalign_policy.ros.qos import reliable_qos  # noqa: E402
from roboalign_training.conversion.build import load_frames  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "bring-your-own-robot.md"
LATE = {
    GateStatus.REASON_OBSERVATION_STALE,
    GateStatus.REASON_CANDIDATE_SILENT,
    GateStatus.REASON_CANDIDATE_STALE,
}
TOPIC = "arm_controller/joint_trajectory"


class Reader:
    """The page's reader, who also looks at the topics; a method checks each section."""

    def __init__(self, shell, probe):
        self.shell, self.probe = shell, probe
        self.sent = probe.collect(JointTrajectory, TOPIC, reliable_qos(1000))
        self.dry = probe.collect(JointTrajectory, f"dry_run/{TOPIC}", reliable_qos(1000))
        self.joints = probe.collect(JointState, "joint_states", reliable_qos(10))
        self.status = probe.collect(GateStatus, "safety_gate_node/status", reliable_qos(10))
        self.taught = 0

    def stops(self):
        """(reason, detail) of every latched stop of the live gate."""
        latched = (GateStatus.STATE_STOPPED, GateStatus.STATE_ESTOP)
        said = [(msg.reason, msg.detail) for msg in self.status if msg.state in latched]
        return list(dict.fromkeys(said))

    def recorded(self):
        """4: two bags, fit for training, and the arm did what was taught."""
        for number in (1, 2):
            record = (self.shell.folder / f"bags/wave-{number}/metadata.yaml").read_text()
            assert "roboalign.verdict: fit" in record
        assert len(self.sent) > 40
        path = [list(msg.position)[0] for msg in self.joints]
        assert 0.02 < max(path) - min(path) < 0.06
        self.taught = len(self.sent)

    def converted(self):
        """5: a data set with the frames of both episodes."""
        frames = load_frames(self.shell.folder / "data")
        assert frames.contract == load_contract(self.shell.folder / "lab_arm.yaml")
        assert 60 < len(frames) <= 122
        assert frames[20].action_chunk.shape == (10, 4)
        assert frames[20].images["image.front"].shape == (48, 64, 3)

    def trained(self):
        """7: a checkpoint of this robot."""
        folder = self.shell.folder / "out" / "policy"
        assert (folder / "model.safetensors").stat().st_size > 1_000_000
        contract = load_contract(folder / "contract.yaml")
        record = json.loads((folder / "roboalign.json").read_text())
        assert record["hashes"]["contract"] == contract.hash and contract.name == "lab_arm"
        assert not self.dry

    def dry_run(self):
        """8: candidates pass, and none reaches the controller's topic."""
        assert len(self.dry) > 50
        assert self.dry[-1].joint_names == ["joint1", "joint2", "joint3", "joint4"]
        # The safe action of the gate that was ended for this may have come after the count.
        assert len(self.sent) <= self.taught + 10

    def live(self):
        """9: they do now."""
        del self.status[:-1]
        self.probe.until(lambda: len(self.sent) > self.taught + 60, 60.0, "commands to the arm")

    def stopped(self):
        """10: nothing after the stop, not by enabling again either; who asked was told."""
        self.probe.spin_for(0.5)
        count = len(self.sent)
        self.probe.spin_for(1.0)
        assert len(self.sent) == count
        hold, joints = self.sent[-1].points[0].positions, self.joints[-1].position
        assert max(abs(a - b) for a, b in zip(hold, joints, strict=True)) < 0.05
        assert self.status[-1].state == GateStatus.STATE_READY
        *earlier, (reason, _) = self.stops()
        assert reason == GateStatus.REASON_ESTOP
        assert self.status[-1].stops == len(earlier) + 1
        # A machine that stood still for longer than the page's bounds was rightly stopped.
        assert {reason for reason, _ in earlier} <= LATE, earlier
        said = self.shell.log("3")
        assert not missing_lines("gate_stop: ... (... chunks, ... steps)", said), said


def test_paths_of_the_page_lead_from_any_folder(tmp_path):
    """What `scripts/env.sh` sets, sourced as the page says, finds every file of the checkout."""
    root = PAGE.parents[1]
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"\$ROBOALIGN_ROOT/([\w./]+)", text))
    assert named == {"tests/ros/lab_arm_robot.py"}
    in_blocks = "\n".join(block.text for block in blocks_of(PAGE) if block.language == "bash")
    bare = [word for word in in_blocks.split() if word.startswith(("tests/", "scripts/"))]
    assert not bare, "a path that leads from the checkout alone"
    looks = " ".join(f'"$ROBOALIGN_ROOT/{path}"' for path in named)
    script = f"cd {root} && source scripts/env.sh && cd {tmp_path} && ls {looks}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and str(root) in done.stdout, done.stderr


@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("start_node")  # takes away what killed nodes leave in shared memory
def test_every_command_of_the_page_works(ros_domain, probe, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBOALIGN_ROOT", str(PAGE.parents[1]))  # as scripts/env.sh does
    blocks = blocks_of(PAGE)
    shell = Shell(tmp_path / "lab", lambda: probe.executor.spin_once(timeout_sec=0.02))
    reader = Reader(shell, probe)
    checks = {
        "4": reader.recorded,
        "5": reader.converted,
        "7": reader.trained,
        "8": reader.dry_run,
        "9": reader.live,
        "10": reader.stopped,
    }
    try:
        for section in shell.follow(blocks):
            if (check := checks.pop(section.split()[0], None)) is not None:
                check()
        assert not checks
    finally:
        shell.close()
    assert "camera_to_command" in json.loads((shell.folder / "latency.json").read_text())["stages"]
    for terminal in ("1", "2", "3", "4"):
        assert "Traceback" not in shell.log(terminal), shell.log(terminal)
