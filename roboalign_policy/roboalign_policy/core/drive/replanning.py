"""When the next chunk is wanted, and how much of the present one is still to be executed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from roboalign_policy.core.drive.chunk_buffer import ChunkBuffer
    from roboalign_policy.core.drive.types import DriveSettings
    from roboalign_policy.core.latency import LatencyWindow


class Replanning:
    """Looks at a chunk buffer with the settings of a drive; changes neither."""

    def __init__(
        self, buffer: ChunkBuffer, settings: DriveSettings, latency: LatencyWindow
    ) -> None:
        """Keep what to look at; ``latency``: of the model's answers, for `async_blend`."""
        self._buffer, self._settings, self._latency = buffer, settings, latency
        self._horizon = buffer.space.horizon
        self._steps = min(settings.replan_after_steps or self._horizon, self._horizon)

    @property
    def used_up(self) -> bool:
        """Whether no further action may be taken from the present chunk."""
        if self._settings.sync:
            return self._used >= self._steps
        return self._buffer.remaining == 0

    def wanted(self, unseen: int) -> bool:
        """Whether the next chunk is to be asked for now.

        Args:
            unseen: steps commanded since the present observation was taken. With what will be
                commanded of this chunk they overtake the next one, which must be longer.
        """
        overtaken = unseen + (0 if self._settings.sync else self._buffer.remaining)
        if overtaken >= self._horizon:
            return False
        if self._settings.sync:
            return self.used_up
        # Early enough that the next chunk is there when this one ends, but never so early that
        # steps of this one are given up, or that all of the next one would be overtaken.
        expected_s = self._latency.percentile(95) if len(self._latency) else 0.0
        lead = math.ceil(expected_s / self._settings.step_s) + 1
        lead = min(lead, self._horizon // 2, max(1, self._settings.overtake_steps))
        return self._buffer.remaining <= lead or self._used >= self._steps

    def upcoming(self) -> np.ndarray:
        """Return the actions that will follow if no other chunk comes, (R, A) float32."""
        rest = self._buffer.rest()
        return rest[: max(0, self._steps - self._used)] if self._settings.sync else rest

    @property
    def _used(self) -> int:
        return self._horizon - self._buffer.remaining
