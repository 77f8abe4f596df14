"""What a sender makes of the safety gate's status: open, closed, taken, gone."""

import pytest

from roboalign_policy.core.drive.gate_watch import GateWatch


def heard(state, reason="none", detail="", driver="", at_s=0.0, watch=None):
    watch = watch or GateWatch("me", 0.5)
    watch.hear(state, reason, detail, driver, at_s)
    return watch


@pytest.mark.parametrize(
    ("state", "driver", "is_open", "taken", "text"),
    [
        ("ready", "", True, False, ""),
        ("active", "me", True, False, ""),
        ("active", "", True, False, ""),
        ("active", "teleoperation", True, True, "gate: teleoperation drives"),
        ("disabled", "", False, False, "gate: disabled"),
        ("stopped", "", False, False, "gate: stopped"),
        ("estop", "", False, False, "gate: estop"),
        ("state 9", "", False, False, "gate: state 9"),
    ],
)
def test_states(state, driver, is_open, taken, text):
    view = heard(state, driver=driver).view(0.1)
    assert (view.open, view.taken, view.reason) == (is_open, taken, text)


def test_reasons_are_said():
    view = heard("disabled", "not_enabled", "call ~/enable").view(0.1)
    assert view.reason == "gate: not enabled: call ~/enable"
    view = heard("stopped", "out_of_limits", "dx_1 is 2").view(0.1)
    assert view.reason == "gate: stopped: out of limits: dx_1 is 2"


def test_a_gate_never_heard_or_silent_is_not_open():
    assert "no status heard" in GateWatch("me", 0.5).view(100.0).reason
    watch = heard("ready")
    assert watch.view(0.5).open
    view = watch.view(0.6)
    assert (view.open, view.reason) == (False, "gate: silent for 0.6 s")
    heard("ready", at_s=1.0, watch=watch)
    assert watch.view(1.1).open


@pytest.mark.parametrize(
    ("state", "driver", "again"),
    [
        ("active", "me", False),
        ("stopped", "", False),
        ("ready", "", True),
        ("active", "teleoperation", True),
    ],
)
def test_after_a_fault_the_gate_must_have_stopped(state, driver, again):
    watch = heard("active", driver="me")
    watch.told_to_stop("image.front: stale")
    assert watch.view(0.0).reason == "gate: was told to stop: image.front: stale"
    heard(state, driver=driver, at_s=0.1, watch=watch)
    assert watch.view(0.1).open is again
    heard("stopped", at_s=0.2, watch=watch)
    heard("ready", at_s=0.3, watch=watch)
    assert watch.view(0.3).open


def test_impossible_timeout():
    with pytest.raises(ValueError, match="timeout_s: found 0"):
        GateWatch("me", 0.0)
