"""Initial values that give roboalign-tiny a sense of place and number before its first step.

Drawn at random like the rest, both are learnt late: coordinates were no better than chance after
1,200 steps. Smooth positions let the vision tower say where a patch is, and neighbouring integers
that look alike turn the choice among coordinates into something close to a regression.
"""

from __future__ import annotations

import numpy as np
import torch

POSITION_AMPLITUDE = 0.3
"""About the size of a patch's own embedding at initialisation."""


def grid_positions(side: int, dim: int, amplitude: float = POSITION_AMPLITUDE) -> torch.Tensor:
    """Sine and cosine of both coordinates of a square grid, row-major.

    Args:
        side: patches along a side.
        dim: features, a multiple of 4.
        amplitude: of every feature.

    Returns:
        (side * side, dim) float32.

    Source: A. Vaswani et al., Attention is all you need (2017), in two dimensions.
    """
    if dim % 4:
        raise ValueError(f"dim: found {dim}, expected a multiple of 4")
    rows, columns = np.divmod(np.arange(side * side), side)
    frequencies = np.pi / side * np.linspace(0.5, side / 2, dim // 4)
    angles = [(c[:, None] + 0.5) * frequencies for c in (columns, rows)]
    features = np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)], axis=1)
    return torch.from_numpy((amplitude * features).astype(np.float32))


def number_embeddings(numbers: range, dim: int, std: float, seed: int = 0) -> torch.Tensor:
    """Embeddings of integers that change slowly from one to the next.

    Args:
        numbers: the integers.
        dim: width, even.
        std: root mean square of an entry.
        seed: of the phases.

    Returns:
        (len(numbers), dim) float32: sines and cosines with periods of 4 to 400.
    """
    values = np.array(numbers, float)[:, None]
    periods = np.geomspace(4.0, 400.0, dim // 2)
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, dim // 2)
    angles = 2 * np.pi * values / periods + phases
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return torch.from_numpy((np.sqrt(2) * std * waves).astype(np.float32))
