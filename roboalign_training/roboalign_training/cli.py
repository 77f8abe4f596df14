"""`roboalign ...`: every job of the suite without a ROS 2 command line."""

from __future__ import annotations

import importlib
import os
import select
import sys
from collections.abc import Sequence
from types import ModuleType

from roboalign_training.shared.exit_status import FAILED, REFUSED
from roboalign_training.shared.suggestions import did_you_mean, input_fault, option_fault
from roboalign_training.shared.write_errors import write_fault

OUTPUT_CUT = 128 + 13
"""As of other programs, which SIGPIPE ends."""

COMMANDS = {
    "contract": ("commands.contract_cli", "check FILE: explain every fault of a robot contract"),
    "record": ("commands.record_cli", "demonstrations task after task, by key, pedal or joystick"),
    "convert": ("conversion.convert_cli", "bags to a data set"),
    "recover": ("bags.rescue.recover_cli", "a whole bag of what reads of a damaged recording"),
    "export": ("lerobot.export_cli", "a data set to a LeRobot data set v3.0"),
    "import": ("lerobot.import_cli", "a LeRobot data set (v2.1, v3.0) to a data set"),
    "fit-tokenizer": ("data.fit_cli", "fit statistics and FAST tokenizer to a data set"),
    "inspect": ("look.inspect_cli", "counts, rates, gaps, plots of a bag or a data set"),
    "trace": ("origins.trace_cli", "from a checkpoint, data set or result back to its bags"),
    "pretrain-tiny": ("pretraining.pretrain_cli", "reproduce the embedded base model"),
    "sft": ("sft_cli", "supervised fine-tuning on a data set"),
    "grpo": ("grpo_cli", "GRPO with format and prefix-accuracy rewards on a data set"),
    "vla": ("vla_cli", "a flow-matching action head on a policy's frozen model"),
    "evaluate": ("evaluate.cli", "open-loop or closed-loop evaluation of a checkpoint"),
    "replay": ("evaluate.replay_cli", "a recorded episode through the live policy node"),
    "up": ("commands.up", "start gate and policy, and simulator or recorder; ctrl-C stops them"),
    "run": ("commands.run_cli", "send a task to the running policy: thoughts, progress, outcome"),
    "gate": ("commands.gate_cli", "enable, disable, estop, reset, status of the safety gate"),
    "doctor": ("commands.doctor_cli", "contract against the live graph: every fault with its fix"),
    "serve": ("commands.serve_cli", "a policy over a socket, for `inference: remote`"),
    "demo": ("demo.cli", "record, learn, drive: the whole loop on the embedded arm"),
    "experiment": ("demo.experiment_cli", "arms x training seeds of a YAML file, side by side"),
    "completion": ("commands.completion_cli", "tab completion: a script for bash or zsh"),
}
INTERRUPTED = 130


def usage() -> str:
    """One line a command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    head = "usage: roboalign COMMAND [options]   (roboalign COMMAND --help; roboalign --version)"
    return f"{head}\n\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: command and its options; those of the process when None.

    Returns:
        The command's exit status, 2 for a command, an option or an input that does not exist, 130
        after ctrl-C, `OUTPUT_CUT` where nobody reads its output to the end, as in
        `roboalign gate status | head -2`.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:  # while a command loads, or where it has nothing of its own to say
        print("\nroboalign: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        if not _is_cut(sys.stdout.fileno()):
            raise  # another pipe's or socket's
        # What is still in the buffer would be written, and fail again, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CUT


def _is_cut(output: int) -> bool:
    """Whether the reader of a pipe has closed it."""
    poll = select.poll()
    poll.register(output, 0)
    return bool(poll.poll(0))  # errors and hang-ups are told unasked


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else REFUSED
    if arguments[0] in ("-V", "--version", "version"):
        print(version_text())
        return 0
    name, *options = arguments
    if name not in COMMANDS:
        near = did_you_mean(name, COMMANDS)
        expected = "" if near else f", expected one of {', '.join(COMMANDS)}"
        print(f"roboalign: found command {name!r}{expected}{near}", file=sys.stderr)
        return REFUSED
    sys.argv[0] = f"roboalign {name}"
    module = command_module(name)
    if (fault := _option_fault(module, options)) is not None:
        print(f"roboalign {name}: {fault} (roboalign {name} --help)", file=sys.stderr)
        return REFUSED
    try:
        return module.main(options) or 0
    except OSError as error:
        if (fault := write_fault(error, options)) is None:
            raise
        print(f"roboalign {name}: not written: {fault}", file=sys.stderr)
        return FAILED


def command_module(name: str) -> ModuleType:
    """The module of a command, with `main(argv)` and, mostly, `parser()`."""
    return importlib.import_module(f"roboalign_training.{COMMANDS[name][0]}")


def version_text() -> str:
    """Name and version of the suite."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"roboalign {version('roboalign_training')}"
    except PackageNotFoundError:
        return "roboalign, from a source tree that is not installed"


def _option_fault(module: ModuleType, options: Sequence[str]) -> str | None:
    """An option or choice that does not exist, with what was meant; argparse does not say it.

    Or an input that does not exist: what a command is about stands first and without a name.
    """
    if not hasattr(module, "parser") or module.__name__.endswith(("sft_cli", "grpo_cli")):
        return None  # the two say it themselves, also where a node starts them
    parser = module.parser()
    return option_fault(parser, options) or input_fault(parser, options)


if __name__ == "__main__":
    sys.exit(main())
