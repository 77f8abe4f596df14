"""One kind of fault, over and over: to steady motion, fault, record, healing, reset, and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fault_campaign.kind import Kind
from fault_campaign.measures import moving_at
from fault_campaign.operator_node import REASONS, STATES
from fault_campaign.patience import patience
from fault_campaign.rig import Rig
from fault_campaign.verdict import LATCHED, NEVER, Watch, judge


class NotMovingError(RuntimeError):
    """The arm does not come to steady motion, so no fault can be put in."""


PHASE_S = (0.2, 0.6)
HEALED_S = 0.5
#: s; after the first motion: blend-in and two chunks.
_STEADY_S = 0.35
_REACH_S = 20.0
_ATTEMPTS = 20
_REBUILDS = 3
#: What a process that does not start, answer or move ends in.
_BROKEN = (RuntimeError, TimeoutError)


class Campaign:
    """Runs kinds.

    Attributes:
        stops: stops that nobody caused, by reason, since the last kind began.
        rebuilt: why all processes were started anew, since the last kind began.
    """

    def __init__(self, folder: Path, sockets: Path, seed: int) -> None:
        """Take the places.

        Args:
            folder: for logs.
            sockets: for control sockets; its path must be short.
            seed: of the phases at which faults are put in.
        """
        self._folder, self._sockets, self._seed = folder, sockets, seed
        self.stops: dict[str, int] = {}
        self.rebuilt: list[str] = []

    def run(
        self, kind: Kind, repeats: int, advanced: Callable[[int], None]
    ) -> list[dict[str, Any]]:
        """Repeat one kind of fault.

        Where the arm does not move again after a fault, that is noted, and the rest is done with
        new processes. A fault that was put in is never left out.

        Args:
            kind: of fault.
            repeats: how often.
            advanced: called with the number of repeats that are done.

        Raises:
            NotMovingError: the arm does not move in the first place.
            Exception: a process does not start or answer.
        """
        self.stops, self.rebuilt = {}, []
        # A seed of its own, so that a kind alone has the phases that it has among all.
        rng = np.random.default_rng([self._seed, *kind.name.encode()])
        phases_s = rng.uniform(*PHASE_S, size=repeats).tolist()
        results: list[dict[str, Any]] = []
        failures = 0
        while len(results) < repeats:
            try:
                self._run_rig(kind, phases_s, results, advanced)
            except _BROKEN as error:
                failures += 1
                if failures >= _REBUILDS:
                    raise
                self.rebuilt.append(f"{type(error).__name__}: {error}")
        return results

    def _run_rig(
        self,
        kind: Kind,
        phases_s: list[float],
        results: list[dict[str, Any]],
        advanced: Callable[[int], None],
    ) -> None:
        """Add results until all are there, or the arm does not move again after a fault."""
        folder = self._folder / kind.name
        with Rig(kind.robot, kind.driver, kind.gate, folder, self._sockets) as rig:
            self._prepare(rig, kind)
            self._reach_motion(rig, kind)
            while len(results) < len(phases_s):
                phase_s = phases_s[len(results)]
                results.append({"phase_s": phase_s, **self._repeat(rig, kind, phase_s)})
                advanced(len(results))
                if results[-1]["recovery_s"] is None and len(results) < len(phases_s):
                    self.rebuilt.append(results[-1]["failed"][-1])
                    return

    @staticmethod
    def _prepare(rig: Rig, kind: Kind) -> None:
        if rig.driver == "sender":
            rig.ask("sender", do="drive")
        for name, parameter in (("deadman", "deadman_timeout_s"), ("estop", "estop_timeout_s")):
            if parameter in kind.gate:
                rig.ask("robot", do="button", name=name, value=name == "deadman")

    def _reach_motion(self, rig: Rig, kind: Kind) -> float:
        """Reset and enable until the arm moves steadily; how long that took, s."""
        operator, begun_s = rig.operator, time.monotonic()
        said = ""
        while time.monotonic() - begun_s < _REACH_S * patience():
            state = operator.gate_state()
            if state in LATCHED:
                done, said = operator.reset()
            elif state == "DISABLED":
                done, said = operator.enable()
            elif state == "ACTIVE" and self._moving(rig, kind):
                moving_s = time.monotonic() - begun_s
                time.sleep(_STEADY_S)
                if operator.gate_state() == "ACTIVE" and self._moving(rig, kind):
                    return moving_s
                self._count_stop(rig)
                continue
            else:
                done = False
            if not done:
                time.sleep(0.01)
        raise NotMovingError(
            f"{kind.name}: no steady motion within {_REACH_S * patience():g} s; gate "
            f"{operator.gate_state()}: {said or operator.gate[-1][1].detail}; "
            f"{len(rig.heard(time.monotonic_ns() - 10**9))} commands in the last second"
        )

    @staticmethod
    def _moving(rig: Rig, kind: Kind) -> bool:
        now_ns = time.monotonic_ns()
        heard = rig.heard(now_ns - round(patience() * 1e9))
        if kind.gate.get("dry_run"):
            heard = [{**m, "topic": m["topic"].removeprefix("dry_run/")} for m in heard]
        return moving_at(heard, now_ns)

    def _count_stop(self, rig: Rig) -> None:
        status = rig.operator.gate[-1][1]
        reason = f"{REASONS[status.reason]}: {status.detail}"
        if STATES[status.state] not in LATCHED:
            reason = "no stop of the gate, but no motion either"
        self.stops[reason] = self.stops.get(reason, 0) + 1

    def _repeat(self, rig: Rig, kind: Kind, phase_s: float) -> dict[str, Any]:
        """One fault; the arm moves steadily before and after."""
        operator = rig.operator
        for _ in range(_ATTEMPTS):
            kind.before(rig)
            time.sleep(phase_s)
            undisturbed = operator.gate_state() == "ACTIVE" and self._moving(rig, kind)
            if undisturbed or kind.may_stop_early or (kind.check == NEVER and not _drives(kind)):
                break
            self._count_stop(rig)
            self._reach_motion(rig, kind)
        else:
            raise NotMovingError(f"{kind.name}: stopped by itself {_ATTEMPTS} times in a row")
        watch = Watch(kind.inject(rig))
        broke = ""
        try:
            self._watch(rig, kind, watch)
        except _BROKEN as error:
            broke = f"{type(error).__name__}: {error}"
        result = judge(
            watch,
            kind.check,
            kind.bound_s * patience(),
            kind.reasons,
            kind.detail,
            kind.policy_says,
        )
        result.update(undisturbed=undisturbed, recovery_s=None)
        try:
            result["recovery_s"] = None if broke else self._reach_motion(rig, kind)
        except _BROKEN as error:
            broke = f"{type(error).__name__}: {error}"
        if broke:
            result["failed"].append(f"no motion after reset and enable: {broke}")
        return result

    @staticmethod
    def _watch(rig: Rig, kind: Kind, watch: Watch) -> None:
        """Record, heal, and look on; what is seen stays in ``watch`` whatever is raised."""
        operator = rig.operator

        def take_statuses() -> None:
            watch.gate = [
                (t_ns, STATES[s.state], REASONS[s.reason], s.detail)
                for t_ns, s in operator.gate_since(watch.t0_ns)
            ]
            watch.policy = [(t_ns, s.reason) for t_ns, s in operator.policy_since(watch.t0_ns)]

        _sleep_until(watch.t0_ns + round(kind.record_s * 1e9))
        watch.recorded_ns = time.monotonic_ns()
        heard = rig.heard(watch.t0_ns - 500_000_000)
        watch.heard = [m for m in heard if m["t_ns"] <= watch.recorded_ns]
        take_statuses()
        kind.heal(rig)
        watch.healed_ns = time.monotonic_ns()
        time.sleep(HEALED_S)
        watch.heard_healed = rig.heard(watch.healed_ns)
        take_statuses()
        if operator.gate_state() in LATCHED:
            watch.enabled_without_reset = operator.enable()[0]


def _drives(kind: Kind) -> bool:
    """Whether the gate lets motion through, although none reaches the arm."""
    return bool(kind.gate.get("dry_run"))


def _sleep_until(t_ns: int) -> None:
    time.sleep(max(0.0, (t_ns - time.monotonic_ns()) / 1e9))
