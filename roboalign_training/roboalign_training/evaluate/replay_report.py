"""Figures of a replay: the chunks of the live node against what the demonstrator did next."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # before pyplot: there is no display on a robot or in CI

import matplotlib.pyplot as plt
import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.fast.errors import CoefficientRangeError
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.evaluate.replay import (
    LIMIT,
    Recording,
    ReplayAnswer,
    ReplayIdentity,
    ReplaySettings,
)
from roboalign_training.learning.rewards import prefix_accuracy
from roboalign_training.look.plots import TITLE_LETTERS
from roboalign_training.shared.statistics import mean_interval, wilson_interval

MOST_CELLS = 150  # of a table of errors that are written out as numbers


def has_whole_chunk(indices: np.ndarray, horizon: int) -> np.ndarray:
    """Tell after which frames the demonstrator's next T actions are all recorded.

    Args:
        indices: (N,) int, position of each frame on the grid of frame times, increasing.
        horizon: T.

    Returns:
        (N,) bool; unlike in training nothing is padded past the end: padding is no demonstration.
    """
    whole = np.zeros(len(indices), bool)
    if (count := len(indices) - horizon + 1) > 0:
        whole[:count] = indices[horizon - 1 :] - indices[:count] == horizon - 1
    return whole


def chunk_errors(
    answers: Sequence[ReplayAnswer], rows: Sequence[int], frames: EpisodeFrames, horizon: int
) -> np.ndarray:
    """Absolute errors against the demonstrator, (M, T, A) float64, action units.

    Over the M answers that are valid and have a whole chunk demonstrated.
    """
    whole = has_whole_chunk(frames.indices, horizon)
    actions = frames.actions.astype(np.float64)
    errors = [
        np.abs(answer.actions - actions[row : row + horizon])
        for row, answer in zip(rows, answers, strict=True)
        if answer.status == ChunkStatus.OK and whole[row]
    ]
    return np.array(errors).reshape(len(errors), horizon, actions.shape[1])


def make_report(
    recording: Recording,
    rows: Sequence[int],
    answers: Sequence[ReplayAnswer],
    identity: ReplayIdentity,
    encode: Callable[[np.ndarray], list[list[int]]],
    settings: ReplaySettings,
) -> dict[str, Any]:
    """All figures of a replay; see docs/replay.md for the keys.

    Args:
        recording: the episode.
        rows: N frames that were asked.
        answers: N answers of the live node.
        identity: from `compare`.
        encode: chunks (N, T, A) to FAST tokens, as `MLLMPolicy.tokens_of`.
        settings: how it was replayed.
    """
    frames, action = recording.frames, recording.contract.action
    horizon = action.horizon
    whole = has_whole_chunk(frames.indices, horizon)
    errors = chunk_errors(answers, rows, frames, horizon)
    asked = [(row, a) for row, a in zip(rows, answers, strict=True) if whole[row]]
    prefixes, no_tokens = _prefix_accuracies(
        [(a.tokens, frames.actions[row : row + horizon]) for row, a in asked], encode
    )
    faults = Counter(a.status for a in answers if a.status != ChunkStatus.OK)
    valid = len(answers) - faults.total()
    seconds = np.array([a.inference_s for a in answers])
    return {
        "bag": str(recording.bag.path),
        "bag_sha256": recording.bag.sha256,
        "episode_id": frames.episode_id,
        "instruction": frames.instruction,
        "outcome": frames.outcome,
        "contract": {"name": recording.contract.name, "hash": recording.contract.hash},
        "settings": asdict(settings),
        "frames": {"episode": len(frames), "asked": len(rows), "whole_chunk": len(asked),
                   "dropped": frames.dropped, "trimmed": frames.trimmed},
        "identity": {**asdict(identity), "limit": LIMIT, "same": not identity.fault},
        "validity": {"valid": valid, "n": len(answers), "faults": dict(faults),
                     "interval": wilson_interval(valid, len(answers))},
        "action_l1": _mean(errors.mean(axis=(1, 2))),
        "by_dimension": {
            dim.name: {"unit": dim.unit, **_mean(errors[:, :, d].mean(axis=1)),
                       "by_step": [_mean(errors[:, t, d])["mean"] for t in range(horizon)]}
            for d, dim in enumerate(action.dims)
        },
        "prefix_accuracy": {**_mean(np.array(prefixes)), "no_tokens": no_tokens},
        "inference_s": {"p50": float(np.percentile(seconds, 50)),
                        "p95": float(np.percentile(seconds, 95)), "n": len(seconds)},
    }  # fmt: skip


def _prefix_accuracies(
    pairs: Sequence[tuple[list[int], np.ndarray]], encode: Callable[[np.ndarray], list[list[int]]]
) -> tuple[list[float], int]:
    """Prefix accuracy of each (tokens, demonstrated chunk (T, A)), and how many were left out.

    Left out are chunks that the policy's tokenizer has no tokens for, as of a demonstrator who
    went faster than all that it was fitted to: nothing could have been right there. Where actions
    are no tokens in this policy there is nothing to leave out.
    """
    accuracies, beyond = [], 0
    for tokens, chunk in pairs:
        try:
            targets = encode(chunk[None])
        except CoefficientRangeError:
            beyond += 1
            continue
        if targets is not None:
            accuracies.append(prefix_accuracy(tokens, targets[0]))
    return accuracies, beyond


def _mean(values: np.ndarray) -> dict[str, Any]:
    """Mean of (M,) values with its 95 % interval and M; None where M is too small for one."""
    mean = float(values.mean()) if len(values) else None
    return {"mean": mean, "interval": mean_interval(values.tolist()), "n": len(values)}


def summary(report: dict[str, Any]) -> str:
    """The report as Markdown, to read on a terminal."""
    frames, same, valid = report["frames"], report["identity"], report["validity"]
    seconds, prefix = report["inference_s"], report["prefix_accuracy"]
    greatest = "no valid chunk to compare"
    if same["greatest"] is not None:
        greatest = f"greatest difference {same['greatest']:.3g} over {same['valid']} valid chunks"
    low, high = valid["interval"]
    faults = ", ".join(f"{count} {kind}" for kind, count in valid["faults"].items())
    verdict = "identical to" if same["same"] else "**NOT identical to**"
    missed = f"; {prefix['no_tokens']} left out: outside what the policy's tokens can say"
    prefixes = f"{_shown(prefix)}{missed if prefix['no_tokens'] else ''}"
    if frames["whole_chunk"] and not prefix["n"] and not prefix["no_tokens"]:
        prefixes = "none: this policy's actions are no tokens"
    lines = [
        f"# Replay of {report['episode_id']}",
        "",
        f"`{report['instruction']}`, outcome {report['outcome']}, contract "
        f"{report['contract']['name']}: {frames['asked']} of {frames['episode']} frames asked",
        "",
        f"- live node {verdict} the offline evaluation: {greatest} (limit {same['limit']:g})",
        f"- valid chunks: {valid['valid']} of {valid['n']} (95 %: {100 * low:.0f} to "
        f"{100 * high:.0f} %){f'; {faults}' if faults else ''}",
        f"- prefix accuracy: {prefixes}",
        f"- inference: p50 {seconds['p50']:.3f} s, p95 {seconds['p95']:.3f} s, n = {seconds['n']}",
        "",
        "| absolute error | unit | mean (95 %) | first step | last step |",
        "|---|---|---|---|---|",
    ]
    for name, entry in report["by_dimension"].items():
        ends = [_number(entry["by_step"][step]) for step in (0, -1)]
        cells = [name, entry["unit"], _shown(entry), *ends]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", f"all dimensions, in action units: {_shown(report['action_l1'])}"]
    )


def _shown(entry: dict[str, Any]) -> str:
    """A mean with its interval and n."""
    if entry["mean"] is None:
        return "no whole chunk"
    interval = entry["interval"]
    spread = f" ({_number(interval[0])} to {_number(interval[1])})" if interval else ""
    return f"{_number(entry['mean'])}{spread}, n = {entry['n']}"


def _number(value: float | None) -> str:
    """Three decimals; a zero has no sign."""
    return "-" if value is None else f"{round(value, 3) + 0.0:.3f}"


def plot_actions(
    path: Path, recording: Recording, rows: Sequence[int], answers: Sequence[ReplayAnswer]
) -> None:
    """Draw each dimension over time: what was done, and the first action that was predicted.

    Frames with an invalid chunk are marked at the foot of every axis.

    Args:
        path: PNG to write.
        recording: the episode.
        rows: N frames that were asked.
        answers: N answers.
    """
    dims, frames = recording.contract.action.dims, recording.frames
    seconds = (frames.stamps_ns - frames.stamps_ns[0]) / 1e9
    at = seconds[list(rows)]
    bad = np.array([a.status != ChunkStatus.OK for a in answers])
    first = np.full((len(answers), len(dims)), np.nan)
    for n, answer in enumerate(answers):
        if answer.status == ChunkStatus.OK:
            first[n] = answer.actions[0]
    # A line over a missing frame would show actions that nobody recorded.
    gaps = np.flatnonzero(np.diff(frames.indices) > 1) + 1
    times, done = np.insert(seconds, gaps, np.nan), np.insert(frames.actions, gaps, np.nan, axis=0)
    figure, axes = plt.subplots(
        len(dims), 1, figsize=(9, 1.4 * len(dims) + 1.0), sharex=True, squeeze=False, dpi=100,
        layout="constrained",
    )  # fmt: skip
    try:
        for d, (dim, axis) in enumerate(zip(dims, axes[:, 0], strict=True)):
            axis.plot(times, done[:, d], color="#9aa0a6", lw=2.0, label="demonstrator")
            axis.plot(
                at, first[:, d], "o", color="#4285f4", ms=3.5, label="first predicted action"
            )
            if bad.any():
                axis.plot(at[bad], np.full(bad.sum(), dim.limits[0]), "x", color="#d93025", ms=5,
                          label="invalid chunk")  # fmt: skip
            for limit in dim.limits:
                axis.axhline(limit, color="0.75", lw=0.6, ls="--", zorder=0)
            axis.set_ylabel(f"{dim.name}\n[{dim.unit}]", fontsize=8)
            axis.tick_params(labelsize=7)
        axes[-1, 0].set_xlabel("time in the episode [s]", fontsize=8)
        title = f"{frames.episode_id}: {frames.instruction}"
        figure.suptitle(textwrap.fill(title, TITLE_LETTERS), fontsize=9)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False
        )
        figure.savefig(path)
    finally:
        plt.close(figure)


def plot_errors(path: Path, contract: Contract, report: dict[str, Any]) -> None:
    """Draw the mean absolute error by dimension and step of the chunk.

    The colour is the share of the dimension's range, so that dimensions compare; the numbers are
    in its unit.

    Args:
        path: PNG to write.
        contract: ranges and units of the dimensions.
        report: from `make_report`.
    """
    dims, horizon = contract.action.dims, contract.action.horizon
    entries = report["by_dimension"]
    errors = np.array([entries[dim.name]["by_step"] for dim in dims], np.float64)
    share = 100 * errors / (contract.action.high - contract.action.low)[:, None]
    n = report["action_l1"]["n"]
    figure, axis = plt.subplots(
        figsize=(max(5.0, 0.62 * horizon + 2.5), 0.42 * len(dims) + 1.6), dpi=100,
        layout="constrained",
    )  # fmt: skip
    try:
        top = max(1.0, np.nanmax(share)) if n else 1.0
        image = axis.imshow(share, cmap="Blues", vmin=0, vmax=top, aspect="auto")
        if n and errors.size <= MOST_CELLS:
            for (d, t), error in np.ndenumerate(errors):
                colour = "white" if share[d, t] > 0.6 * top else "black"
                axis.text(t, d, f"{error:.2f}", ha="center", va="center", fontsize=7, color=colour)
        axis.set_yticks(range(len(dims)), [f"{d.name} [{d.unit}]" for d in dims], fontsize=8)
        axis.set_xticks(range(horizon), range(1, horizon + 1), fontsize=8)
        axis.set_xlabel("step of the chunk", fontsize=8)
        title = f"mean absolute error, {n} chunks of {report['episode_id']}"
        figure.suptitle(textwrap.fill(title, int(12 * figure.get_figwidth())), fontsize=9)
        bar = figure.colorbar(image, ax=axis)
        bar.set_label("% of the dimension's range", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        figure.savefig(path)
    finally:
        plt.close(figure)
