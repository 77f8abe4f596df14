"""`roboalign record`: demonstrations task after task, by key, foot pedal or joystick."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from roboalign_policy.core.operator_keys import (
    Ask,
    Step,
    buttons_from_text,
    keys_from_text,
)
from roboalign_policy.core.recording import BAG_VERDICT
from roboalign_policy.core.stream_stats import FIT
from roboalign_policy.core.task_list import Task, TaskList, load_tasks
from roboalign_training.shared.old_names import add_old_option

if TYPE_CHECKING:
    from roboalign_policy.nodes.recording_panel import RecordingPanel

_FRAME_S = 0.1
_INTERRUPT = "\x03"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign record",
        description=__doc__,
        epilog="The recorder itself is recorder_node: started here with --contract, or running "
        "already (record.launch.py).",
    )
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--tasks", type=Path, help="file: an instruction a line, 20 x before it")
    what.add_argument("--instruction", help="the only task")
    p.add_argument("--contract", default="", help="start a recorder for this contract, too")
    p.add_argument(
        "--out",
        default="bags",
        dest="bag_dir",
        metavar="FOLDER",
        help="folder of the episodes (default: bags)",
    )
    add_old_option(p, "--bag-dir", "--out", dest="bag_dir")
    p.add_argument("--keep", type=float, default=0.0, help="s of the past to hold in memory")
    p.add_argument("--operator", default=os.environ.get("USER", ""), help="who demonstrates")
    p.add_argument(
        "--correct",
        action="store_true",
        help="an enabled policy drives in the episodes and you correct it (else none begins "
        "beside it)",
    )
    p.add_argument("--namespace", default="", help="of the robot's topics and the recorder")
    p.add_argument("--keys", default="", help="other keys: go=enter,failure=x (a pedal's keys)")
    p.add_argument("--joy", default="", help="buttons of a joystick on joy: go=0,failure=1")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Record until the operator quits.

    Returns:
        0; 2 where the options cannot be used; 128 and the signal's number after ctrl-C during the
        start, SIGTERM, or a closed terminal. The recorder of this command's own ends its episode
        then as unknown and brings it to the disk.
    """
    options = parser().parse_args(argv)
    try:
        keys, buttons = keys_from_text(options.keys), buttons_from_text(options.joy)
        tasks = (
            load_tasks(options.tasks) if options.tasks else TaskList([Task(options.instruction)])
        )
    except ValueError as error:
        print(f"roboalign record: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        text = f"--tasks: found {options.tasks} ({why}), expected a file: an instruction a line"
        print(f"roboalign record: {text}", file=sys.stderr)
        return 2
    if not sys.stdin.isatty():
        print(
            "roboalign record: the keyboard is not a terminal; without one use the services of "
            "recorder_node (docs/recording.md)",
            file=sys.stderr,
        )
        return 2
    try:
        with _told_to_end() as told:
            count_recorded(tasks, Path(options.bag_dir))
            try:
                with _recorder(options):
                    return _run(options, tasks, keys, buttons, told)
            except OSError:
                if not told:  # else the terminal is gone, and with it the last picture
                    raise
                return 128 + told[0]
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def count_recorded(tasks: TaskList, bag_dir: Path) -> None:
    """Count the good episodes that are there already, so that a session goes on where one ended.

    A bag that cannot be read counts for nothing here; conversion says what is wrong with it.
    """
    from roboalign_policy.core.keys import BAG_EPISODE_ID, BAG_INSTRUCTION, BAG_OUTCOME
    from roboalign_training.data.bagmeta import load_metadata
    from roboalign_training.data.errors import DataError

    for path in sorted(bag_dir.glob("*/metadata.yaml")):
        try:
            custom = load_metadata(path.parent).custom
        except (DataError, OSError):
            continue
        if custom.get(BAG_OUTCOME) == "success" and custom.get(BAG_VERDICT) == FIT:
            tasks.count(
                custom.get(BAG_INSTRUCTION, ""), custom.get(BAG_EPISODE_ID, path.parent.name)
            )


def _run(
    options: argparse.Namespace,
    tasks: TaskList,
    keys: dict[str, Ask],
    buttons: dict[int, Ask],
    told: Sequence[int],
) -> int:
    from rich.live import Live

    from roboalign_policy.nodes.recording_panel import RecordingPanel
    from roboalign_training.record_screen import screen, summary

    panel = RecordingPanel(
        tasks,
        namespace=options.namespace,
        operator=options.operator,
        keep_s=options.keep,
        buttons=buttons,
        correct=options.correct,
    )
    with panel:
        with _keyboard() as keyboard, Live(auto_refresh=False, screen=False) as live:
            status = None
            while status is None:
                panel.spin(_FRAME_S)
                status = 128 + told[0] if told else _take(keyboard(), panel, keys)
                about = (panel.health, panel.ready, panel.said, keys, panel.policy_fault)
                live.update(screen(tasks, *about), refresh=True)
        print("\n".join(summary(tasks, panel.finished)), flush=True)
    return status


def _take(pressed: str, panel: RecordingPanel, keys: dict[str, Ask]) -> int | None:
    """Do what the keys that were pressed ask for; the exit status where that is the end."""
    for key in pressed:
        if key == _INTERRUPT:
            if not panel.recording:
                return 0
            panel.said.append("an episode is being recorded: end it first")
        elif key in keys and panel.ask(keys[key]) is Step.QUIT:
            return 0
    return None


@contextlib.contextmanager
def _told_to_end() -> Iterator[list[int]]:
    """Signals that have come: they wait for the next picture, and cut nothing short."""
    told: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.signal(n, lambda number, _: told.append(number)) for n in numbers}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _keyboard() -> Iterator:
    """Keys as they are pressed; the terminal is as before afterwards."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed() -> str:
        ready, _, _ = select.select([descriptor], [], [], 0.0)
        return os.read(descriptor, 64).decode(errors="ignore").replace("\r", "\n") if ready else ""

    try:
        tty.setcbreak(descriptor)
        mode = termios.tcgetattr(descriptor)
        mode[3] &= ~termios.ISIG  # ctrl-C is a key: it must not cut an episode short
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        yield pressed
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _recorder(options: argparse.Namespace) -> Iterator[None]:
    """A recorder_node of this command's own, where a contract is given."""
    if not options.contract:
        yield
        return
    from roboalign_policy.nodes.node_process import NodeProcess

    parameters = {
        "contract": options.contract,
        "bag_dir": options.bag_dir,
        "ring_s": options.keep,
    }
    log = Path(options.bag_dir) / "recorder.log"
    process = NodeProcess(
        "roboalign_policy.nodes.recorder_node", parameters, log, namespace=options.namespace
    )
    try:
        yield
    finally:
        process.stop()


if __name__ == "__main__":
    sys.exit(main())
