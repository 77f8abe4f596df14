"""Statistics and the FAST tokenizer of a data set: what turns its actions into tokens and back."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.hashing import sha256_json
from roboalign_policy.core.keys import EE_DELTA
from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.fast import FastTokenizer
from roboalign_policy.fast.errors import FastError
from roboalign_training.bags.errors import DatasetError, RefusedError
from roboalign_training.data.chunks import GRIPPER
from roboalign_training.data.frame_dataset import FrameDataset, load_frames
from roboalign_training.data.index import STATS, TOKENIZER, load_index, locked, write_json
from roboalign_training.shared.write_errors import writing

SCHEMA = "roboalign-stats/1"
STILL = 0.01
"""Share of a dimension's range: what stays within it does not move."""


def action_stats(actions: np.ndarray, contract: Contract) -> tuple[QuantileStats, dict[str, str]]:
    """Statistics of actions, safe to normalise with.

    The formula divides by q99 - q01. Where that is (almost) zero, noise would become a huge value,
    and a gripper that is closed in 99.5 % of the frames would have no range at all. A dimension
    that never moves gets a narrow band around its place, so that a policy that errs there moves it
    hardly either; for one that moves rarely, and for grippers, the contract's limits take the
    place of the quantiles.

    Args:
        actions: (N, A) float32, in the contract's units.
        contract: Gives names and limits.

    Returns:
        The statistics, and for each dimension that has other values than quantiles the reason.
    """
    stats = QuantileStats.from_samples(actions)
    low, high = contract.action.low.astype(float), contract.action.high.astype(float)
    reach, still = high - low, STILL * (high - low)
    least, most = actions.min(axis=0).astype(float), actions.max(axis=0).astype(float)
    q01, q99, reasons = stats.q01.copy(), stats.q99.copy(), {}
    for d, name in enumerate(contract.action.names):
        spread = float(stats.q99[d] - stats.q01[d])
        if name == GRIPPER and contract.action.control_mode == EE_DELTA:
            reasons[name] = "a gripper's command has two values, not a distribution"
            q01[d], q99[d] = low[d], high[d]
        elif most[d] - least[d] < still[d]:
            reasons[name] = f"never moves: {still[d]:.3g} to either side of its place"
            middle = (least[d] + most[d]) / 2
            q01[d], q99[d] = middle - still[d], middle + still[d]
        elif spread < still[d]:
            reasons[name] = f"moves rarely: q99 - q01 is {spread:.3g} of {reach[d]:.3g}"
            q01[d], q99[d] = low[d], high[d]
    return replace(stats, q01=q01, q99=q99), reasons


def state_stats(
    states: np.ndarray, names: tuple[str, ...]
) -> tuple[QuantileStats, dict[str, str]]:
    """Statistics of a state stream, (N, D) float32; as `action_stats`, but without limits.

    A dimension that does not move at all gets one unit to either side.
    """
    stats = QuantileStats.from_samples(states)
    still = (stats.q99 - stats.q01) < 1e-6
    middle = (stats.q99 + stats.q01) / 2
    q01 = np.where(still, middle - 1.0, stats.q01)
    q99 = np.where(still, middle + 1.0, stats.q99)
    reasons = {
        n: "does not move: one unit to either side" for n, s in zip(names, still, strict=True) if s
    }
    return replace(stats, q01=q01, q99=q99), reasons


def load_action_stats(path: Path) -> QuantileStats:
    """The action statistics of a `stats.json`.

    Raises:
        DatasetError: When it is missing or damaged.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema: found {document['schema']!r}, expected {SCHEMA!r}")
        return QuantileStats.from_dict(document["action"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(path, f"no valid statistics: {error}") from error


def fit_dataset(
    folder: str | Path,
    *,
    vocab_size: int = 1024,
    scale: float = 10.0,
    held_out: float = 0.0,
    seed: int = 0,
    overwrite: bool = False,
) -> dict:
    """Fits statistics and tokenizer to a data set and writes `stats.json` and `fast/` into it.

    Where the same data was fitted with the same options before, nothing is done.

    Args:
        folder: The data set.
        vocab_size: Most tokens the vocabulary may have.
        scale: DCT coefficients per unit of normalised action: the resolution of the tokens.
        held_out: Share of episodes, as in `load_frames`, that is not looked at.
        seed: Of that split.
        overwrite: Whether a tokenizer of other options, or of the data before episodes were
            added, is replaced.

    Returns:
        What was found, as stored in `dataset.json` under `fitted`: hashes, tokens per chunk,
        reconstruction error by dimension in the contract's units.

    Raises:
        DatasetError: When there is no data set or no whole chunk in it, or a tokenizer is there
            that would be replaced.
        FastError: When the tokenizer cannot be fitted with these options.
        ValueError: When an option is out of its range.
    """
    folder = Path(folder)
    options = {"vocab_size": vocab_size, "scale": scale, "held_out": held_out, "seed": seed}
    if (found := fitted_before(folder, options, overwrite=overwrite)) is not None:
        return found
    with locked(folder):
        data = load_frames(folder, split="train", held_out=held_out, seed=seed)
        if not data.usable.any():
            raise DatasetError(folder, "no chunk without a missing frame to fit on")
        document, stats = _statistics(data)
        chunks = data.chunks()[data.usable]
        normalised = stats.normalise(chunks).astype(np.float64)
        tokenizer = FastTokenizer.fit(normalised, vocab_size=vocab_size, scale=scale)
        found = {
            "stats": sha256_json(document),
            "tokenizer": tokenizer.hash,
            "dataset": data.hashes["dataset"],
            "options": options,
            "vocab_size": tokenizer.vocab_size,
            "broken_chunks": int(np.count_nonzero(~data.usable)),
            **_token_statistics(tokenizer, stats, chunks, normalised, data.contract),
        }
        index = load_index(folder)
        if not overwrite:
            _refuse_others(folder, found, index.fitted)
        _write(folder, tokenizer, document)
        index.fitted = found
        index.save()
    return found


def _write(folder: Path, tokenizer: FastTokenizer, document: dict) -> None:
    """Replaces tokenizer and statistics once the new ones are complete."""
    fresh, old = (folder / f".{TOKENIZER}.{kind}.{os.getpid()}" for kind in ("new", "old"))
    try:
        with writing(folder / TOKENIZER, "the tokenizer"):
            tokenizer.save(fresh)
            if (folder / TOKENIZER).exists():
                (folder / TOKENIZER).replace(old)
            fresh.replace(folder / TOKENIZER)
    finally:
        if old.exists() and not (folder / TOKENIZER).exists():
            old.replace(folder / TOKENIZER)
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
    with writing(folder / STATS, "the statistics"):
        write_json(folder / STATS, document)


def _refuse_others(folder: Path, now: dict, before: dict) -> None:
    """Refuses statistics and a tokenizer that no fit of this data set made; both may be missing.

    Those of the fit before or of this one are of a run that was interrupted.
    """
    for name, kind in ((STATS, "stats"), (TOKENIZER, "tokenizer")):
        if not (folder / name).exists():
            continue
        try:
            found = _hash_of(folder, name)
        except (OSError, ValueError, FastError):
            found = ""
        if found not in (now[kind], before.get(kind)):
            raise RefusedError(
                folder / name,
                "is damaged or was not fitted to this data set; nothing was changed: give "
                "--overwrite to replace it",
            )


def _hash_of(folder: Path, name: str) -> str:
    if name == STATS:
        return sha256_json(json.loads((folder / STATS).read_text("utf-8")))
    return FastTokenizer.load(folder / TOKENIZER).hash


def fitted_before(folder: Path, options: dict, *, overwrite: bool) -> dict | None:
    """What was found when the same data was fitted with the same options; None: fit it now.

    Changes nothing.

    Args:
        folder: The data set.
        options: Of `fit_dataset`, by name.
        overwrite: As of `fit_dataset`.

    Raises:
        DatasetError, ValueError: As `fit_dataset`.
    """
    if not 0.0 <= options["held_out"] < 1.0:
        raise ValueError(f"held_out: found {options['held_out']}, expected 0 to below 1")
    index = load_index(folder)
    fitted = index.fitted
    if not fitted or not _fits_files(folder, fitted):
        return None
    same_data = fitted["dataset"] == index.hashes["dataset"]
    if same_data and fitted["options"] == options:
        return fitted
    if overwrite:
        return None
    differing = [
        f"{name} {fitted['options'].get(name)} (found {value})"
        for name, value in options.items()
        if fitted["options"].get(name) != value
    ]
    with_what = f"with {', '.join(differing)}" if differing else "before episodes were added"
    raise RefusedError(
        folder,
        f"has a tokenizer, fitted {with_what}: policies trained with it could not be trained "
        "further; give --overwrite to replace it",
    )


def _fits_files(folder: Path, fitted: dict) -> bool:
    """Whether statistics and tokenizer are there, and are those that were fitted."""
    try:
        return all(
            _hash_of(folder, name) == fitted[kind]
            for name, kind in ((STATS, "stats"), (TOKENIZER, "tokenizer"))
        )
    except (OSError, ValueError, FastError):
        return False


def _statistics(data: FrameDataset) -> tuple[dict, QuantileStats]:
    """The content of `stats.json`, and the action statistics as an object."""
    contract = data.contract
    stats, reasons = action_stats(data.actions, contract)
    document = {
        "schema": SCHEMA,
        "contract": contract.hash,
        "dataset": data.hashes["dataset"],
        "action": {**stats.to_dict(), "names": list(contract.action.names), "replaced": reasons},
        "state": {},
    }
    for stream in contract.states:
        found, why = state_stats(data.states[stream.key], stream.names)
        document["state"][stream.key] = {
            **found.to_dict(),
            "names": list(stream.names),
            "replaced": why,
        }
    return document, stats


def _token_statistics(
    tokenizer: FastTokenizer,
    stats: QuantileStats,
    chunks: np.ndarray,
    normalised: np.ndarray,
    contract: Contract,
) -> dict:
    """Tokens per chunk and what decoding them gives back, of chunks (N, T, A)."""
    tokens = tokenizer.encode(normalised)
    lengths = np.array([len(row) for row in tokens])
    horizon, dims = chunks.shape[1:]
    decoded = stats.denormalise(tokenizer.decode(tokens, horizon=horizon, dims=dims))
    error = np.abs(decoded - chunks).reshape(-1, dims)
    return {
        "chunks": len(chunks),
        "tokens_per_chunk": {
            "mean": round(float(lengths.mean()), 3),
            "p95": float(np.quantile(lengths, 0.95)),
            "max": int(lengths.max()),
        },
        "tokens_used": len({token for row in tokens for token in row}),
        "reconstruction": {
            dim.name: {
                "mean": round(float(error[:, d].mean()), 6),
                "max": round(float(error[:, d].max()), 6),
                "unit": dim.unit,
            }
            for d, dim in enumerate(contract.action.dims)
        },
    }
