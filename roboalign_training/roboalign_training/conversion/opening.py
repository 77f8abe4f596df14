"""What a data set must be before bags are added to it: all of it is found out beforehand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import BagError, NoContractError, RefusedError
from roboalign_training.conversion.leftovers import refuse_missing, sources_of
from roboalign_training.conversion.target import VIDEOS
from roboalign_training.conversion.work_folder import PARTS
from roboalign_training.data.index import (
    CONTRACT,
    DATA,
    INDEX,
    STATS,
    TOKENIZER,
    DatasetIndex,
    load_index,
)
from roboalign_training.episodes.episodes import bag_contract
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.images.image_storage import VIDEO
from roboalign_training.shared.differences import differences


def checked_index(
    out: Path,
    contract: Contract | None,
    bags: Sequence[str | Path],
    recipe: Recipe | None,
    again: Collection[str] = (),
) -> DatasetIndex:
    """The index at `out`, or a new one; changes nothing. Errors are those of `build_dataset`.

    Args:
        out: The data set.
        contract: As of `build_dataset`.
        bags: The bags that are given.
        recipe: As of `build_dataset`.
        again: Other sources that are read again, as entries name them.
    """
    if not (out / INDEX).exists():
        _check_new(out)
        return DatasetIndex(out, contract or _first_contract(bags), (recipe or Recipe()).to_dict())
    index = load_index(out)
    if contract is None or contract.hash == index.contract.hash:
        contract = index.contract
    rules = index.recipe if recipe is None else recipe.to_dict()
    refuse_other_making(out, (_named(index.contract), index.recipe), (_named(contract), rules))
    refuse_missing(index, {*sources_of(bags, out), *again})
    return index


def refuse_other_making(
    place: Path, held: tuple[str, Mapping[str, Any]], wanted: tuple[str, Mapping[str, Any]]
) -> None:
    """Refuses a data set with another contract or other rules; lists the keys that differ.

    Args:
        place: What is there.
        held: The contract that it was made with, by its hash, and the rules.
        wanted: Those that are wanted now.

    Raises:
        RefusedError: When they differ.
    """
    found, now = ({"contract": contract, **rules} for contract, rules in (held, wanted))
    if differing := "; ".join(differences(found, now, all_keys=True)):
        raise RefusedError(
            place,
            f"was made with another contract or other rules: {differing}; nothing was changed: "
            "give those, or choose another folder",
        )


def _named(contract: Contract) -> str:
    """Name and hash of a contract."""
    return f"{contract.name} {contract.hash[:12]}"


def _check_new(out: Path) -> None:
    """Refuses a place that holds something else than a conversion that was stopped."""
    if not out.exists():
        return
    if not out.is_dir():
        raise RefusedError(out, "is a file, expected the folder of a data set, or a new one")
    found = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    begun = (out / PARTS).is_dir() or (out / DATA).is_dir()
    ours = {CONTRACT, DATA, VIDEOS, STATS, TOKENIZER} if begun else set()
    if foreign := [name for name in found if name not in ours]:
        shown = ", ".join(foreign[:3]) + (" ..." if foreign[3:] else "")
        raise RefusedError(
            out, f"holds other files ({shown}) and no {INDEX}: name a new or an empty folder"
        )


def check_images(index: DatasetIndex) -> None:
    """Refuses images that a video cannot hold, before any bag is read."""
    odd = [s for s in index.contract.images if s.value_shape[0] % 2 or s.value_shape[1] % 2]
    if index.recipe["images"] == VIDEO and odd:
        raise RefusedError(
            index.folder,
            f"{odd[0].key}: {odd[0].value_shape[:2]} pixels, but videos take even numbers: store "
            "images as auto, png or jpeg",
        )


def _first_contract(bags: Sequence[str | Path]) -> Contract:
    """The contract in the first bag that has one."""
    unread: list[BagError] = []
    for path in bags:
        try:
            contract = bag_contract(read_bag(path))
        except BagError as error:
            unread.append(error)  # reported when it is converted
            continue
        if contract is not None:
            return contract
    if unread and len(unread) == len(bags):
        raise unread[0]
    shown = ", ".join(map(str, bags[:3]))
    raise NoContractError(shown or "no bags", "no contract in any bag: name one with --contract")
