"""bench/faults.py: its verdicts on made-up records, and a few kinds of faults for real."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))

from fault_campaign.contracts import (  # noqa: E402
    GRIPPER,
    JOINT_CONTRACT,
    JOINT_TRAJECTORY,
    TWIST,
    TWIST_CONTRACT,
    contract,
)
from fault_campaign.kind import BOUND_S  # noqa: E402
from fault_campaign.kinds import KINDS  # noqa: E402
from fault_campaign.measures import ending, moving_at, percentile  # noqa: E402
from fault_campaign.report import table  # noqa: E402
from fault_campaign.verdict import GOES_ON, NEVER, RELEASE, SILENCE, STOP, Watch, judge  # noqa: E402

from roboalign_policy.core.contract.contract import contract_from_dict  # noqa: E402
from roboalign_policy.core.gate.types import Reason  # noqa: E402

T0_NS = 10**12
MOVE, STILL = [0.1, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 6
STOPPED = (T0_NS + 10**8, "STOPPED", "OBSERVATION_STALE", "image.front: silent")


def twists(*items):
    """Records of twists: (ms from the fault, moving)."""
    return [
        {"t_ns": T0_NS + round(ms * 1e6), "topic": TWIST, "values": MOVE if moving else STILL}
        for ms, moving in items
    ]


def joints(*items):
    """Records of joint targets: (ms from the fault, position of all joints)."""
    return [
        {"t_ns": T0_NS + round(ms * 1e6), "topic": JOINT_TRAJECTORY, "values": [at] * 3}
        for ms, at in items
    ]


def stop(heard, check=STOP, reasons=("OBSERVATION_STALE",), detail="", says="", **fields):
    """Verdict on a record."""
    watch = Watch(T0_NS, T0_NS + 10**9, heard=heard, **{"gate": [STOPPED], **fields})
    return judge(watch, check, BOUND_S, reasons, detail, says)


GOOD = twists((-50, True), (-1, True), (49, True), (110, False), (120, False))


def test_a_stop_in_time_with_its_reason_holds():
    result = stop(GOOD, enabled_without_reset=False)
    assert result["failed"] == []
    assert result["last_motion_ms"] == pytest.approx(49)
    assert result["safe_ms"] == result["end_ms"] == pytest.approx(110)
    assert result["latched_ms"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("heard", "fields", "what"),
    [
        (GOOD[:3] + twists((210, False)), {}, "motion after the bound"),
        (GOOD[:3], {}, "no safe action at the end"),
        (GOOD + twists((700, True)), {}, "motion after the bound"),
        (GOOD, {"gate": []}, "did not latch"),
        (GOOD, {"reasons": ("ESTOP",)}, "another reason"),
        (GOOD, {"detail": "state.joints"}, "another reason"),
        (GOOD, {"heard_healed": twists((1200, True))}, "moved without reset"),
        (GOOD, {"enabled_without_reset": True}, "enabled without reset"),
        (GOOD, {"says": "gate: "}, "the policy did not notice"),
        (GOOD[:3] + twists((110, True)), {"check": SILENCE, "reasons": ()}, None),
        (GOOD[:3] + twists((250, True)), {"check": SILENCE}, "motion after the bound"),
        (GOOD, {"check": NEVER}, "motion after the bound"),
        (GOOD, {"check": GOES_ON, "reasons": ()}, "motion was disturbed"),
    ],
)
def test_what_does_not_hold_is_named(heard, fields, what):
    failed = stop(heard, **fields)["failed"]
    assert (what in failed) if what else not failed


def test_a_hold_target_is_the_last_one_repeated_and_near():
    moving = [(t, 0.01 * n) for n, t in enumerate(range(-100, 101, 10))]
    result = stop(joints(*moving, (105, 0.19), (115, 0.19), (125, 0.19)))
    assert result["failed"] == [] and result["last_motion_ms"] == pytest.approx(100)
    assert result["hold_offset_rad"] == pytest.approx(0.01)
    far = stop(joints(*moving, (105, 2.5), (115, 2.5), (125, 2.5)))
    assert far["failed"] == ["hold target far"]
    never_held = stop(joints(*moving))
    assert never_held["end_ms"] == math.inf
    assert moving_at(joints(*moving), T0_NS + 10**8)
    assert not moving_at(joints((0, 0.1), (10, 0.1)), T0_NS + 2 * 10**7)


def test_a_person_who_let_go_is_followed_by_the_safe_action_then_by_the_policy():
    heard = twists((-20, True), (150, False), (160, False), (300, True))
    result = stop(heard, RELEASE, (), gate=[])
    assert result["failed"] == [] and result["end_ms"] == pytest.approx(150)
    assert "motion after the bound" in stop(twists((-20, True)), RELEASE, (), gate=[])["failed"]


def test_a_gripper_does_not_count_as_motion():
    gripper = {"t_ns": T0_NS + 9 * 10**8, "topic": GRIPPER, "values": [-1.0]}
    assert ending([*GOOD, gripper], T0_NS).last_motion_ms == pytest.approx(49)


def test_kinds_and_contracts_are_sound():
    assert len(KINDS) >= 60
    names = {reason.name for reason in Reason}
    assert all(set(kind.reasons) <= names for kind in KINDS.values())
    assert all(kind.bound_s == BOUND_S or kind.why for kind in KINDS.values())
    for name in (TWIST_CONTRACT, JOINT_CONTRACT):
        assert contract_from_dict(contract(name)).name == f"faults_{name}"
    assert percentile(list(range(20)), 99) == 19


def test_three_kinds_for_real(ros_domain, tmp_path):
    kinds = ["camera_dropped", "estop_service", "nan"]
    command = [sys.executable, str(BENCH / "faults.py"), "--repeats", "1", "--out", str(tmp_path)]
    command += ["--kinds", ",".join(kinds), "--domain", str(ros_domain)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (tmp_path / "faults.json").exists(), done.stdout + done.stderr
    saved = json.loads((tmp_path / "faults.json").read_text())
    assert not saved["broken"]
    assert [record["kind"] for record in saved["kinds"]] == kinds
    for record in saved["kinds"]:
        (repeat,) = record["repeats"]
        assert repeat["reason"]  # on a busy machine it may be another one
        assert repeat["resumed_by_healing"] is False
        assert repeat["enabled_without_reset"] is False
        assert repeat["recovery_s"] > 0
        assert repeat["safe_ms"] >= repeat["last_motion_ms"]
    assert (tmp_path / "faults.md").read_text().strip() == table(saved["kinds"]).strip()
    again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert json.loads((tmp_path / "faults.json").read_text())["kinds"] == saved["kinds"]
    assert again.returncode == done.returncode


def test_a_listener_and_a_second_gate_for_real(ros_domain, tmp_path):
    """Whatever the machine is busy with: no stop where nothing was wrong."""
    kinds = ["recorder_visits", "second_gate"]
    command = [sys.executable, str(BENCH / "faults.py"), "--repeats", "1", "--out", str(tmp_path)]
    command += ["--kinds", ",".join(kinds), "--domain", str(ros_domain), "--patience", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    saved = json.loads((tmp_path / "faults.json").read_text())
    assert done.returncode == 0 and not saved["broken"], done.stdout + done.stderr
    assert saved["patience"] == 20
    for record in saved["kinds"]:
        (repeat,) = record["repeats"]
        assert (repeat["reason"], repeat["failed"], repeat["state"]) == ("", [], "ACTIVE")
