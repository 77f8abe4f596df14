"""What one kind of fault is: how it is put in, how it goes away, and what must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fault_campaign.contracts import TWIST_CONTRACT
from fault_campaign.rig import Rig
from fault_campaign.verdict import STOP

BOUND_S = 0.2


def nothing(_: Rig) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        name: in files and on the command line.
        text: what happens.
        inject: puts it in; returns the instant, ns on the monotonic clock.
        reasons: names of GateStatus.REASON_* of which one must be latched; empty: none must.
        robot: TWIST_CONTRACT or JOINT_CONTRACT.
        detail: what the gate must name beside the reason; empty: nothing.
        driver: who drives: policy, remote (the same, the model behind a server) or sender.
        heal: takes it away, without reset.
        before: prepares a repeat, when the arm moves.
        check: STOP: motion ends, the safe action is last, the gate has latched; SILENCE: nothing
            reaches the controllers any more (where no safe action can come); NEVER: no motion at
            any time; GOES_ON: motion is not disturbed; RELEASE: a person lets go.
        bound_s: s; from the injection to the end of motion.
        why: why ``bound_s`` is not the default.
        gate: parameters of the gate.
        record_s: s; how long is recorded after the injection.
        policy_says: what the policy's status must begin with after the fault; empty: nothing.
        may_stop_early: what `before` does may stop the arm itself.
    """

    name: str
    text: str
    inject: Callable[[Rig], int]
    reasons: tuple[str, ...] = ()
    robot: str = TWIST_CONTRACT
    driver: str = "policy"
    heal: Callable[[Rig], None] = nothing
    before: Callable[[Rig], None] = nothing
    check: str = STOP
    bound_s: float = BOUND_S
    why: str = ""
    gate: Mapping[str, Any] = field(default_factory=dict)
    record_s: float = 1.0
    policy_says: str = ""
    detail: str = ""
    may_stop_early: bool = False


def robot_heals(rig: Rig) -> None:
    """The robot's streams are in order again."""
    rig.ask("robot", do="heal")


def stream_fault(
    name: str, text: str, robot: str, stream: str, kind: str, *reasons: str, **values: Any
) -> Kind:
    """A fault of one of the robot's streams; ``values``: further fields of its request.

    Where the policy sees it before the gate does, it is the sender that reports the fault.
    """

    def inject(rig: Rig) -> int:
        request = {"do": "fault", "stream": stream, "kind": kind, **values}
        return rig.ask("robot", **request)["t_ns"]

    reasons = (*reasons, "SENDER_FAULT")
    return Kind(name, text, inject, reasons, robot, heal=robot_heals, detail=stream)


def sender_fault(name: str, text: str, robot: str, kind: str, reason: str) -> Kind:
    """One bad candidate of a sender that drives."""

    def inject(rig: Rig) -> int:
        return rig.ask("sender", do="bad", kind=kind)["t_ns"]

    return Kind(name, text, inject, (reason,), robot, "sender")


def policy_fault(
    name: str, text: str, robot: str, mode: str, *, breaks: bool = False, **options: Any
) -> Kind:
    """A policy that answers badly; ``breaks``: policy_node must be configured anew after it."""

    def inject(rig: Rig) -> int:
        return rig.ask_policy(do=mode)["t_ns"]

    def heal(rig: Rig) -> None:
        rig.ask_policy(do="good")
        if breaks:
            rig.operator.configure_policy_anew()

    return Kind(name, text, inject, ("SENDER_FAULT",), robot, heal=heal, **options)
