"""Samples as they arrive, to frames: the resampler plus what only a live system has to watch.

Beyond the resampler (which also serves recorded data) a live system must notice that the clock of
the data went back (a simulator was reset), that a stream fell silent although the clock says
nothing (a simulated clock stops with its simulator), that messages arrive which cannot be read,
and, in lock step, that a frame is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from roboalign_policy.core.frames.frames import Frame, Missing, Sample
from roboalign_policy.core.frames.resample import Resampler

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract


@dataclass(frozen=True)
class Pushed:
    """What one sample changed.

    Attributes:
        jumped: the clock of the data went back; everything from before was forgotten.
        complete_ns: stamp that all streams now share, for the first time since it was last
            reported; else None.
    """

    jumped: bool
    complete_ns: int | None


class LiveFrames:
    """Frames of one contract from live samples."""

    def __init__(self, contract: Contract, silence_s: float) -> None:
        """Start empty.

        Args:
            contract: the streams.
            silence_s: s (steady clock); a stream without any message for longer makes frames
                missing.
        """
        self._contract = contract
        self._silence_s = silence_s
        self._step_ns = int(1e9 / contract.rate_hz)
        self._clocks = {stream.key: stream.align.clock for stream in contract.observations}
        self._arrived_s: dict[str, float] = {}
        self._unreadable: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self.forget()

    def forget(self) -> None:
        """Drop all samples."""
        self._resampler = Resampler(self._contract)
        self._newest_ns: dict[str, int] = {}
        self._fresh_ns: dict[str, int] = {}

    def push(self, sample: Sample, steady_s: float) -> Pushed:
        """Take one sample of an observation stream; ``steady_s``: arrival on the steady clock.

        Raises:
            ValueError: shape, dtype or stamp do not fit the contract.
        """
        stamp_ns = sample.time_ns(self._clocks[sample.key])
        jumped = stamp_ns < self._newest_ns.get(sample.key, stamp_ns) - self._step_ns
        if jumped:
            self.forget()
        self._newest_ns[sample.key] = max(stamp_ns, self._newest_ns.get(sample.key, stamp_ns))
        self._arrived_s[sample.key] = steady_s
        self._unreadable.pop(sample.key, None)
        self._resampler.push(sample)
        self._fresh_ns[sample.key] = stamp_ns
        if len(self._fresh_ns) == len(self._clocks) and len(set(self._fresh_ns.values())) == 1:
            self._fresh_ns = {}
            return Pushed(jumped, stamp_ns)
        return Pushed(jumped, None)

    def refuse(self, key: str, why: str) -> None:
        """Note that a message of ``key`` could not be read; no frames until one can be."""
        self._unreadable[key] = why

    def note(self, key: str, text: str) -> None:
        """Note which messages came on the topic of ``key`` that are no reading of it."""
        self._notes[key] = text

    def frame(self, t_ns: int, now_ns: int | None, steady_s: float) -> Frame | Missing:
        """Frame at ``t_ns``, or what is wrong with which stream.

        Args:
            t_ns: frame time in the clock of the data.
            now_ns: present time of the same clock, for the age of what was received; None in lock
                step.
            steady_s: s; steady clock.
        """
        frame = self._resampler.frame(t_ns, now_ns)
        reasons = dict(frame.reasons) if isinstance(frame, Missing) else {}
        for key, arrived_s in self._arrived_s.items():
            silent_s = steady_s - arrived_s
            if silent_s > self._silence_s:
                reasons[key] = f"silent: {silent_s:.2f} s > {self._silence_s:g} s"
        reasons = {
            key: f"{why} ({note})" if (note := self._notes.get(key)) else why
            for key, why in reasons.items()
        }
        reasons.update({key: f"unreadable: {why}" for key, why in self._unreadable.items()})
        return Missing(t_ns, reasons) if reasons else frame
