"""Recorded samples of one stream as columns: an hour of them costs no object a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roboalign_policy.core.frames.frames import ImageRef, Sample

_BLOCK = 1 << 20  # numbers compared at once, so that no second column is needed


@dataclass(frozen=True, eq=False)
class Track:
    """The samples of one stream in order of arrival.

    Attributes:
        key: key of the stream.
        header_ns: (N,) int64, ns; None where its type has no header.
        receive_ns: (N,) int64, ns.
        values: (N, D) float32 of a state; of an image (N,) int64, the places of its messages.
        shape: height, width, 3 of an image; None of a state.
    """

    key: str
    header_ns: np.ndarray | None
    receive_ns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.receive_ns)

    def times_ns(self, clock: str) -> np.ndarray:
        """Return the times of all samples on a clock of the contract, (N,) int64, ns.

        Raises:
            ValueError: the header's time is wanted and there is none.
        """
        if clock == "receive":
            return self.receive_ns
        if self.header_ns is None:
            Sample(self.key, None, 0, np.empty(0)).time_ns(clock)  # says what is wrong
        return self.header_ns

    def sample(self, index: int) -> Sample:
        """Return one sample; images are references."""
        value = self.values[index]
        header_ns = None if self.header_ns is None else int(self.header_ns[index])
        return Sample(
            self.key,
            header_ns,
            int(self.receive_ns[index]),
            value if self.shape is None else ImageRef(int(value), self.shape),
        )


def rising(numbers: np.ndarray, *, strictly: bool = False) -> bool:
    """Say whether numbers (N,) never fall, or with `strictly` always rise."""
    for start in range(0, len(numbers) - 1, _BLOCK):
        steps = np.diff(numbers[start : start + _BLOCK + 1])
        if np.any(steps <= 0 if strictly else steps < 0):
            return False
    return True
