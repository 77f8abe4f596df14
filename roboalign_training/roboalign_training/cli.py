"""`roboalign ...`: every job of the suite without a ROS 2 command line."""

from __future__ import annotations

import importlib
import os
import select
import sys
from collections.abc import Sequence

OUTPUT_CUT = 128 + 13
"""As of other programs, which SIGPIPE ends."""

COMMANDS = {
    "contract": ("contract_cli", "check FILE: explain every fault of a robot contract"),
    "record": ("record_cli", "demonstrations task after task, by key, pedal or joystick"),
    "convert": ("data.convert_cli", "bags to a data set"),
    "recover": ("data.recover_cli", "a whole bag of what still reads of a damaged recording"),
    "export": ("lerobot.export_cli", "a data set to a LeRobot data set v3.0"),
    "import": ("lerobot.import_cli", "a LeRobot data set (v2.1, v3.0) to a data set"),
    "fit-tokenizer": ("data.fit_cli", "fit statistics and FAST tokenizer to a data set"),
    "inspect": ("data.inspect_cli", "counts, rates, gaps, plots of a bag or a data set"),
    "trace": ("trace_cli", "from a checkpoint, data set or result back to its bags"),
    "pretrain-tiny": ("pretrain", "reproduce the embedded base model"),
    "sft": ("sft", "supervised fine-tuning on a data set"),
    "grpo": ("grpo", "GRPO with format and prefix-accuracy rewards on a data set"),
    "evaluate": ("evaluate.cli", "open-loop or closed-loop evaluation of a checkpoint"),
    "replay": ("evaluate.replay_cli", "a recorded episode through the live policy node"),
    "up": ("up", "start gate and policy, and simulator or recorder; ctrl-C stops them"),
    "gate": ("gate_cli", "enable, disable, estop, reset, status of the safety gate"),
    "doctor": ("doctor_cli", "contract against the live graph: every fault with its fix"),
    "serve": ("serve_cli", "a policy over a socket, for `inference: remote`"),
    "demo": ("demo.cli", "record, learn, drive: the whole loop on the embedded arm"),
}


def usage() -> str:
    """One line a command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "usage: roboalign COMMAND [options]   (roboalign COMMAND --help)\n\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: command and its options; those of the process when None.

    Returns:
        The command's exit status, 2 for a command that does not exist, `OUTPUT_CUT` where nobody
        reads its output to the end, as in `roboalign gate status | head -2`.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
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
        return 0 if arguments else 2
    name, *options = arguments
    if name not in COMMANDS:
        print(
            f"roboalign: found command {name!r}, expected one of {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        return 2
    module = importlib.import_module(f"roboalign_training.{COMMANDS[name][0]}")
    sys.argv[0] = f"roboalign {name}"
    return module.main(options) or 0


if __name__ == "__main__":
    sys.exit(main())
