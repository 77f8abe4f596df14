"""Emergency stop and dead-man input of the safety gate."""

from __future__ import annotations

from roboalign_policy.core.gate.types import GateFault, Reason


class OperatorInputs:
    """State of emergency stop and dead-man switch.

    Attributes:
        pressed: who presses the emergency stop; empty when nobody does.
    """

    def __init__(self, deadman_timeout_s: float, estop_timeout_s: float) -> None:
        """Start with nothing pressed and nothing held.

        Args:
            deadman_timeout_s: s; greatest silence of the dead-man input; 0: there is none.
            estop_timeout_s: s; greatest silence of the e-stop topic; 0: only a press counts.
        """
        self.pressed = ""
        self._deadman_timeout_s, self._estop_timeout_s = deadman_timeout_s, estop_timeout_s
        self._held_s: float | None = None
        self._estop_heard_s: float | None = None

    def estop_heard(self, pressed: bool, steady_s: float) -> None:
        """Take a message of the e-stop topic."""
        self._estop_heard_s = steady_s
        self.pressed = "topic estop" if pressed else ""

    def deadman_heard(self, held: bool, steady_s: float) -> None:
        """Take a message of the dead-man topic."""
        self._held_s = steady_s if held else None

    def check(self, steady_s: float, *, driving: bool) -> None:
        """Raise where the operator wants no motion.

        Args:
            steady_s: s; steady clock.
            driving: the arm moves or is about to: the dead-man input must be held.

        Raises:
            GateFault: ESTOP or DEADMAN.
        """
        if self.pressed:
            raise GateFault(Reason.ESTOP, f"pressed: {self.pressed}")
        if self._estop_timeout_s and driving:
            if self._estop_heard_s is None:
                raise GateFault(Reason.ESTOP, "its topic was never heard")
            silent_s = steady_s - self._estop_heard_s
            if silent_s > self._estop_timeout_s:
                raise GateFault(
                    Reason.ESTOP,
                    f"its topic is silent for {silent_s:.2f} s > {self._estop_timeout_s:g} s",
                )
        if not self._deadman_timeout_s or not driving:
            return
        if self._held_s is None:
            raise GateFault(Reason.DEADMAN, "not held")
        silent_s = steady_s - self._held_s
        if silent_s > self._deadman_timeout_s:
            raise GateFault(
                Reason.DEADMAN, f"silent for {silent_s:.2f} s > {self._deadman_timeout_s:g} s"
            )
