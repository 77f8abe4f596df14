"""What SFT and GRPO runs do alike: open the run's folder by the rule, begin, and say the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roboalign_training.arguments import RunArguments
from roboalign_training.data.dataset import find_bags
from roboalign_training.demonstrations import Demonstrations, left_out_of, left_out_of_bags
from roboalign_training.library_log import LibraryLog
from roboalign_training.run_folder import RunFolder
from roboalign_training.run_layout import LOG, METRICS, POLICY, RESULT
from roboalign_training.run_record import base_hash, configuration, write_config, write_json
from roboalign_training.shared.left_out import LeftOut
from roboalign_training.shared.outputs import Found
from roboalign_training.shared.places import DATASET, GRPO, SFT, check_place

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
        kind: sft or grpo.
        arguments: this suite's part of the configuration.
        training: TRL's part.
        folder: the run's folder.
        config: of `run_record.configuration`.
        found: what is in the folder.
        bags: what was found where `--bags` points.
        log: of the libraries.
        left_out: what of the data no sample is made of.
    """

    kind: str
    arguments: RunArguments
    training: Any
    folder: RunFolder
    config: Mapping[str, Any]
    found: Found
    bags: list[Path]
    log: LibraryLog
    _held: ExitStack
    left_out: LeftOut = field(default_factory=LeftOut)
    _is_held: bool = False

    @property
    def dataset(self) -> Path:
        """Folder of the data set."""
        return Path(self.arguments.dataset or self.folder.path / DATA)

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
        if self.bags:
            self.left_out.update(left_out_of_bags(self.dataset, self.bags))
        _say(
            f"{self.kind}: {data.folder}: {len(data.episodes):,} episodes, {len(data):,} frames "
            f"of {data.contract.name}"
        )

    def begin(self, hashes: Mapping[str, str], **facts: Any) -> tuple[Path | None, float]:
        """Write into the folder for the first time, when all has been checked.

        Args:
            hashes: of the data set.
            facts: further entries of `run.json`.

        Returns:
            The checkpoint to resume from or None, and the seconds of training behind it.

        Raises:
            OutputError: an unfinished run here is on other data or another base.
        """
        hashes = {**hashes, **base_hash(self.arguments.base)}
        if self.found is not Found.NOTHING:
            self.folder.check_hashes(hashes)
        self.hold()
        checkpoint, elapsed_s = self.folder.begin(self.found)
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
            "policy": str(folder.path / POLICY),
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
        kind: sft or grpo.
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
        )
        run = TrainingRun(kind, arguments, training, folder, config, found, bags, log, held)
        if folder.path.is_dir() and found is not Found.FINISHED:
            run.hold()
        yield run


def _check_places(kind: str, arguments: RunArguments, out: Path, bags: list[Path]) -> None:
    """Refuse a run's folder, and a data set's that bags are added to, that would spoil others."""
    read = [("--bags", bag) for bag in bags]
    own = out / DATA
    dataset = Path(arguments.dataset or own)
    if bags:
        check_place("--dataset", dataset, DATASET, read)
    if dataset.resolve() != own.resolve():
        read.append(("--dataset", dataset))
    if Path(arguments.base).is_dir():
        read.append(("--base", Path(arguments.base)))
    check_place("--out", out, {"sft": SFT, "grpo": GRPO}[kind], read)


def _say(text: str) -> None:
    print(text, flush=True)
