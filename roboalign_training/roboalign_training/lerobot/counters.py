"""LeRobot's own columns: where a frame stands in its episode and in the data set."""

from __future__ import annotations

import itertools

import numpy as np

from roboalign_training.data.index import DatasetIndex


class Counters:
    """The columns that number frames, episodes and tasks.

    Attributes:
        names: Ids of the episodes, in order of their number.
        starts: The first row of every episode, and behind them the number of all rows.
        tasks: What was asked for -> its number.
    """

    def __init__(self, index: DatasetIndex) -> None:
        """Of all episodes of a data set."""
        self.names = sorted(index.episodes)
        entries = [index.episodes[name] for name in self.names]
        self.starts = [0, *itertools.accumulate(entry["frames"] for entry in entries)]
        self.tasks: dict[str, int] = {}
        for entry in entries:
            self.tasks.setdefault(entry["instruction"], len(self.tasks))
        self._task = [self.tasks[entry["instruction"]] for entry in entries]
        self._fps = int(index.contract.rate_hz)

    def of(self, number: int) -> dict[str, np.ndarray]:
        """Column -> (N,) of one episode."""
        start, count = self.starts[number], self.starts[number + 1] - self.starts[number]
        frames = np.arange(count)
        return {
            "timestamp": (frames / self._fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(count, number),
            "index": frames + start,
            "task_index": np.full(count, self._task[number]),
        }
