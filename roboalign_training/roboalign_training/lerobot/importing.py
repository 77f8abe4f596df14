"""A LeRobot data set, v2.1 or v3.0, as demonstrations: a data set of ours, resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from os.path import relpath
from pathlib import Path

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.bags.errors import DatasetError, RefusedError
from roboalign_training.conversion.build import open_index
from roboalign_training.data.index import INDEX, DatasetIndex
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.images.image_storage import AUTO, PNG
from roboalign_training.lerobot.causes import (
    KEPT,
    NO_EPISODE,
    NOT_FINITE,
    UNREADABLE,
    cause_of,
)
from roboalign_training.lerobot.feature_map import FeatureMap
from roboalign_training.lerobot.job import ImportJob
from roboalign_training.lerobot.layout import PASSPORT
from roboalign_training.lerobot.mapping import make_map
from roboalign_training.lerobot.passport import Passport, load_passport
from roboalign_training.lerobot.replacing import Replacements
from roboalign_training.lerobot.source import LeRobotSource, open_source
from roboalign_training.lerobot.target_folder import target_folder
from roboalign_training.shared.left_out import LeftOut
from roboalign_training.shared.places import DATASET, check_place


@dataclass
class Imported:
    """What came of an import.

    Attributes:
        index: The data set's index, already saved.
        fmap: What came from where.
        added: Ids of the episodes that are new.
        known: Episodes that it had, or had left out, before.
        skipped: Entries of those left out now, with the reason.
        out_before: Entries of those left out by an earlier call already.
        failed: Why an episode could not be read or replaced, one text each.
        notes: What a user should know.
        left_out: All that the data set lacks of the source, by cause.
    """

    index: DatasetIndex
    fmap: FeatureMap
    added: list[str] = field(default_factory=list)
    known: int = 0
    skipped: list[dict] = field(default_factory=list)
    out_before: list[dict] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def import_dataset(
    folder: str | Path | LeRobotSource,
    out: str | Path,
    contract: Contract | None = None,
    *,
    maps: dict[str, str] | None = None,
    renames: dict[str, str] | None = None,
    gains: dict[str, tuple[float, float]] | None = None,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    on_frame: Callable[[], None] | None = None,
) -> Imported:
    """Adds the episodes of a LeRobot data set to a data set, which is made where there is none.

    Args:
        folder: The LeRobot data set, or what `open_source` made of it.
        out: The data set.
        contract: The robot; None takes the one that an export of ours carries.
        maps: Feature -> contract key, where names do not say it; see `mapping.make_map`.
        renames: Name or place of a dimension there -> in the contract; see `mapping.make_map`.
        gains: Dimension of the contract -> gain and offset: ours = theirs * gain + offset.
        recipe: Which episodes are taken, and what was asked for; None for the data set's own
            rules, else those of the export, else the defaults.
        overwrite: Whether an episode that was imported before may be replaced by one of another
            content: other options, or files that were changed since. One that is not fit any more
            is removed. All of that happens at the end: a call that fails changes no episode.
        on_frame: Called for every image of every frame, looked at or passed over.

    Raises:
        OutputError: When both lie in each other, or `out` is another kind of result.
        DatasetError: When either data set is damaged, they do not fit, or no episode is fit.
    """
    source = folder if isinstance(folder, LeRobotSource) else open_source(folder)
    out = Path(out)
    check_place("--out", out, DATASET, [("LeRobot data set", source.folder)])
    contract = import_contract(source, contract)
    passport = load_passport(source.folder)
    if passport is not None and (maps or renames or gains):
        raise RefusedError(
            source.folder,
            "is an export of a RoboAlign data set: there is nothing to map or convert",
        )
    fmap = make_map(contract, source, maps, renames, gains)
    with target_folder(out):
        again = [relpath(source.folder, out)]  # its episodes whose files are missing come anew
        index = open_index(out, contract, (), _recipe(out, passport, recipe), again)
        if index.recipe["images"] not in (AUTO, PNG):
            raise RefusedError(
                out,
                f"stores images as {index.recipe['images']}, but what is imported is stored "
                "without loss: import into another folder",
            )
        job = ImportJob(source, index, fmap, passport, on_frame or (lambda: None), overwrite)
        if not overwrite:
            job.identity.check_options(source.episodes)
        done = Imported(index, fmap, notes=list(fmap.notes))
        replacements = Replacements(index)
        try:
            _take_all(source, index, job, done, replacements)
            done.notes += [*job.places.notes(), *job.ranges.notes(contract)]
            if not index.episodes:
                why = "; ".join([*(e["reason"] for e in done.skipped), *done.failed][:10])
                raise DatasetError(out, f"no episode to put in it: {why or 'the source has none'}")
            replacements.finish()
        finally:
            replacements.give_up()
        done.notes += [
            f"{name}: what was imported before is removed, for it is left out now"
            for name in replacements.removed
        ]
    return done


def _take_all(
    source: LeRobotSource,
    index: DatasetIndex,
    job: ImportJob,
    done: Imported,
    replacements: Replacements,
) -> None:
    """Takes all episodes, and counts what is left out of them."""
    place, left = job.identity.place, done.left_out
    # What could not be read has no hash: it may be repaired, and is tried again.
    index.skipped = [e for e in index.skipped if e["bag_sha256"] or e["source"] != place]
    out_before = {e["bag_sha256"]: e for e in index.skipped}
    for episode in source.episodes:
        taken = job.take(episode)
        replacements.enter(taken)
        new = list(taken.skipped)
        if taken.known:
            done.known += 1
            new = [e for e in (out_before.get(job.known[episode.number]),) if e is not None]
            done.out_before += new
        else:
            done.skipped += new
            done.added += [e["id"] for e in taken.entries]
        for entry in new:
            left.add("episode", cause_of(entry["reason"]))
        if taken.error:
            done.failed.append(taken.error)
            kept = episode.number in job.kept
            left.add("episode", KEPT if kept else UNREADABLE)
            if not kept:
                index.skipped.append({"id": f"episode {episode.number}", "source": place,
                                      "bag_sha256": "", "reason": taken.error})  # fmt: skip
        elif not new:
            held = index.episodes.get(job.identity.episode_id(episode))
            left.add("frame", NOT_FINITE, max(0, episode.frames - held["frames"]) if held else 0)
    for files in job.places.surplus.values():
        left.add("image", NO_EPISODE, sum(files.values()))


def import_contract(source: LeRobotSource, given: Contract | None) -> Contract:
    """The contract to import with: the one that the source carries, else the one that is given.

    Raises:
        DatasetError: When there is none, or the two are not the same.
    """
    passport = load_passport(source.folder)
    if passport is None:
        if given is None:
            raise RefusedError(
                source.folder, "carries no RoboAlign contract: name one with --contract"
            )
        return given
    if given is not None and given.hash != passport.contract.hash:
        raise RefusedError(
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
