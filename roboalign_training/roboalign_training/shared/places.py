"""Where a result may go: never where its own input lies, nor into a result of another kind.

Told before anything is touched, whatever `--overwrite` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from roboalign_training.shared.outputs import OutputError, read_record

DATASET, LEROBOT, RECORDING = "a data set", "a LeRobot data set", "a recording"
CHECKPOINT, MODEL = "a checkpoint", "a model"
REPLAY, DEMO = "a replay", "what `roboalign demo` makes"
SFT, GRPO, VLA = (f"a run of `roboalign {kind}`" for kind in ("sft", "grpo", "vla"))
TRAININGS = {"sft": SFT, "grpo": GRPO, "vla": VLA}
"""By kind, as `run.json` has it."""
HIDDEN = "hidden states of `roboalign vla`"
PRETRAINING, DRIVEN = "a run of `roboalign pretrain-tiny`", "results of `roboalign evaluate`"
_MARKS = (
    ("dataset.json", DATASET),
    ("meta/info.json", LEROBOT),
    ("metadata.yaml", RECORDING),
    ("roboalign.json", CHECKPOINT),
    ("config.json", MODEL),
    ("stages.json", DEMO),
    ("replay.json", REPLAY),
)
"""A file, and what a folder is that holds it."""
_RUN = "run.json"
_STORAGES = ("*.mcap", "*.db3", "*.mcap.zstd", "*.db3.zstd")


def check_place(
    option: str, out: Path, makes: str, inputs: Iterable[tuple[str, str | Path]] = ()
) -> None:
    """Refuse a place for a result that would spoil something; changes nothing.

    Args:
        option: that names the place, such as "--out".
        out: the folder that is to hold the result; need not exist.
        makes: what it will be, one of the kinds of this module.
        inputs: name, such as "--base", and path of everything that is read.

    Raises:
        OutputError: the folder is, lies in or holds an input, or is a result of another kind.
    """
    place = out.resolve()
    for name, given in inputs:
        read = Path(given).resolve()
        how = (
            "is" if place == read
            else "lies in" if read in place.parents
            else "holds" if place in read.parents
            else None
        )  # fmt: skip
        if how:
            raise OutputError(
                f"{option}: found {out}, which {how} what is read ({name}: {given}), expected a "
                "place apart from it; nothing was changed"
            )
    kind = result_kind(out)
    if kind not in (None, makes):
        raise OutputError(
            f"{option}: found {out}, which is {kind}, expected a new folder or {makes}; nothing "
            "was changed"
        )


def result_kind(folder: Path) -> str | None:
    """What a folder is, by what lies in it; None where it is nothing of this suite's."""
    for name, kind in _MARKS:
        if (folder / name).is_file():
            return kind
    if any(True for pattern in _STORAGES for _ in folder.glob(pattern)):
        return RECORDING
    record = read_record(folder / _RUN) or {}
    if record.get("kind") in TRAININGS:
        return TRAININGS[record["kind"]]
    if "policy_hash" in record:
        return DRIVEN
    return PRETRAINING if "held_out_scenes" in record else None
