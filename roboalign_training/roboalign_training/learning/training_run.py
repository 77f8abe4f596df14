"""What runs of all stages do alike: open the run's folder by the rule, begin, and say the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roboalign_policy.core.contract.contract import ContractError, find_contract, load_contract
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import DataError
from roboalign_training.conversion.build import find_bags
from roboalign_training.data.index import load_index
from roboalign_training.learning.arguments import RunArguments
from roboalign_training.learning.demonstrations import Demonstrations, left_out_of
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.learning.run_record import (
    base_hash,
    configuration,
    write_config,
    write_json,
)
from roboalign_training.shared.left_out import LeftOut
from roboalign_training.shared.library_log import LibraryLog
from roboalign_training.shared.outputs import Found, OutputError
from roboalign_training.shared.places import DATASET, HIDDEN, TRAININGS, check_place
from roboalign_training.shared.run_layout import LOG, METRICS, POLICY, RESULT

DATA = "data"
"""Folder within a run's of the data set that its bags are made to, unless another is named."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        policy: folder of the finished policy.
        lines: what to tell, one a line.
        left_out: what of the data was not trained on.
        strict: whether that is to be an exit status.
    """

    policy: Path
    lines: tuple[str, ...]
    left_out: LeftOut
    strict: bool


@dataclass
class TrainingRun:
    """A run that may be written.

    Attributes:
        kind: sft, grpo or vla.
        arguments: this suite's part of the configuration.
        training: TRL's part.
        folder: the run's folder.
        config: of `run_record.configuration`.
        found: what is in the folder.
        log: of the libraries.
        left_out: what of the data no sample is made of.
    """

    kind: str
    arguments: RunArguments
    training: Any
    folder: RunFolder
    config: Mapping[str, Any]
    found: Found
    log: LibraryLog
    _held: ExitStack
    left_out: LeftOut = field(default_factory=LeftOut)
    _is_held: bool = False

    @property
    def dataset(self) -> Path:
        """Folder of the data set."""
        return _dataset_of(self.arguments, self.folder.path)

    def kept(self, hashes: Mapping[str, str], lines: tuple[str, ...]) -> Outcome:
        """The outcome of a run that has finished before.

        Args:
            hashes: of the data set as it is now.
            lines: what to tell of its result.

        Raises:
            OutputError: data set or base are not those it was trained with.
        """
        self.folder.check_hashes({**hashes, **base_hash(self.arguments.base)})
        self.left_out.update(LeftOut.from_dict(self.folder.result().get("left_out", {})))
        first = f"{self.kind}: this run has finished before; nothing was changed"
        return self._outcome((first, *lines))

    def hold(self) -> None:
        """Keep other processes from training in the folder, until this run ends.

        Raises:
            OutputError: another one does.
        """
        if not self._is_held:
            self._held.enter_context(self.folder.held())
            self._is_held = True

    def loaded(self, data: Demonstrations) -> None:
        """Note what of the data no sample is made of, and say what there is."""
        self.left_out.update(left_out_of(data))
        _say(
            f"{self.kind}: {data.folder}: {len(data.episodes):,} episodes, {len(data):,} frames "
            f"of {data.contract.name}"
        )

    def check(self, data: Demonstrations) -> None:
        """Refuse to go on with what is in the folder on other data.

        Raises:
            OutputError: the run here is on other data or another base, or sees other images.
        """
        self._check(data, self._hashes(data))

    def _check(self, data: Demonstrations, hashes: Mapping[str, str]) -> None:
        self.folder.check_hashes(hashes)
        first = [stream.key for stream in data.contract.images[:1]]
        self.folder.check_images(data.image_keys, first)

    def _hashes(self, data: Demonstrations) -> dict[str, str]:
        return {**data.hashes, **base_hash(self.arguments.base)}

    def begin(self, data: Demonstrations, **facts: Any) -> tuple[Path | None, float]:
        """Write into the folder for the first time, when all has been checked.

        Args:
            data: what is trained on.
            facts: further entries of `run.json`.

        Returns:
            The checkpoint to resume from or None, and the seconds of training behind it.

        Raises:
            OutputError: see `check`.
        """
        hashes = self._hashes(data)
        if self.found is not Found.NOTHING:
            self._check(data, hashes)
        self.hold()
        checkpoint, elapsed_s = self.folder.begin(self.found)
        facts = {"images": list(data.image_keys), **facts}
        write_config(self.folder, self.kind, self.config, hashes, **facts)
        if self.folder.writes:
            self.log.to_file(self.folder.path / LOG)
        self.folder.append(stage="preparing", step=0)
        if checkpoint is not None:
            _say(f"{self.kind}: goes on from {checkpoint.name}, {elapsed_s:.0f} s in")
        elif self.found is not Found.NOTHING:
            _say(f"{self.kind}: the run in {self.folder.path} has no checkpoint yet; begins anew")
        return checkpoint, elapsed_s

    def finish(self, result: Mapping[str, Any], lines: tuple[str, ...]) -> Outcome:
        """Write `result.json` and the last line of the metrics.

        Args:
            result: entries of both.
            lines: what to tell of it.
        """
        folder = self.folder
        record = {
            **result,
            "policy": POLICY,  # beside it
            "left_out": self.left_out.to_dict(),
        }
        if folder.writes:
            write_json(folder.path / RESULT, record)
        return self._outcome(lines)

    def _outcome(self, lines: tuple[str, ...]) -> Outcome:
        path = self.folder.path
        where = f"policy: {path / POLICY}; every step: {path / METRICS}"
        where += f"; what the libraries said: {path / LOG}" if (path / LOG).is_file() else ""
        return Outcome(path / POLICY, (*lines, where), self.left_out, self.arguments.strict)


@contextmanager
def opened(
    kind: str, arguments: RunArguments, training: Any, log: LibraryLog
) -> Iterator[TrainingRun]:
    """Open a run's folder by the rule of `shared.outputs`; changes nothing in it yet.

    Args:
        kind: sft, grpo or vla.
        arguments: this suite's part of the configuration.
        training: TRL's.
        log: of the libraries; goes to the folder once that is written.

    Raises:
        OutputError: the folder holds something else or what is read, or another process trains
            in it.
        DataError: `--bags` names what is none.
    """
    bags = find_bags(arguments.bags) if arguments.bags else []
    config = configuration({kind: arguments, "trainer": training}, bags)
    folder = RunFolder(training.output_dir)
    _check_places(kind, arguments, folder.path, bags)
    with ExitStack() as held:
        found = folder.judge(
            kind,
            config,
            base=arguments.base,
            overwrite=arguments.overwrite,
            resume=arguments.resume,
            same=same_elsewhere(kind, arguments, bags, folder),
        )
        run = TrainingRun(kind, arguments, training, folder, config, found, log, held)
        if folder.path.is_dir() and found is not Found.FINISHED:
            run.hold()
        yield run


def _check_places(kind: str, arguments: RunArguments, out: Path, bags: list[Path]) -> None:
    """Refuse a run's folder, and a data set's that bags are added to, that would spoil others."""
    read = [("--bags", bag) for bag in bags]
    own, dataset = out / DATA, _dataset_of(arguments, out)
    if bags:
        check_place("--dataset", dataset, DATASET, read)
    if dataset.resolve() != own.resolve():
        read.append(("--dataset", dataset))
    if Path(arguments.base).is_dir():
        read.append(("--base", Path(arguments.base)))
    check_place("--out", out, TRAININGS[kind], read)
    if features := getattr(arguments, "features", ""):
        place = Path(features)
        if place.exists() and not place.is_dir():
            raise OutputError(f"--features: found the file {place}, expected a folder or nothing")
        check_place("--features", place, HIDDEN, [*read, ("--out", out / POLICY)])


def _dataset_of(arguments: RunArguments, out: Path) -> Path:
    return Path(arguments.dataset or out / DATA)


def same_elsewhere(
    kind: str, arguments: RunArguments, bags: list[Path], folder: RunFolder
) -> set[str]:
    """Keys of the run in a folder that are other paths to the same data.

    Args:
        kind: sft, grpo or vla.
        arguments: of this call.
        bags: what was found where `--bags` points.
        folder: of the run.
    """
    record, same = folder.record(), set()
    if not record or arguments.overwrite:
        return same
    with suppress(DataError):
        # A bag that the data set has adds nothing, wherever it lies.
        places = {Path(name).resolve() for name in record.get("bags", ())}
        moved = [bag for bag in bags if bag.resolve() not in places]
        known = load_index(_dataset_of(arguments, folder.path)).known_bags() if moved else ()
        if all(read_bag(bag).sha256 in known for bag in moved):
            same.add("bags")
    with suppress(ContractError):
        held, named = record.get("hashes", {}).get("contract"), arguments.contract
        if not named or load_contract(find_contract(named)).hash == held:
            same.add(f"arguments.{kind}.contract")
    return same


def _say(text: str) -> None:
    print(text, flush=True)
