"""The folder of a training run: whether it may be written, how it is gone on with, its metrics.

It holds `run.json` (what was asked for, with every hash), `metrics.jsonl` (one line a log),
`checkpoint-<step>/` (to resume from), `policy/` (the finished checkpoint, see
docs/architecture.md), `result.json` and `log.txt` (what the libraries said).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roboalign_training.learning.backbone_arguments import FROZEN
from roboalign_training.learning.rewards import DEFAULT_WEIGHTS
from roboalign_training.shared.differences import differences
from roboalign_training.shared.fields import mapping_text
from roboalign_training.shared.json_lines import read_json_lines
from roboalign_training.shared.outputs import (
    Found,
    OutputError,
    existing,
    judge,
    only_writer,
    read_record,
    refuse_differences,
    remove,
)
from roboalign_training.shared.run_layout import (
    CANDIDATE,
    DEVELOPMENT,
    FEATURES,
    LOG,
    METRICS,
    POLICY,
    RESULT,
    RUN,
    TRAINED,
)
from roboalign_training.shared.write_errors import writing

PRODUCTS = (
    RUN, METRICS, RESULT, LOG, "checkpoint-*", POLICY, f"{POLICY}.new", f"{POLICY}.old",
    f"{METRICS}.new", CANDIDATE, f"{CANDIDATE}.new", f"{CANDIDATE}.old", TRAINED, DEVELOPMENT,
    FEATURES,
)  # fmt: skip
TRAINER_STATE = "trainer_state.json"
"""Written last in a checkpoint. Source: transformers, trainer.py."""
# What does not change the policy. Data set, bags and a base's folder are compared by content.
_OURS = (
    "resume", "overwrite", "strict", "save_minutes", "dataset", "bags", "workers", "features",
    "read_batch",
)  # fmt: skip
_THEIRS = (
    "output_dir", "logging_dir", "run_name", "resume_from_checkpoint", "logging_steps",
    "logging_first_step", "report_to", "disable_tqdm", "save_total_limit", "_n_gpu",
    "dataloader_pin_memory", "dataloader_num_workers", "remove_unused_columns", "log_level",
    "project", "trackio_space_id",
)  # fmt: skip
NO_OTHER_POLICY = (*_OURS, *_THEIRS)
_NO_AUGMENTATION = {"augment_crop": 0.0, "augment_colour": 0.0}
_DONE_BEFORE = {
    "sft": {"sources": mapping_text({}), **_NO_AUGMENTATION},
    "grpo": {
        **_NO_AUGMENTATION,
        "rewards": mapping_text(DEFAULT_WEIGHTS),
        "choose": "the highest held-out score",
        "replan_after_steps": 0,
    },
    "vla": {"backbone": FROZEN, **_NO_AUGMENTATION},
}
"""What runs did that are from before an option."""
_ENDS = ("trainer.max_steps", "trainer.num_train_epochs", "{kind}.max_seconds")


class RunFolder:
    """Reads and writes the records of one run; of a distributed one the first process writes."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self.metrics_path = self.path / METRICS
        self.writes = os.environ.get("RANK", "0") == "0"

    def judge(
        self,
        kind: str,
        configuration: Mapping[str, Any],
        *,
        base: str,
        overwrite: bool,
        resume: bool | None = None,
        same: Iterable[str] = (),
    ) -> Found:
        """Decide what may be done here; changes nothing.

        Args:
            kind: sft or grpo.
            configuration: `arguments` of `run.json` and what else tells runs apart.
            base: name or folder of the base model.
            overwrite: the user agreed to lose what is here.
            resume: true goes on with an unfinished run also where its ends are others; false
                refuses any.
            same: further keys, dotted, that do not change the policy.

        Raises:
            OutputError: another run is here, or something that is none.
        """
        ignored = {*same, *(f"arguments.{kind}.{name}" for name in _OURS)}
        ignored |= {f"arguments.trainer.{name}" for name in _THEIRS}
        if Path(base).is_dir():
            ignored.add(f"arguments.{kind}.base")
        finished = (self.path / RESULT).is_file()
        ends = {f"arguments.{name.format(kind=kind)}" for name in _ENDS}
        if resume and not finished:
            ignored |= ends
        wanted = {"kind": kind, **configuration}
        if not overwrite:
            self._check_newer_options(kind, wanted)
        if not overwrite and (differing := self._other_ends(wanted, ignored, ends)):
            self._refuse_other_ends(differing, finished)
        found = judge(
            self.path, RUN, wanted, PRODUCTS,
            finished=finished, overwrite=overwrite, ignored=ignored,
        )  # fmt: skip
        if resume is False and found is not Found.NOTHING:
            raise OutputError(
                f"{self.path}: resume: found false, and there is a run; nothing was changed: "
                "leave it out to go on, add --overwrite to begin anew, or choose another folder"
            )
        if found is Found.FINISHED and not (self.path / POLICY).is_dir():
            raise OutputError(
                f"{self.path}: {RESULT} says that the run has finished, and {POLICY}/ is missing; "
                "nothing was changed: bring it back, or add --overwrite to train anew"
            )
        return found

    def _check_newer_options(self, kind: str, wanted: Mapping[str, Any]) -> None:
        """Compare options that the run here is older than with what was done without them."""
        record = self.record()
        then = record.get("arguments", {}).get(kind, {}) if record.get("kind") == kind else None
        if then is not None:
            done = {n: v for n, v in _DONE_BEFORE.get(kind, {}).items() if n not in then}
            refuse_differences(self.path, {"arguments": {kind: done}}, wanted)

    def _other_ends(
        self, wanted: Mapping[str, Any], ignored: set[str], ends: set[str]
    ) -> list[str]:
        """What differs from the run that is here, where its ends are all that does."""
        found = self.record()
        differing = differences(found, wanted, ignored) if found else []
        return [] if differences(found, wanted, ignored | ends) else list(differing)

    def _refuse_other_ends(self, differing: list[str], finished: bool) -> None:
        """Say how to go on from a run, where its ends are all that is to be others."""
        what = "; ".join(differing)
        if not finished:
            raise OutputError(
                f"{self.path}: an unfinished run with other ends is here ({what}); nothing was "
                "changed: add --resume true to go on with it to the new ones, choose another "
                "folder, or add --overwrite"
            )
        raise OutputError(
            f"{self.path}: this run has finished ({what}), and a finished run "
            "is not extended; nothing was changed: train its policy further with --base "
            f"{self.path / POLICY} and another --out, or add --overwrite to train anew"
        )

    def check_hashes(self, hashes: Mapping[str, str]) -> None:
        """Refuse to go on with a run on other data or another base.

        Raises:
            OutputError: names what differs.
        """
        before = self.record().get("hashes", {})
        refuse_differences(self.path, {"hashes": before}, {"hashes": dict(hashes)})

    def check_images(self, images: Sequence[str], first: Sequence[str]) -> None:
        """Refuse to go on with a run in which the model sees other images.

        Args:
            images: keys of the image streams that it is to see now, in order.
            first: key of the contract's first one: what runs see whose record says nothing, as
                they are from before there could be several.

        Raises:
            OutputError: names both.
        """
        before = self.record().get("images", list(first))
        refuse_differences(self.path, {"images": before}, {"images": list(images)})

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no other process trains in this folder, which is made where it is missing.

        Raises:
            OutputError: another one does.
        """
        if not self.writes:
            yield
            return
        with writing(self.path, "the run's folder"):
            self.path.mkdir(parents=True, exist_ok=True)
        with only_writer(self.path):
            yield

    def begin(self, found: Found) -> tuple[Path | None, float]:
        """Prepare the folder, when all has been checked.

        Args:
            found: what `judge` found; NOTHING removes what --overwrite gave up.

        Returns:
            The checkpoint to resume from or None, and the seconds of training behind it.
        """
        checkpoint = None if found is Found.NOTHING else self.checkpoint()
        if checkpoint is None:
            if self.writes:
                kept = () if found is Found.NOTHING else (FEATURES,)  # they were checked
                remove(self.path, [name for name in PRODUCTS if name not in kept])
            return None, 0.0
        step = _step(checkpoint)
        if self.writes:
            self._end_replacing()
            remove(self.path, (TRAINED, DEVELOPMENT))  # of a training that is not this one's end
        kept = [line for line in self.metrics() if line.get("step", 0) <= step]
        if self.writes:
            for newer in self.path.glob("checkpoint-*"):
                if _step(newer) > step:  # an unfinished save: the trainer would take it
                    shutil.rmtree(newer)
            # A new file: who follows the old one sees that it changed.
            fresh = self.path / f"{METRICS}.new"
            with writing(fresh, "metrics"):
                fresh.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
                os.replace(fresh, self.metrics_path)
        return checkpoint, max((line.get("elapsed_s", 0.0) for line in kept), default=0.0)

    def append(self, **values: Any) -> None:
        """Add a line to `metrics.jsonl`; numbers that are not finite are left out."""
        if not self.writes:
            return
        finite = {
            k: v for k, v in values.items() if not (isinstance(v, float) and not math.isfinite(v))
        }
        with (
            writing(self.metrics_path, "metrics"),
            self.metrics_path.open("a", encoding="utf-8") as stream,
        ):
            stream.write(json.dumps(finite) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last line cut by a kill is left out."""
        if not self.metrics_path.is_file():
            return []
        return [values for _, values in read_json_lines(self.metrics_path, whole_lines=True)]

    def _end_replacing(self) -> None:
        """Gives a whole policy its place where a kill came between the two moves of it."""
        for name in (POLICY, CANDIDATE):
            target, fresh = self.path / name, self.path / f"{name}.new"
            if not target.exists() and fresh.is_dir() and (self.path / f"{name}.old").is_dir():
                fresh.rename(target)

    def put(self, name: str) -> Path:
        """Give a whole `<name>.new` its place, where an earlier one may be; returns that."""
        target, old = self.path / name, self.path / f"{name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        (self.path / f"{name}.new").rename(target)
        shutil.rmtree(old, ignore_errors=True)
        return target

    def keep_candidate(self) -> None:
        """Give the candidate the policy's place; also where a kill came between the moves."""
        target, old = self.path / POLICY, self.path / f"{POLICY}.old"
        candidate = self.path / CANDIDATE
        if candidate.is_dir():
            if target.is_dir():
                remove(self.path, (old.name,))
                target.rename(old)
            candidate.rename(target)
        remove(self.path, (old.name,))

    def drop_trained(self) -> None:
        """Remove how training ended before a policy was chosen: the result has it."""
        remove(self.path, (TRAINED,))

    def candidate_record(self) -> dict[str, Any]:
        """`roboalign.json` of the candidate that is here; empty where there is none."""
        return read_record(self.path / CANDIDATE / "roboalign.json") or {}

    def policy_record(self) -> dict[str, Any]:
        """`roboalign.json` of the policy that is here; empty where there is none."""
        return read_record(self.path / POLICY / "roboalign.json") or {}

    def trained(self) -> dict[str, Any]:
        """`trained.json`; empty where training has not ended."""
        return read_record(self.path / TRAINED) or {}

    def record(self) -> dict[str, Any]:
        """`run.json`; empty where there is none."""
        return read_record(self.path / RUN) or {}

    def result(self) -> dict[str, Any]:
        """`result.json`; empty where there is none."""
        return read_record(self.path / RESULT) or {}

    def checkpoint(self) -> Path | None:
        """The newest whole checkpoint: the trainer state is written last, when all is there."""
        found = [p.parent for p in existing(self.path, [f"checkpoint-*/{TRAINER_STATE}"])]
        return max(found, key=_step, default=None)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rsplit("-", 1)[1])
