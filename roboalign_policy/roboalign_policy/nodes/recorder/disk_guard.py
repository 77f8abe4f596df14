"""Ends an episode that cannot be brought to disk any more.

Why is said until the next one begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roboalign_msgs.action import RecordEpisode

from roboalign_policy.nodes.recorder.episode_end import EpisodeEnd

if TYPE_CHECKING:
    from roboalign_policy.nodes.recorder.episode_recorder import EpisodeRecorder

_RESULT = RecordEpisode.Result
_FAULTS = (_RESULT.REASON_WRITE_FAULT, _RESULT.REASON_DISK_FULL)


class DiskGuard:
    """Looks after the disk of one recorder.

    Attributes:
        fault: why the last episode was ended, or its bag is not whole; empty: nothing happened.
    """

    def __init__(self, recorder: EpisodeRecorder, min_free_mb: int) -> None:
        """Take what is looked after.

        Args:
            recorder: its episodes are ended.
            min_free_mb: MB that stay free; for the message.
        """
        self._recorder, self._min_free_mb = recorder, min_free_mb
        self.fault = ""

    def look(self) -> None:
        """End the present episode at a fault of its bag, and before the disk is full."""
        recorder = self._recorder
        if recorder.session is None:
            return
        self.fault = ""
        if fault := recorder.writer.fault:
            recorder.finish("unknown", _RESULT.REASON_WRITE_FAULT, str(fault))
        elif not recorder.space_left():
            message = f"less than {self._min_free_mb} MB left in {recorder.root}"
            recorder.finish("unknown", _RESULT.REASON_DISK_FULL, message)

    def ended(self, end: EpisodeEnd) -> None:
        """Remember how an episode ended."""
        self.fault = end.message if end.reason in _FAULTS else ""
