"""Candidates that are wrong, from a sender that drives or from a rogue beside the policy."""

from __future__ import annotations

from fault_campaign.contracts import JOINT_CONTRACT as J
from fault_campaign.contracts import POLICY_HASH
from fault_campaign.contracts import TWIST_CONTRACT as T
from fault_campaign.kind import Kind, sender_fault
from fault_campaign.kinds_operator import disable
from fault_campaign.rig import Rig
from fault_campaign.verdict import NEVER


def _rogue(rig: Rig) -> int:
    return rig.ask("sender", do="rogue")["t_ns"]


def _impostor(rig: Rig) -> int:
    request = {"do": "rogue", "source": POLICY_HASH, "sequence": 10**6}
    return rig.ask("sender", **request)["t_ns"]


def _stay(rig: Rig) -> None:
    rig.ask("sender", do="stay")


def _drive(rig: Rig) -> None:
    rig.ask("sender", do="drive")


def _wait_silently(rig: Rig) -> None:
    """The gate is open, and nobody sends."""
    disable(rig)
    _stay(rig)
    rig.operator.enable(True)


SENDERS: tuple[Kind, ...] = (
    sender_fault("sequence_repeated", "a sequence number twice", T, "repeated", "SEQUENCE"),
    sender_fault("sequence_back", "a sequence number 5 back", J, "out_of_order", "SEQUENCE"),
    sender_fault("stamp_old", "a candidate sent 0.5 s ago", T, "old", "CANDIDATE_STALE"),
    sender_fault("stamp_future", "a candidate of the future", J, "future", "CLOCK_JUMP"),
    sender_fault(
        "observation_old", "its observation is 5 s old", T, "old_observation", "CANDIDATE_STALE"
    ),
    sender_fault("names", "names in another order", T, "names", "WRONG_NAMES"),
    sender_fault("shape", "fewer values than names", J, "shape", "WRONG_SHAPE"),
    sender_fault("unknown_kind", "a candidate of unknown kind", T, "unknown_kind", "WRONG_SHAPE"),
    sender_fault("nan", "a NaN", T, "nan", "NON_FINITE"),
    sender_fault("inf", "an inf", J, "inf", "NON_FINITE"),
    sender_fault(
        "out_of_limits", "a step of 1.5 times the limit", T, "out_of_limits", "OUT_OF_LIMITS"
    ),
    sender_fault("jump", "a joint target 0.3 rad away", J, "jump", "STEP_TOO_LARGE"),
    sender_fault("acceleration", "the step turns round", T, "turn_round", "ACCELERATION"),
    sender_fault("sender_gives_up", "the sender reports a fault", J, "fault", "SENDER_FAULT"),
    Kind(
        "alive_only",
        "the sender lives, but sends no step",
        lambda rig: rig.ask("sender", do="alive_only")["t_ns"],
        ("CANDIDATE_SILENT",),
        driver="sender",
        heal=_drive,
    ),
    Kind(
        "second_sender",
        "a second sender beside the policy",
        _rogue,
        ("TWO_SENDERS",),
        heal=_stay,
    ),
    Kind(
        "impostor",
        "a second sender under the policy's name",
        _impostor,
        ("SEQUENCE",),
        heal=_stay,
    ),
    Kind(
        "first_pose",
        "the first joint target is 0.5 rad away",
        lambda rig: rig.ask("sender", do="drive", offset=0.5)["t_ns"],
        ("FIRST_POSE",),
        J,
        "sender",
        heal=_drive,
        before=_wait_silently,
        check=NEVER,
    ),
)
