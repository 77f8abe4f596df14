"""When the stages from a camera's image to the model's answer were passed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roboalign_policy.core.frames.frames import Frame, Missing, Sample

_KEPT = 512  # images; more than any max_age_s holds


@dataclass(frozen=True)
class Stages:
    """Times in ns, ROS clock; 0 where a stage was not passed.

    Attributes:
        observation_ns: stamp of the newest image of the observation.
        received_ns: when that image had been received.
        requested_ns: when the model was asked.
        answered_ns: when the model had answered.
    """

    observation_ns: int = 0
    received_ns: int = 0
    requested_ns: int = 0
    answered_ns: int = 0


class ImageTimes:
    """Finds the newest image of a frame; of a contract without images the newest state."""

    def __init__(self, contract: Any) -> None:
        """Start empty."""
        streams = contract.images or contract.observations
        self._clocks = {stream.key: stream.align.clock for stream in streams}
        self._seen: dict[str, OrderedDict[int, Stages]] = {
            stream.key: OrderedDict() for stream in streams
        }

    def push(self, sample: Sample) -> bool:
        """Take a sample of any stream; True where it is one that is looked at here."""
        if sample.key not in self._seen:
            return False
        header_ns = sample.receive_ns if sample.header_ns is None else sample.header_ns
        seen = self._seen[sample.key]
        seen.setdefault(
            sample.time_ns(self._clocks[sample.key]), Stages(header_ns, sample.receive_ns)
        )
        if len(seen) > _KEPT:
            seen.popitem(last=False)
        return True

    def taken_ns(self, frame: Frame | Missing) -> int:
        """Return the time of the newest image of a frame, on the clock by which it is aligned.

        A camera whose own clock means nothing here is aligned by receipt: its stamp would tell
        nothing about what was commanded before. 0 without a frame.
        """
        ages_s = getattr(frame, "ages_s", None)
        if ages_s is None:
            return 0
        return max(frame.stamp_ns - round(ages_s[key] * 1e9) for key in self._seen)

    def of(self, frame: Frame | Missing) -> Stages:
        """Return observation and receipt of the newest image in a frame; zeros without a frame."""
        ages_s = getattr(frame, "ages_s", None)
        if ages_s is None:
            return Stages()
        times = {key: frame.stamp_ns - round(ages_s[key] * 1e9) for key in self._seen}
        found = (self._seen[key].get(time_ns) for key, time_ns in times.items())
        # Samples too old to be kept cannot be in a frame; the time of the frame's own is as good.
        stages = [
            stage or Stages(time_ns, time_ns)
            for stage, time_ns in zip(found, times.values(), strict=True)
        ]
        return max(stages, key=lambda stage: stage.observation_ns)
