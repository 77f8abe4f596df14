"""What the safety gate's status means for somebody who sends candidates."""

from __future__ import annotations

from dataclasses import dataclass

#: States of the gate in which candidates may pass; the names are those of GateStatus.STATE_*.
READY, ACTIVE = "ready", "active"
DISABLED = "disabled"


@dataclass(frozen=True)
class GateView:
    """The gate as a sender sees it.

    Attributes:
        open: candidates may pass.
        taken: somebody else drives.
        reason: why it is not open, or who drives; empty when all is well.
    """

    open: bool
    taken: bool
    reason: str


#: Where there is no gate to ask.
NO_GATE = GateView(True, False, "")


class GateWatch:
    """Keeps the newest status of the gate and how long ago it came."""

    def __init__(self, source: str, timeout_s: float) -> None:
        """Hear nothing yet.

        Args:
            source: name under which this sender sends.
            timeout_s: s (steady clock); a gate that is silent for longer counts as gone.

        Raises:
            ValueError: ``timeout_s`` is not positive.
        """
        if not timeout_s > 0:
            raise ValueError(f"timeout_s: found {timeout_s}, expected a positive number")
        self._source, self._timeout_s = source, timeout_s
        self._heard_s: float | None = None
        self._state = self._reason = self._driver = ""
        self._told = ""

    def hear(self, state: str, reason: str, detail: str, driver: str, steady_s: float) -> None:
        """Take a status.

        Args:
            state: name of a GateStatus.STATE_* in lower case.
            reason: name of a GateStatus.REASON_* in lower case; `none` when nothing is wrong.
            detail: what was found and expected.
            driver: whose candidates pass; empty when none do.
            steady_s: s; steady clock.
        """
        self._heard_s, self._state, self._driver = steady_s, state, driver
        named = "" if reason in ("", "none") else reason.replace("_", " ")
        parts = ("" if state == DISABLED and named else state, named, detail)
        self._reason = ": ".join(part for part in parts if part)
        if state != ACTIVE or driver != self._source:
            self._told = ""

    def told_to_stop(self, reason: str) -> None:
        """Note that the gate was sent a fault: it is not open again before it has stopped.

        Or before it says that this sender does not drive: then there was nothing to stop.
        """
        self._told = reason

    def view(self, steady_s: float) -> GateView:
        """Return what holds at ``steady_s``, on the steady clock."""
        if self._heard_s is None:
            return GateView(False, False, "gate: no status heard, is safety_gate_node running?")
        silent_s = steady_s - self._heard_s
        if silent_s > self._timeout_s:
            return GateView(False, False, f"gate: silent for {silent_s:.1f} s")
        if self._state not in (READY, ACTIVE):
            return GateView(False, False, f"gate: {self._reason}")
        if self._told:
            return GateView(False, False, f"gate: was told to stop: {self._told}")
        if self._state == ACTIVE and self._driver not in ("", self._source):
            return GateView(True, True, f"gate: {self._driver} drives")
        return GateView(True, False, "")
