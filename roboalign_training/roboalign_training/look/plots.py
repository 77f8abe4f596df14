"""Pictures of recordings: actions over time, first frames, and a page that shows them together."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # before pyplot: there is no display on a robot or in CI

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

from roboalign_policy.core.contract.contract import Contract

MOSAIC_COLUMNS = 8
TITLE_LETTERS = 110
"""Of a line above a plot 9 inches wide; longer ones, as of deep folders, would be cut off."""


def plot_actions(
    path: Path, contract: Contract, actions: Sequence[np.ndarray], title: str
) -> None:
    """Draws every action dimension over time, one line an episode.

    Args:
        path: PNG to write.
        contract: Names, units and limits of the dimensions.
        actions: (N_i, A) float32 of each episode, in the contract's units.
        title: Shown above.
    """
    dims = contract.action.dims
    figure, axes = plt.subplots(
        len(dims), 1, figsize=(9, 1.3 * len(dims) + 0.6), sharex=True, squeeze=False, dpi=90
    )
    try:
        for d, (dim, axis) in enumerate(zip(dims, axes[:, 0], strict=True)):
            for episode in actions:
                seconds = np.arange(len(episode)) / contract.rate_hz
                axis.plot(seconds, episode[:, d], lw=0.8, alpha=max(0.15, 1 / len(actions) ** 0.5))
            for limit in dim.limits:
                axis.axhline(limit, color="0.6", lw=0.6, ls="--")
            axis.set_ylabel(f"{dim.name}\n[{dim.unit}]", fontsize=7)
            axis.tick_params(labelsize=7)
        axes[-1, 0].set_xlabel("time [s]", fontsize=8)
        figure.suptitle(textwrap.fill(title, TITLE_LETTERS), fontsize=9)
        figure.tight_layout()
        figure.savefig(path)
    finally:
        plt.close(figure)


def save_mosaic(path: Path, images: Sequence[np.ndarray]) -> None:
    """Puts images of equal size side by side, eight in a row.

    Args:
        path: PNG to write.
        images: (H, W, 3) uint8 RGB each; at least one.
    """
    height, width, _ = images[0].shape
    rows = -(-len(images) // MOSAIC_COLUMNS)
    columns = min(len(images), MOSAIC_COLUMNS)
    canvas = np.full((rows * (height + 2), columns * (width + 2), 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // MOSAIC_COLUMNS) * (height + 2), (i % MOSAIC_COLUMNS) * (width + 2)
        canvas[top : top + height, left : left + width] = image
    Image.fromarray(canvas).save(path)


def write_page(
    path: Path, title: str, tables: Sequence[tuple[str, list[list[str]]]], images: Sequence[str]
) -> None:
    """Writes an HTML page without scripts or outside resources.

    Args:
        path: File to write; the images lie beside it.
        title: Heading.
        tables: (caption, rows), the first row the header.
        images: File names.
    """
    parts = [
        "<!doctype html><meta charset='utf-8'>",
        f"<title>{html.escape(title)}</title>",
        "<style>body{font:14px sans-serif;margin:2em;max-width:70em}"
        "td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
        "img{max-width:100%}</style>",
        f"<h1>{html.escape(title)}</h1>",
    ]
    for caption, rows in tables:
        parts.append(f"<h2>{html.escape(caption)}</h2><table>")
        for number, row in enumerate(rows):
            tag = "td" if number else "th"
            cells = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            parts.append(f"<tr>{cells}</tr>")
        parts.append("</table>")
    for name in images:
        parts.append(f"<h2>{html.escape(name)}</h2><img src='{html.escape(name)}' alt=''>")
    path.write_text("\n".join(parts) + "\n", "utf-8")
