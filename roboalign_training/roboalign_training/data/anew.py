"""A data set made anew beside the one whose place it takes when it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from roboalign_policy.core.contract import Contract
from roboalign_training.conversion.target import VIDEOS
from roboalign_training.conversion.work_folder import PARTS
from roboalign_training.data.errors import DataError, DatasetError, RefusedError
from roboalign_training.data.index import (
    CONTRACT,
    DATA,
    INDEX,
    LOCK,
    STATS,
    TOKENIZER,
    load_index,
    locked,
)
from roboalign_training.data.recipe import Recipe
from roboalign_training.data.table import read_entry
from roboalign_training.shared.exchange import exchanged

_OURS = frozenset({INDEX, CONTRACT, STATS, TOKENIZER, DATA, VIDEOS, PARTS, LOCK})
_SHOWN = 4
FITTED_GONE = (
    "the data set that was replaced had statistics and a tokenizer, which went with it: "
    "`roboalign fit-tokenizer` makes new ones"
)
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Anew:
    """A data set that is there and has to give way, and what takes its place is made with.

    Attributes:
        contract: The one that was asked for, else its own; None where neither is known.
        recipe: The rules, alike.
        episodes: Its entries.
    """

    contract: Contract | None
    recipe: Recipe
    episodes: tuple[dict, ...]


def is_fitted(out: Path) -> bool:
    """Whether a data set has statistics and a tokenizer."""
    return (out / STATS).exists() and (out / TOKENIZER).exists()


def other_rules(out: Path, contract: Contract | None, recipe: Recipe | None) -> Anew | None:
    """Whether a data set was made with another contract or other rules than those asked for.

    Args:
        out: Its folder.
        contract: What was asked for; None leaves its own.
        recipe: The same of the rules.

    Returns:
        None where they are the same, or there is no data set.
    """
    _finish_exchange(out)
    if not (out / INDEX).exists():
        return _unfinished(out, contract, recipe or Recipe())
    index = load_index(out)
    contract = index.contract if contract is None else contract
    rules = index.recipe if recipe is None else recipe.to_dict()
    if (contract.hash, rules) == (index.contract.hash, index.recipe):
        # What another call had begun, or what was replaced by one that was killed just then.
        shutil.rmtree(_beside(out, "new"), ignore_errors=True)
        return None
    return Anew(contract, Recipe.from_dict(rules), tuple(index.episodes.values()))


def _unfinished(out: Path, contract: Contract | None, recipe: Recipe) -> Anew | None:
    """As `other_rules`, of what a conversion left that was stopped: the files say it."""
    entries = tuple(map(read_entry, sorted((out / DATA).glob("episode-*.parquet"))))
    others = [
        entry
        for entry in entries
        if Recipe.from_dict(entry["recipe"]) != recipe
        or (contract is not None and entry["contract"] != contract.hash)
    ]
    return Anew(contract, recipe, entries) if others else None


def made_anew(
    out: Path, held: Anew, is_named: Callable[[dict], bool], make: Callable[[Path], _Made]
) -> _Made:
    """Makes a data set beside the one that is there, and puts it in its place when it is whole.

    Args:
        out: The data set that is there.
        held: What `other_rules` said of it.
        is_named: Whether an episode of it is of a recording that the new one is made of.
        make: Makes it in a folder beside `out`; goes on with what it left there before.

    Returns:
        What `make` returned.

    Raises:
        RefusedError: When something would be lost that is not made anew.
        DatasetError: When a source of the old one cannot be read any more; that one stays.
    """
    _refuse_losses(out, {e["source"] for e in held.episodes if not is_named(e)})
    fresh = _beside(out, "new")
    with locked(out):
        had = fresh.exists()
        try:
            try:
                made = make(fresh)
            except RefusedError:
                if not had:
                    raise
                shutil.rmtree(fresh)  # of a call with yet other options
                made = make(fresh)
        except DataError as error:
            raise type(error)(out, error.cause) if error.path == str(fresh) else error from error
        unread = {e["source"] for e in load_index(fresh).skipped if not e["bag_sha256"]}
        if lost := sorted({e["source"] for e in held.episodes} & unread):
            shutil.rmtree(fresh)
            raise DatasetError(
                out,
                f"holds episodes of {_listed(lost)}, which cannot be read any more; nothing was "
                "changed",
            )
        _refuse_losses(out, ())  # something may have come in meanwhile
        _exchange(fresh, out)
    return made


def _refuse_losses(out: Path, others: Collection[str]) -> None:
    """Refuses to replace a folder with which something else would go."""
    if out.is_symlink():
        raise RefusedError(out, f"is a link, expected the folder itself: {out.resolve()}")
    if others:
        raise RefusedError(
            out,
            f"holds episodes of other recordings ({_listed(sorted(others))}), which --overwrite "
            "would lose; nothing was changed: name them too, or choose another folder",
        )
    if foreign := sorted(path.name for path in out.iterdir() if path.name not in _OURS):
        raise RefusedError(
            out,
            f"holds {_listed(foreign)} beside the data set that is to be replaced; nothing was "
            "changed: move that away, or choose another folder",
        )


def _exchange(fresh: Path, out: Path) -> None:
    """Puts one folder in the place of another, which goes."""
    old = _beside(out, "old")
    shutil.rmtree(old, ignore_errors=True)
    if exchanged(fresh, out):
        fresh.rename(old)
    else:
        out.rename(old)
        try:
            fresh.rename(out)
        except OSError:
            old.rename(out)
            raise
    shutil.rmtree(old)


def _finish_exchange(out: Path) -> None:
    """Does what a kill in the middle of `_exchange` left to do."""
    fresh, old = _beside(out, "new"), _beside(out, "old")
    if not out.exists() and old.exists() and (fresh / INDEX).exists():
        fresh.rename(out)
    if out.exists() and not fresh.exists():
        shutil.rmtree(old, ignore_errors=True)


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f".{out.name}.{kind}")


def _listed(names: Collection[str]) -> str:
    """The first of some names."""
    shown = list(names)[:_SHOWN]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if names[_SHOWN:] else "")
