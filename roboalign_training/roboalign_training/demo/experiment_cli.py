"""`roboalign experiment FILE`: arms x training seeds of a YAML file, driven on the same scenes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from roboalign_training.demo.cli import run_command
from roboalign_training.demo.experiment import Experiment, load_experiment
from roboalign_training.demo.plan import Call
from roboalign_training.shared.fields import add_fields, underscored
from roboalign_training.shared.left_out import add_strict


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign experiment",
        description="Record demonstrations of the simulated arm, train the arms of an experiment "
        "with each of its seeds, let all drive the same unseen scenes, and write a report. The "
        "same command goes on after an interruption; what is done is not done again.",
        allow_abbrev=False,
    )
    p.add_argument("file", metavar="FILE", type=Path, help="YAML of arms x seeds")
    add_fields(p, Call, {"out": "out/experiments/<name of the file>"})
    add_strict(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; 0 when finished, 1 when a stage failed, 130 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = parser()
    given = vars(options.parse_args(underscored(words, options._option_string_actions)))
    strict, file = given.pop("strict"), given.pop("file")
    given.setdefault("out", str(Path("out", "experiments", file.stem)))

    def prepare() -> tuple[Experiment, Call]:
        call = Call(**given)
        experiment = load_experiment(file)
        return replace(experiment, workers=call.workers, threads=call.threads), call

    return run_command("experiment", prepare, strict, words)


if __name__ == "__main__":
    raise SystemExit(main())
