"""The newest samples of one stream, and which of them stands for a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from roboalign_policy.core.contract.parts import Stream
from roboalign_policy.core.frames.frames import ImageRef, Sample

# A frame may be asked for at a time this far behind the newest sample: the slack between streams.
SLACK_S = 0.5


@dataclass
class StreamCounts:
    """What a stream has seen so far.

    Attributes:
        received: samples pushed.
        out_of_order: samples older than one that came before; sorted in.
        duplicates: samples with a stamp already there; the first one stays.
        resets: jumps of the clock to the past; the stream started anew.
        non_finite: samples with a value that is NaN or infinite.
    """

    received: int = 0
    out_of_order: int = 0
    duplicates: int = 0
    resets: int = 0
    non_finite: int = 0


class StreamBuffer:
    """The newest samples of one stream, sorted by time.

    Lists, not deques: bisect needs an index in constant time, and at the few hundred entries that
    the time bound allows, removing from the front costs nothing.
    """

    def __init__(self, stream: Stream, slack_s: float):
        self.stream, self.counts = stream, StreamCounts()
        align = stream.align
        # `hold` reaches back max_age_s; `asof` and `drop` their tolerance, if that is shorter.
        strict = align.method != "hold" and align.tolerance_ns < stream.max_age_ns
        self.reach_ns = align.tolerance_ns if strict else stream.max_age_ns
        self.reach_text = f"{self.reach_ns / 1e9:g} s" + (" tolerance" if strict else "")
        self._keep_ns = stream.max_age_ns + round(slack_s * 1e9)
        self._times: list[int] = []
        self._receives: list[int] = []
        self._values: list[np.ndarray | ImageRef] = []
        self._bad: list[str] = []  # names of non-finite dimensions; empty where all are finite
        self._last_receive_ns: int | None = None

    def __len__(self) -> int:
        return len(self._times)

    def push(self, sample: Sample) -> None:
        """Sort a sample in and forget what is too old; see `Resampler.push`."""
        time_ns = sample.time_ns(self.stream.align.clock)
        value, bad = self._checked(sample.value)
        self.counts.received += 1
        self.counts.non_finite += bool(bad)
        times = self._times
        went_back = self._last_receive_ns is not None and sample.receive_ns < self._last_receive_ns
        if times and (went_back or time_ns < times[-1] - self._keep_ns):
            # Not a late sample but another time: a simulator was reset, or a bag started over.
            # Samples of the old time would otherwise come up again when the new one reaches them.
            self.counts.resets += 1
            for part in (times, self._receives, self._values, self._bad):
                part.clear()
        self._last_receive_ns = sample.receive_ns
        at = len(times)
        if times and time_ns <= times[-1]:
            at = bisect_left(times, time_ns)
            if times[at] == time_ns:
                # The first stays: a frame may have been made of it and must not change.
                self.counts.duplicates += 1
                return
            self.counts.out_of_order += 1
        times.insert(at, time_ns)
        self._receives.insert(at, sample.receive_ns)
        self._values.insert(at, value)
        self._bad.insert(at, bad)
        old = bisect_left(times, times[-1] - self._keep_ns)
        if old:
            for part in (times, self._receives, self._values, self._bad):
                del part[:old]

    def _checked(self, value: np.ndarray | ImageRef) -> tuple[np.ndarray | ImageRef, str]:
        """Return the value as a read-only view and the names of its non-finite dimensions."""
        stream = self.stream
        reference = isinstance(value, ImageRef) and stream.is_image
        array = value if reference else np.asarray(value)
        if array.shape != stream.value_shape:
            raise ValueError(
                f"stream {stream.key}: found a value of shape {array.shape}, expected "
                f"{stream.value_shape}"
            )
        if reference:
            return value, ""
        if stream.is_image:
            if array.dtype != np.uint8:
                raise ValueError(
                    f"stream {stream.key}: found an image of {array.dtype}, expected uint8"
                )
            view, bad = array.view(), ""
        else:
            if array.dtype.kind not in "fiu":
                raise ValueError(
                    f"stream {stream.key}: found values of {array.dtype}, expected numbers"
                )
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf: non-finite
                view = np.array(array, np.float32)
            finite = np.isfinite(view)
            bad = (
                ""
                if finite.all()
                else ", ".join(
                    name for name, good in zip(stream.names, finite, strict=True) if not good
                )
            )
        view.flags.writeable = False  # one array can be in several frames
        return view, bad

    def at(self, t_ns: int, now_ns: int | None) -> tuple[np.ndarray | ImageRef | None, float, str]:
        """Return the value at a time and its age in s, or None and the reason."""
        if not self._times:
            return None, 0.0, "never received" if not self.counts.received else "nothing received"
        index = bisect_right(self._times, t_ns) - 1
        if now_ns is not None:  # recorded data: what had not arrived yet was not there
            while index >= 0 and self._receives[index] > now_ns:
                index -= 1
        if index < 0:
            return None, 0.0, self._too_early(t_ns, now_ns)
        age_ns = t_ns - self._times[index]
        if age_ns > self.reach_ns:
            return None, 0.0, f"stale: {age_ns / 1e9:.3g} s > {self.reach_text}"
        if now_ns is not None:
            limit_ns = self.stream.max_age_ns
            for what, stamp in (
                ("stamped", self._times[index]),
                ("received", self._receives[index]),
            ):
                if now_ns - stamp > limit_ns:
                    return (
                        None,
                        0.0,
                        (
                            f"stale: {what} {(now_ns - stamp) / 1e9:.3g} s ago > "
                            f"{limit_ns / 1e9:g} s"
                        ),
                    )
        if self._bad[index]:
            return None, 0.0, f"non-finite: {self._bad[index]}"
        return self._values[index], age_ns / 1e9, ""

    def _too_early(self, t_ns: int, now_ns: int | None) -> str:
        if self._times[0] <= t_ns:
            return f"not received yet: due in {(self._receives[0] - (now_ns or 0)) / 1e9:.3g} s"
        return f"not yet: the oldest sample kept is {(self._times[0] - t_ns) / 1e9:.3g} s later"
