"""State of the observation streams for the safety gate.

Fresh, not frozen, finite, within limits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.gate.types import GateFault, Reason

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract
    from roboalign_policy.core.contract.parts import Field, Stream

#: Encoders stand a little outside of their limits; a share of the range that is believed.
_LIMIT_TOLERANCE = 0.01
#: Speeds are differences of noisy positions over at least this time.
_SPEED_WINDOW_S = 0.05
_SPEED_TOLERANCE = 1.1
#: An arm moves on while nothing is heard: where it was longer ago is no place to hold.
_HOLD_AGE_S = 0.05
_JOINT = re.compile(r"position\[([^\[\]]*[^0-9\[\]][^\[\]]*)\]")


@dataclass
class _Seen:
    """The newest sample of one stream, and since when it is what it is."""

    header_ns: int | None = None
    arrived_s: float = -math.inf
    value: np.ndarray | None = None
    digest: int | None = None
    changed_s: float = 0.0
    ahead_ns: int = 0
    unreadable: str = ""
    note: str = ""
    jumped: str = ""
    speed_from: tuple[float, np.ndarray] | None = None
    too_fast: str = ""
    non_finite: str = ""
    outside: str = ""


class StreamWatch:
    """Judges the observation streams of one contract, sample by sample and against the clock."""

    def __init__(self, contract: Contract, max_skew_s: float) -> None:
        """Start with nothing heard.

        Args:
            contract: the streams, their ages and limits.
            max_skew_s: s; how far a stamp may lie in the future.
        """
        self._streams = {stream.key: stream for stream in contract.observations}
        self._seen = {key: _Seen() for key in self._streams}
        self._max_skew_ns = round(max_skew_s * 1e9)
        self._fields = {
            dim.name: (stream.key, index)
            for dim in contract.action.dims
            for stream in contract.states
            for index, name in enumerate(stream.names)
            if name == dim.name
        }

    def sample(
        self,
        key: str,
        header_ns: int | None,
        receive_ns: int,
        steady_s: float,
        value: np.ndarray | None = None,
        digest: int | None = None,
    ) -> None:
        """Take one sample.

        Args:
            key: of the stream.
            header_ns: ns; its stamp; None where the type has none.
            receive_ns: ns; when it arrived, ROS clock: a stamp beyond it is of the future.
            steady_s: s; when it arrived, steady clock.
            value: (D,) float; of a state.
            digest: of an image: equal where the pixels are.
        """
        stream, seen = self._streams[key], self._seen[key]
        seen.ahead_ns = 0 if header_ns is None else header_ns - receive_ns
        seen.unreadable = ""
        if header_ns is not None and seen.header_ns is not None:
            back_ns = seen.header_ns - header_ns
            if back_ns > stream.max_age_ns:
                seen.jumped = f"its stamps went back by {back_ns / 1e9:.3f} s"
            elif back_ns > 0:
                return  # overtaken on its way: a newer one is known
        seen.header_ns, seen.arrived_s = header_ns, steady_s
        if digest != seen.digest or digest is None:
            seen.digest, seen.changed_s = digest, steady_s
        if value is not None:
            seen.value = value
            self._judge(stream, seen, value, steady_s)

    def unreadable(self, key: str, why: str) -> None:
        """Note that a message of ``key`` could not be read."""
        self._seen[key].unreadable = why

    def note(self, key: str, text: str) -> None:
        """Note which messages came on the topic of ``key`` that are no reading of it."""
        self._seen[key].note = text

    def forget_jumps(self) -> None:
        """Take the present stamps as they are: called by a reset."""
        for seen in self._seen.values():
            seen.jumped = seen.too_fast = ""
            seen.speed_from = None

    def check(self, now_ns: int, steady_s: float, moving_since_s: float | None) -> None:
        """Raise where any stream gives reason to stop.

        Args:
            now_ns: ns; present ROS time.
            steady_s: s; present time of the steady clock.
            moving_since_s: s (steady clock); since when the arm is commanded to move; None: it
                stands.

        Raises:
            GateFault: naming stream, value and limit.
        """
        for key, stream in self._streams.items():
            self._check_time(key, stream, now_ns, steady_s)
            seen = self._seen[key]
            if seen.non_finite:
                raise GateFault(Reason.OBSERVATION_NON_FINITE, f"{key}: {seen.non_finite}")
            if seen.outside:
                raise GateFault(Reason.JOINT_LIMIT, f"{key}: {seen.outside}")
            if seen.too_fast:
                raise GateFault(Reason.JOINT_VELOCITY, f"{key}: {seen.too_fast}")
            if seen.digest is None or moving_since_s is None:
                continue
            limit_s = stream.max_frozen_s or stream.max_age_s
            frozen_s = steady_s - max(seen.changed_s, moving_since_s)
            if frozen_s > limit_s:
                raise GateFault(
                    Reason.OBSERVATION_FROZEN,
                    f"{key}: the same pixels for {frozen_s:.2f} s > {limit_s:g} s in motion",
                )

    def tighten(self, limits: Mapping[str, tuple[float, float, float]]) -> list[str]:
        """Narrow measured joints to a robot_description's limits.

        Args:
            limits: by joint name: lowest and highest position (rad or m), greatest speed (1/s).

        Returns:
            The fields that the description knows.
        """
        known = []
        for key, stream in self._streams.items():
            fields = []
            for spec in stream.fields:
                joint = _JOINT.fullmatch(spec.path)
                if joint and joint[1] in limits and spec.gain == 1.0 and spec.offset == 0.0:
                    known.append(f"{key}.{spec.name}")
                    spec = _narrowed(spec, *limits[joint[1]])
                fields.append(spec)
            self._streams[key] = replace(stream, fields=tuple(fields))
        return known

    def position_of(self, name: str) -> float | None:
        """Measured value of the state field named like a dimension; None without one."""
        if name not in self._fields:
            return None
        key, index = self._fields[name]
        value = self._seen[key].value
        return None if value is None else float(value[index])

    def credible_position_of(self, name: str, steady_s: float) -> float | None:
        """As `position_of`, but None where `credible` is."""
        if name not in self._fields:
            return None
        key, index = self._fields[name]
        value = self.credible(key, steady_s)
        return None if value is None else float(value[index])

    def value(self, key: str) -> np.ndarray | None:
        """(D,) newest value of a state stream; None before the first."""
        return self._seen[key].value

    def credible(self, key: str, steady_s: float) -> np.ndarray | None:
        """(D,) newest value of a state stream if an arm may be told to hold there, else None.

        An encoder that fails shows a place where the arm is not, and an old value one where it no
        longer is: to hold there would be a jump.
        """
        stream, seen = self._streams[key], self._seen[key]
        # Old already when it arrived counts too, where the contract goes by the stamp.
        late_ns = max(0, -seen.ahead_ns) if stream.align.clock == "header" else 0
        age_s = steady_s - seen.arrived_s + late_ns / 1e9
        stale = age_s > min(_HOLD_AGE_S, stream.max_age_s)
        wrong = seen.unreadable or seen.jumped or seen.non_finite or seen.outside or seen.too_fast
        return None if stale or wrong else seen.value

    def _check_time(self, key: str, stream: Stream, now_ns: int, steady_s: float) -> None:
        seen = self._seen[key]
        if seen.unreadable:
            raise GateFault(Reason.OBSERVATION_UNREADABLE, f"{key}: {seen.unreadable}")
        if seen.arrived_s == -math.inf:
            raise GateFault(Reason.OBSERVATION_STALE, f"{key}: never received{beside(seen.note)}")
        if seen.jumped:
            raise GateFault(Reason.CLOCK_JUMP, f"{key}: {seen.jumped}")
        silent_s = steady_s - seen.arrived_s
        if silent_s > stream.max_age_s:
            raise GateFault(
                Reason.OBSERVATION_STALE,
                f"{key}: silent {silent_s:.3f} s > {stream.max_age_s:g} s{beside(seen.note)}",
            )
        if stream.align.clock != "header" or seen.header_ns is None:
            return
        age_ns = now_ns - seen.header_ns
        if age_ns > stream.max_age_ns:
            raise GateFault(
                Reason.OBSERVATION_STALE,
                f"{key}: its stamp is {age_ns / 1e9:.3f} s old > {stream.max_age_s:g} s"
                f"{beside(seen.note)}",
            )
        if seen.ahead_ns > self._max_skew_ns:
            ahead_s = seen.ahead_ns / 1e9
            raise GateFault(
                Reason.CLOCK_JUMP, f"{key}: its stamp lay {ahead_s:.3f} s in the future"
            )

    def _judge(self, stream: Stream, seen: _Seen, value: np.ndarray, steady_s: float) -> None:
        """Note what is wrong with the numbers of a state."""
        seen.non_finite = seen.outside = ""
        for name, number, spec in zip(stream.names, value.tolist(), stream.fields, strict=True):
            if not math.isfinite(number):
                seen.non_finite = f"{name} is {number}"
                return
            if spec.limits is not None:
                low, high = spec.limits
                slack = _LIMIT_TOLERANCE * (high - low)
                if not low - slack <= number <= high + slack:
                    seen.outside = (
                        f"{name} is {number:.4g} {spec.unit}, limits [{low:g}, {high:g}]"
                    )
        if seen.speed_from is None:
            seen.speed_from = (steady_s, value)
            return
        since_s, before = seen.speed_from
        passed_s = steady_s - since_s
        if passed_s >= _SPEED_WINDOW_S:
            seen.speed_from = (steady_s, value)
        # Within the window only what would be too fast over all of it: noise is not.
        speeds = np.abs(value - before) / max(passed_s, _SPEED_WINDOW_S)
        for spec, speed in zip(stream.fields, speeds.tolist(), strict=True):
            if spec.max_rate is not None and speed > _SPEED_TOLERANCE * spec.max_rate:
                seen.too_fast = f"{spec.name} at {speed:.3g} {spec.unit}/s > {spec.max_rate:g}"


def beside(note: str) -> str:
    """Text of a reason about what came in place of a stream's own messages."""
    return f" ({note})" if note else ""


def _narrowed(spec: Field, low: float, high: float, rate: float) -> Field:
    """Field with the narrower of its own and other limits; infinite ones say nothing."""
    own_low, own_high = spec.limits or (-math.inf, math.inf)
    low, high = max(low, own_low), min(high, own_high)
    rate = min(rate, spec.max_rate or math.inf)
    return replace(
        spec,
        limits=(low, high) if math.isfinite(low) and math.isfinite(high) else None,
        max_rate=rate if math.isfinite(rate) else None,
    )
