"""Samples of streams, frames made of them, and why a frame could not be made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ImageRef:
    """An image of a recording that is not decoded: enough to decide which frames it is in.

    Attributes:
        index: its place among the messages of its stream, from 0 on.
        shape: height, width, 3, px, of what the policy sees of it.
    """

    index: int
    shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Sample:
    """One value of one stream, as it arrived.

    Attributes:
        key: key of the stream, as in `state.ee`.
        header_ns: stamp of the message's header, ns; None where its type has none.
        receive_ns: when it was received, ns in the clock of the data.
        value: (H, W, 3) uint8 rgb or (D,) float, in the contract's units; of recorded images a
            reference will do.
    """

    key: str
    header_ns: int | None
    receive_ns: int
    value: np.ndarray | ImageRef

    def time_ns(self, clock: str) -> int:
        """Return the time of the sample on a clock of the contract, `header` or `receive`.

        Raises:
            ValueError: the header's time is wanted and there is none.
        """
        if clock == "receive":
            return self.receive_ns
        if self.header_ns is None:
            raise ValueError(
                f"stream {self.key}: a sample without header stamp, but the contract "
                "says align.clock: header (expected receive)"
            )
        return self.header_ns


@dataclass(frozen=True, eq=False)
class Frame:
    """What the policy sees at one time.

    Attributes:
        stamp_ns: time of the frame.
        values: by stream key, (H, W, 3) uint8 rgb or (D,) float32; read-only views. Of images
            that were given as references these references.
        ages_s: by stream key, how much older than the frame its sample is, s.
    """

    stamp_ns: int
    values: dict[str, np.ndarray | ImageRef]
    ages_s: dict[str, float]


@dataclass(frozen=True)
class Missing:
    """Why there is no frame at one time.

    Attributes:
        stamp_ns: time of the frame that could not be made.
        reasons: by stream key, as in "stale: 0.42 s > 0.3 s".
        left_out: the contract wants such a frame left out (every reason is of a `drop` stream);
            otherwise it is a fault.
    """

    stamp_ns: int
    reasons: dict[str, str] = field(default_factory=dict)
    left_out: bool = False

    def __str__(self) -> str:
        return "; ".join(f"{key}: {reason}" for key, reason in self.reasons.items())


def frame_times(start_ns: int, end_ns: int, rate_hz: float) -> np.ndarray:
    """Return the times of frames from `start_ns` on, to `end_ns` at the latest.

    Args:
        start_ns: first frame, ns.
        end_ns: last possible frame, ns; before `start_ns` there are none.
        rate_hz: frames a second.

    Returns:
        (N,) int64, ns. Frame k is start + round(k / rate): rounding does not add up.

    Raises:
        ValueError: the rate is not positive and finite.
    """
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz: found {rate_hz}, expected a positive, finite rate in Hz")
    if end_ns < start_ns:
        return np.empty(0, np.int64)
    count = int((end_ns - start_ns) * rate_hz / 1e9) + 2
    offsets = np.rint(np.arange(count) * (1e9 / rate_hz)).astype(np.int64)
    times = offsets + np.int64(start_ns)
    return times[times <= end_ns]
