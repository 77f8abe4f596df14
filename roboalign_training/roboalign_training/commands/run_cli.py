"""`roboalign run TASK`: sends a task to the running policy, shows what it thinks and comes to."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager

from rich.console import Console
from rich.markup import escape

from roboalign_policy.core.run_events import (
    ENDING,
    PROGRESS,
    REFUSED,
    STARTED,
    THOUGHT,
    WAITING,
    Event,
    RunEnd,
)
from roboalign_training.shared import exit_status

_INTERRUPTED = 130
_ALREADY = (
    "[bold green]done already[/], as the simulated arm says; no task was sent. "
    "--scene SEED begins in a new scene"
)
_QUIET_S = 10.0  # without a terminal: a word about the progress at least so often
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign run",
        description="Send a task to the running policy_node and show its thoughts and the outcome."
        " ctrl-C cancels the task, and the arm is held.",
        epilog="status: 0 done, done already, or ended at --timeout where nothing judges the "
        "task; 1 not done, stopped or refused; 2 an option cannot be used; 130 cancelled",
    )
    p.add_argument("task", type=_text, help='what the robot shall do: "put the red cube on ..."')
    p.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="end the task after so many seconds; 0: no limit (default: %(default)g)",
    )
    p.add_argument(
        "--scene",
        type=_seed,
        metavar="SEED",
        help="with a simulated arm: begin in a new scene of this seed (default: as it stands)",
    )
    p.add_argument("--namespace", default="", help="of policy_node (default: none)")
    p.add_argument(
        "--wait",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="for policy_node to appear (default: %(default)g)",
    )
    return p


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("found an empty text, expected what the robot shall do")
    return text.strip()


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected seconds, 0 or more")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run one task; see the epilog for the status."""
    options = parser().parse_args(argv)
    from roboalign_policy.nodes.clients.run_client import RunClient
    from roboalign_policy.nodes.clients.run_words import RunError
    from roboalign_policy.nodes.graph_endpoints import checked_namespace

    try:
        checked_namespace(options.namespace)
    except ValueError as error:
        print(f"roboalign run: --{error}", file=sys.stderr)
        return exit_status.REFUSED
    console = Console(highlight=False, soft_wrap=True)
    with _stops() as stops, RunClient(options.namespace, options.wait) as client:
        try:
            with console.status("looking for policy_node"):
                before = client.check(lambda: stops() > 0)
            if options.scene is not None:
                client.scene.reset(options.task, options.scene, lambda: stops() > 0)
            if stops():
                raise RunError("cancelled")
            if client.scene.success(options.task):
                console.print(_ALREADY)
                return 0
            if before and before != options.task:
                console.print(f"takes over from “{escape(before)}”", style="dim")
            end = _show(client.run(options.task, options.timeout, stops), console)
        except RunError as error:
            if stops() == 1 and not client.began:
                console.print("cancelled; no task was sent")
            else:
                print(f"roboalign run: {error}", file=sys.stderr)
            return _INTERRUPTED if stops() else 1
    console.print(_outcome(end))
    if end.reason == "cancelled":
        return _INTERRUPTED
    done = end.success if end.success is not None else end.reason == "timeout"
    return 0 if done else 1


def _show(events: Generator[Event | RunEnd], console: Console) -> RunEnd:
    """Print a run as it goes; its end."""
    said_s = 0.0
    with closing(events), console.status("") as status:  # closed early, it cancels the task
        for event in events:
            if isinstance(event, RunEnd):
                return event
            line = _line(event)
            counted = f"{event.elapsed_s:.0f} s, {event.chunks} chunks, {event.steps} steps"
            if event.kind == PROGRESS:
                status.update(counted)
                if not console.is_terminal and event.elapsed_s - said_s >= _QUIET_S:
                    line = f"[dim]{_time(event)} {counted}[/]"
            if line:
                console.print(line)
                said_s = event.elapsed_s
    raise AssertionError("a run ends with its end")


def _line(event: Event) -> str:
    """What is printed of an event, as rich's markup; empty for nothing."""
    text = escape(event.text)
    if event.kind == STARTED:
        return f"task “[bold]{text}[/]”; ctrl-C cancels it, and the arm is held"
    if event.kind == THOUGHT:
        return f"{_time(event)} {text or '[dim](acts without a thought)[/]'}"
    if event.kind == REFUSED:
        return f"{_time(event)} [red]chunk refused:[/] {text}"
    if event.kind == WAITING:
        return f"{_time(event)} [yellow]waiting:[/] {text}" if text else ""
    if event.kind == ENDING:
        return f"{_time(event)} cancelling: the arm is held" if text else ""
    return ""


def _time(event: Event) -> str:
    return f"[dim]{event.elapsed_s:6.1f} s[/]"


def _outcome(end: RunEnd) -> str:
    """The last line, as rich's markup."""
    counted = f"after {end.seconds:.1f} s, {end.chunks} chunks, {end.steps} steps"
    if end.reason == "success" and not end.steps:
        return "[bold green]done already[/], as the simulated arm says; the arm is held"
    if end.reason == "success":
        return f"[bold green]success[/] {counted}; the arm is held"
    if end.reason == "cancelled":
        return f"cancelled {counted}; the arm is held"
    if end.reason == "timeout":
        judged = "not done: " if end.success is False else ""
        return f"{judged}time limit {counted}; the arm is held"
    return f"[bold red]stopped[/] {counted}: {escape(end.message)}"


@contextmanager
def _stops() -> Iterator[Callable[[], int]]:
    """Inside, signals are counted: a task must not go on without the one who sent it.

    Yields:
        A function that says how often a stop was asked for.
    """
    asked: list[int] = []
    before = {number: signal.signal(number, lambda n, _: asked.append(n)) for number in _SIGNALS}
    try:
        yield lambda: len(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
