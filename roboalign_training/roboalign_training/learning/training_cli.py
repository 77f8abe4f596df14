"""How `roboalign sft` and `roboalign grpo` begin and end: help and refusals first, then torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from roboalign_policy.core.contract.contract import ContractError
from roboalign_training.learning.arguments import Diverged, Stopped
from roboalign_training.learning.training_options import OURS, read_options
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.outputs import OutputError
from roboalign_training.shared.progress import ChildFailed
from roboalign_training.shared.run_layout import (
    DATA_FAULT,
    EXIT_FAILED,
    EXIT_INVALID_CONFIG,
    EXIT_STOPPED,
    ConfigError,
)
from roboalign_training.shared.write_errors import write_fault


def run_main(kind: str, argv: Sequence[str] | None) -> int:
    """Run a stage; what users can mend becomes one line on stderr and an exit status.

    Args:
        kind: sft or grpo.
        argv: the command line; that of the process when None.

    Returns:
        EXIT_FINISHED, EXIT_INVALID_CONFIG, EXIT_STOPPED; with --strict the status of what was
        left out; EXIT_FAILED for data that are damaged and a disk that is full.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        OURS[kind](**read_options(kind, words).ours)
    except ConfigError as error:
        return _refused(error)
    from roboalign_policy.models.loading import ModelError
    from roboalign_training.bags.errors import DataError

    stage = importlib.import_module(f"roboalign_training.{kind}")
    try:
        outcome = stage.run(words)
    except (ConfigError, ContractError, ModelError, OutputError) as error:
        return _refused(error)
    except DataError as error:
        print(f"{DATA_FAULT}{error}", file=sys.stderr)
        return status_of(error)
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        return EXIT_STOPPED
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr)
        print("a lower --learning_rate with --overwrite begins anew", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("stopped: the same command begins again, or goes on", file=sys.stderr)
        return EXIT_STOPPED
    except ChildFailed as error:
        print(f"development episodes: {error}", file=sys.stderr)
        print("once that is mended, the same command goes on from there", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        if (fault := write_fault(error, words)) is None:
            raise
        print(f"not written: {fault}", file=sys.stderr)
        return EXIT_FAILED
    for line in (*outcome.lines, outcome.left_out.line()):
        print(line)
    return outcome.left_out.status(outcome.strict)


def _refused(error: Exception) -> int:
    print(f"configuration refused: {error}", file=sys.stderr)
    return EXIT_INVALID_CONFIG
