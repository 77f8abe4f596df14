"""Figures of the report as PNG data addresses: curves, error bars, filmstrips."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

COLOURS = {"base": "#9aa0a6", "sft": "#4285f4", "grpo": "#0f9d58"}


def success_figure(closed_loop: Mapping[str, Mapping], arms: Sequence[str]) -> str:
    """Bars of success by suite and arm with their intervals."""
    figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
    width = 0.8 / len(arms)
    for number, arm in enumerate(arms):
        entries = [suite[arm] for suite in closed_loop.values()]
        share = np.array([e["successes"] / e["n"] for e in entries])
        low, high = np.array([e["interval"] for e in entries]).T
        at = np.arange(len(entries)) + (number - (len(arms) - 1) / 2) * width
        error = np.clip([share - low, high - share], 0, None) * 100
        axes.bar(at, share * 100, width, label=arm, color=COLOURS[arm], yerr=error, capsize=3)
    axes.set_xticks(range(len(closed_loop)), list(closed_loop))
    axes.set_ylabel("success, %")
    axes.set_ylim(0, 105)
    axes.legend(frameon=False)
    return _png(figure)


def curves_figure(metrics: Sequence[Mapping], keys: Mapping[str, str], ylabel: str) -> str:
    """Lines over optimiser steps.

    Args:
        metrics: lines of a run's metrics.jsonl.
        keys: key of a line to its label; keys that no line has are left out.
        ylabel: of the axis.
    """
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    for key, label in keys.items():
        points = [
            (line["step"], line[key])
            for line in metrics
            if line.get(key) is not None and "step" in line
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                label=label,
                marker="o" if len(points) < 40 else None,
                markersize=3,
            )
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(ylabel)
    if axes.lines:
        axes.legend(frameon=False)
    return _png(figure)


def error_figure(open_loop: Mapping[str, Mapping]) -> str:
    """Mean absolute action error by dimension and arm."""
    figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    arms = [arm for arm in open_loop if open_loop[arm]["action_l1_by_dimension"]]
    for number, arm in enumerate(arms):
        errors = open_loop[arm]["action_l1_by_dimension"]
        at = np.arange(len(errors)) + (number - (len(arms) - 1) / 2) * 0.35
        axes.bar(at, list(errors.values()), 0.35, label=arm, color=COLOURS[arm])
        axes.set_xticks(range(len(errors)), list(errors))
    axes.set_ylabel("mean |error|, action units")
    if arms:
        axes.legend(frameon=False)
    return _png(figure)


def filmstrip(images: np.ndarray, count: int = 10) -> str:
    """An episode as a strip of evenly spaced frames.

    Args:
        images: (K, H, W, 3) uint8 rgb, in time.
        count: frames shown at most.
    """
    chosen = images[
        np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    ]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(list(chosen), axis=1)).save(buffer, "PNG")
    return _address(buffer)


def _png(figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return _address(buffer)


def _address(buffer: io.BytesIO) -> str:
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
