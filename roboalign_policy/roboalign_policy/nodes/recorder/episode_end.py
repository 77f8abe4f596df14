"""How an episode ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

from roboalign_msgs.action import RecordEpisode

from roboalign_policy.ros.recording.writer_thread import Result


@dataclass(frozen=True)
class EpisodeEnd:
    """The result of the action `RecordEpisode`, field by field."""

    reason: int
    message: str
    episode_id: str
    bag_path: str
    outcome: str
    messages: int
    duration_s: float
    verdict: str
    notes: str

    def result(self) -> RecordEpisode.Result:
        """The action's result."""
        return RecordEpisode.Result(**vars(self))

    def closed(self, result: Result) -> EpisodeEnd:
        """Completed with what became of its bag."""
        if isinstance(result, OSError):
            fault = RecordEpisode.Result.REASON_WRITE_FAULT
            return replace(self, reason=fault, message=f"bag not finished: {result}")
        if result is None:
            return replace(self, reason=RecordEpisode.Result.REASON_DISCARDED)
        return replace(
            self,
            bag_path=str(result.path),
            messages=sum(result.counts.values()),
            verdict=result.verdict or self.verdict,
        )
