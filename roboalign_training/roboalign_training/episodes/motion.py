"""The contract's limits, rates and jumps, held against recorded frames as the safety gate would.

What makes an episode unsafe, and what is worth a note; both with a count. A measured value that
jumps away for a few frames and comes back is no motion of an arm: those frames are taken out, as
an unreadable message's are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from roboalign_policy.core import keys
from roboalign_policy.core.contract.contract import Contract, Stream
from roboalign_policy.core.doctor.finding import counted
from roboalign_training.episodes.framed import Frames

LIMIT_SLACK = 1e-3
"""Share of a dimension's range by which an action may lie outside: rounding of gains."""
# Source: core.gate_bounds and core.gate_streams, which stop a live arm by the same figures.
STATE_SLACK = 0.01
STATE_RATE_SLACK = 1.1
ACTION_RATE_SLACK = 1.02
SPEED_WINDOW_S = 0.05
JUMP = "jump"
"""Reason of a frame whose state jumps away and comes back."""
LONE_FRAMES = 3
"""A value that is away for so many frames at most, and comes back, is a jump of its own."""
LONE_SHARE = 0.05
"""More frames than this share that jump alone are no accident: the episode is unsafe."""


def lone_jumps(states: np.ndarray, times_s: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Frames whose state is away from those around it, which fit together.

    Args:
        states: (N, D) float, of the frames that are kept otherwise.
        times_s: (N,) s; when each state was measured.
        rates: (D,) greatest change a second; infinite where none is set.

    Returns:
        (N,) bool; all False where the jumps are too many or do not come back.
    """
    alone = np.zeros(len(states), bool)
    breaks = np.flatnonzero(_too_fast(states, times_s, rates).any(axis=1)) + 1
    if not len(breaks):
        return alone
    runs = list(zip([0, *breaks.tolist()], [*breaks.tolist(), len(states)], strict=True))
    longest = max(range(len(runs)), key=lambda n: runs[n][1] - runs[n][0])

    def fits(one: int, other: int) -> bool:
        places = [min(one, other), max(one, other)]
        return not _too_fast(states[places], times_s[places], rates).any()

    for order, near, far in (
        (range(longest + 1, len(runs)), 0, 1),
        (range(longest - 1, -1, -1), 1, 0),
    ):
        at = runs[longest][far] - far  # the last frame that fits, in this direction
        for number in order:
            start, end = runs[number]
            if fits(at, runs[number][near] - near):
                at = runs[number][far] - far
            elif end - start <= LONE_FRAMES:
                alone[start:end] = True
            else:
                return np.zeros(len(states), bool)
    if np.count_nonzero(alone) > max(1, LONE_SHARE * len(states)):
        alone[:] = False
    return alone


def jumping_frames(frames: Frames, contract: Contract) -> dict[str, np.ndarray]:
    """State stream key -> (M,) int64, which of the frames show a state that jumps alone."""
    found = {}
    for stream in contract.states:
        rates = state_rates(stream)
        if np.isfinite(rates).any() and len(frames):
            times_s = measured_s(frames, stream.key)
            alone = lone_jumps(frames.values[stream.key], times_s, rates)
            if alone.any():
                found[stream.key] = np.flatnonzero(alone)
    return found


def state_rates(stream: Stream) -> np.ndarray:
    """(D,) greatest change a second of a stream's fields; infinite where none is set."""
    rates = [np.inf if field.max_rate is None else field.max_rate for field in stream.fields]
    return np.array(rates) * STATE_RATE_SLACK


def measured_s(frames: Frames, key: str) -> np.ndarray:
    """(N,) s; when the state in each frame was measured: its time less the sample's age."""
    times_s = (frames.stamps_ns - frames.stamps_ns[0]) / 1e9
    return times_s - frames.ages_s[key] if key in frames.ages_s else times_s


def unsafe(frames: Frames, contract: Contract) -> list[str]:
    """What an arm cannot have done, or a policy must not do; each with its count."""
    return [*_actions_outside(frames, contract), *_states_outside(frames, contract)]


def too_fast(frames: Frames, contract: Contract) -> list[str]:
    """Actions and states that change faster than the contract allows; each with its count."""
    found = []
    actions, names = frames.actions, contract.action.names
    if contract.action.control_mode != keys.EE_DELTA and len(frames) > 1:
        rates = _limits(d.max_rate for d in contract.action.dims) * ACTION_RATE_SLACK
        times_s = frames.indices / contract.rate_hz
        found += _steps("action", frames, (actions, times_s), rates, names, ACTION_RATE_SLACK)
    for stream in contract.states:
        rates = state_rates(stream)
        if np.isfinite(rates).any() and len(frames) > 1:
            values, times_s = frames.values[stream.key], measured_s(frames, stream.key)
            timed = (values, times_s)
            found += _steps(stream.key, frames, timed, rates, stream.names, STATE_RATE_SLACK)
    return found


def notes(frames: Frames, contract: Contract) -> list[str]:
    """Motions of people for which the gate would stop a policy; each with its count."""
    if not len(frames):
        return []
    return [
        *_beyond_way(frames, contract),
        *_beyond_acceleration(frames, contract),
        *_beyond_workspace(frames, contract),
    ]


def _limits(values: Iterator[float | None]) -> np.ndarray:
    return np.array([np.inf if value is None else value for value in values], float)


def _too_fast(values: np.ndarray, times_s: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """(N - 1, D) bool: whether a value changes faster than its rate from one frame to the next."""
    passed_s = np.maximum(np.diff(times_s), SPEED_WINDOW_S)[:, None]
    return np.abs(np.diff(values.astype(float), axis=0)) > rates * passed_s + 1e-6


def _steps(
    what: str,
    frames: Frames,
    timed: tuple[np.ndarray, np.ndarray],
    rates: np.ndarray,
    names: tuple[str, ...],
    slack: float,
) -> list[str]:
    """Says where values (N, D), timed by (N,) s, change faster than rates that hold `slack`."""
    values, times_s = timed
    beyond = _too_fast(values, times_s, rates)
    if not beyond.any():
        return []
    row, dim = np.argwhere(beyond)[0]
    step = abs(float(values[row + 1, dim]) - float(values[row, dim]))
    passed_s = max(float(times_s[row + 1] - times_s[row]), SPEED_WINDOW_S)
    wraps = abs(step - 2 * np.pi) < rates[dim] * passed_s
    return [
        f"{what} {names[dim]} jumps by {step:.4g} in {passed_s:.2f} s after frame "
        f"{frames.indices[row]}{' (an angle that wraps?)' if wraps else ''}, max_rate is "
        f"{rates[dim] / slack:g} a second ({_frames(beyond)})"
    ]


def _frames(beyond: np.ndarray) -> str:
    """How many frames are beyond something, (N, D) bool."""
    return counted(int(np.count_nonzero(beyond.any(axis=1))), "frame")


def _actions_outside(frames: Frames, contract: Contract) -> Iterator[str]:
    low, high = contract.action.low, contract.action.high
    slack = LIMIT_SLACK * (high - low)
    actions = frames.actions
    outside = np.argwhere((actions < low - slack) | (actions > high + slack))
    if len(outside):
        frame, dim = outside[0]
        yield (
            f"action {contract.action.names[dim]} of frame {frame} is "
            f"{actions[frame, dim]:.4g}, limits [{low[dim]:g}, {high[dim]:g}] "
            f"({len(np.unique(outside[:, 0]))} frames outside)"
        )


def _states_outside(frames: Frames, contract: Contract) -> Iterator[str]:
    for stream in contract.states:
        bounds = [f.limits or (-np.inf, np.inf) for f in stream.fields]
        low, high = np.array(bounds, float).reshape(-1, 2).T
        with np.errstate(invalid="ignore"):
            slack = np.where(np.isfinite(high - low), STATE_SLACK * (high - low), 0.0)
        values = frames.values[stream.key]
        outside = np.argwhere((values < low - slack) | (values > high + slack))
        if len(outside):
            frame, dim = outside[0]
            yield (
                f"{stream.key} {stream.names[dim]} of frame {frame} is "
                f"{values[frame, dim]:.4g}, limits [{low[dim]:g}, {high[dim]:g}] "
                f"({len(np.unique(outside[:, 0]))} frames outside)"
            )


def _beyond_way(frames: Frames, contract: Contract) -> Iterator[str]:
    """Ways within a second, as the gate adds them up."""
    most = _limits(d.max_per_second for d in contract.action.dims)
    if not np.isfinite(most).any():
        return
    deltas = contract.action.control_mode == keys.EE_DELTA
    ways = np.abs(frames.actions.astype(float))
    if not deltas:
        ways = np.abs(np.diff(frames.actions.astype(float), axis=0, prepend=frames.actions[:1]))
    total = np.vstack([np.zeros_like(ways[:1]), np.cumsum(ways, axis=0)])
    ticks = np.asarray(frames.indices) - round(contract.rate_hz) + (0 if deltas else 1)
    first = np.searchsorted(frames.indices, ticks, side="right")
    within = total[1:] - total[first]
    yield from _counted(
        within > most * ACTION_RATE_SLACK + 1e-6, within, most, contract, "within a second"
    )


def _beyond_acceleration(frames: Frames, contract: Contract) -> Iterator[str]:
    """Changes of speed from one period to the next; over a hole nothing is known."""
    most = _limits(d.max_acceleration for d in contract.action.dims)
    order = 1 if contract.action.control_mode == keys.EE_DELTA else 2
    if not np.isfinite(most).any() or len(frames) <= order:
        return
    change = np.abs(np.diff(frames.actions.astype(float), order, axis=0)) * contract.rate_hz**2
    whole = frames.indices[order:] - frames.indices[:-order] == order
    beyond = (change > most * ACTION_RATE_SLACK + 1e-6) & whole[:, None]
    yield from _counted(beyond, change, most, contract, "a second squared")


def _beyond_workspace(frames: Frames, contract: Contract) -> Iterator[str]:
    box = contract.action.safety.workspace
    if box is None:
        return
    stream = contract.stream(box.stream)
    for axis in "xyz":
        low, high = getattr(box, axis)
        here = frames.values[box.stream][:, stream.names.index(axis)]
        outside = np.flatnonzero((here < low) | (here > high))
        if len(outside):
            yield (
                f"{box.stream} {axis} is {here[outside[0]]:.3f} m, workspace [{low:g}, {high:g}] "
                f"({counted(len(outside), 'frame')})"
            )


def _counted(
    beyond: np.ndarray, found: np.ndarray, most: np.ndarray, contract: Contract, unit: str
) -> Iterator[str]:
    """Says what is beyond its most, (N, A) each."""
    if beyond.any():
        row, dim = np.argwhere(beyond)[0]
        yield (
            f"action {contract.action.names[dim]}: {found[row, dim]:.4g} {unit}, at most "
            f"{most[dim]:g} ({_frames(beyond)})"
        )
