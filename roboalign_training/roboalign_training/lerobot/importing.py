"""A LeRobot data set, v2.1 or v3.0, as demonstrations: a data set of ours, resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from os.path import relpath
from pathlib import Path

from roboalign_policy.core.contract import Contract
from roboalign_training.data.dataset import enter_episodes, open_index
from roboalign_training.data.errors import DatasetError
from roboalign_training.data.image_storage import AUTO, PNG
from roboalign_training.data.index import INDEX, DatasetIndex, locked
from roboalign_training.data.recipe import Recipe
from roboalign_training.lerobot.job import ImportJob
from roboalign_training.lerobot.layout import PASSPORT
from roboalign_training.lerobot.mapping import FeatureMap, make_map
from roboalign_training.lerobot.passport import Passport, load_passport
from roboalign_training.lerobot.source import LeRobotSource, open_source


@dataclass
class Imported:
    """What came of an import.

    Attributes:
        index: The data set's index, already saved.
        fmap: What came from where.
        added: Ids of the episodes that are new.
        known: Episodes that it had, or had left out, before.
        skipped: Entries of those left out now, with the reason.
        failed: Why an episode could not be read, one text each.
        notes: What a user should know.
    """

    index: DatasetIndex
    fmap: FeatureMap
    added: list[str] = field(default_factory=list)
    known: int = 0
    skipped: list[dict] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_dataset(
    folder: str | Path | LeRobotSource,
    out: str | Path,
    contract: Contract | None = None,
    *,
    maps: dict[str, str] | None = None,
    renames: dict[str, str] | None = None,
    gains: dict[str, tuple[float, float]] | None = None,
    recipe: Recipe | None = None,
    on_frame: Callable[[], None] | None = None,
) -> Imported:
    """Adds the episodes of a LeRobot data set to a data set, which is made where there is none.

    Args:
        folder: The LeRobot data set, or what `open_source` made of it.
        out: The data set.
        contract: The robot; None takes the one that an export of ours carries.
        maps: Feature -> contract key, where names do not say it; see `mapping.make_map`.
        renames: Name of a dimension there -> in the contract.
        gains: Dimension of the contract -> gain and offset: ours = theirs * gain + offset.
        recipe: Which episodes are taken, and what was asked for; None for the data set's own
            rules, else those of the export, else the defaults.
        on_frame: Called for every image of every frame, looked at or passed over.

    Raises:
        DatasetError: When either data set is damaged, they do not fit, or no episode is fit.
    """
    source = folder if isinstance(folder, LeRobotSource) else open_source(folder)
    out = Path(out)
    contract = import_contract(source, contract)
    passport = load_passport(source.folder)
    if passport is not None and (maps or renames or gains):
        raise DatasetError(
            source.folder,
            "is an export of a RoboAlign data set: there is nothing to map or convert",
        )
    fmap = make_map(contract, source, maps, renames, gains)
    with locked(out):
        index = open_index(out, contract, (), _recipe(out, passport, recipe))
        if index.recipe["images"] not in (AUTO, PNG):
            raise DatasetError(
                out,
                f"stores images as {index.recipe['images']}, but what is imported is stored "
                "without loss: import into another folder",
            )
        place = relpath(source.folder, out)
        # What could not be read has no hash: it may be repaired, and is tried again.
        index.skipped = [e for e in index.skipped if e["bag_sha256"] or e["source"] != place]
        job = ImportJob(source, index, fmap, passport, on_frame or (lambda: None))
        done = Imported(index, fmap, notes=list(fmap.notes))
        for episode in source.episodes:
            taken, before = job.take(episode), len(index.skipped)
            enter_episodes(index, taken)
            done.known += taken.known
            done.skipped += index.skipped[before:]
            refused = {entry["id"] for entry in index.skipped[before:]}
            done.added += [e["id"] for e in taken.entries if e["id"] not in refused]
            if taken.error:
                done.failed.append(taken.error)
                index.skipped.append({"id": f"episode {episode.number}", "source": place,
                                      "bag_sha256": "", "reason": taken.error})  # fmt: skip
        done.notes += job.ranges.notes(contract)
        if not index.episodes:
            why = "; ".join([*(e["reason"] for e in done.skipped), *done.failed][:10])
            raise DatasetError(out, f"no episode to put in it: {why or 'the source has none'}")
        index.save()
    return done


def import_contract(source: LeRobotSource, given: Contract | None) -> Contract:
    """The contract to import with: the one that the source carries, else the one that is given.

    Raises:
        DatasetError: When there is none, or the two are not the same.
    """
    passport = load_passport(source.folder)
    if passport is None:
        if given is None:
            raise DatasetError(
                source.folder, "carries no RoboAlign contract: name one with --contract"
            )
        return given
    if given is not None and given.hash != passport.contract.hash:
        raise DatasetError(
            source.folder,
            f"carries contract {passport.contract.name} ({passport.contract.hash[:12]}), found "
            f"--contract {given.name} ({given.hash[:12]}): leave it out",
        )
    if len(passport.episodes) != len(source.episodes):
        raise DatasetError(
            source.folder,
            f"has {len(source.episodes)} episodes, but {len(passport.episodes)} were exported: "
            f"changed since. Without {PASSPORT} it is read as any other, with --contract",
        )
    return passport.contract


def _recipe(out: Path, passport: Passport | None, given: Recipe | None) -> Recipe | None:
    """The rules for `open_index`, where None stands for those of the data set or the defaults."""
    if given is None and passport is not None and not (out / INDEX).exists():
        recipe = Recipe.from_dict(passport.recipe)
        # Images come in without loss, however they were stored before.
        return replace(recipe, images=AUTO, quality=None) if passport.lossy else recipe
    return given
