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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from roboalign_policy.core.recording.episodes import BAG_VERDICT
from roboalign_policy.core.recording.operator_keys import (
    Ask,
    Deed,
    buttons_from_text,
    keys_from_text,
)
from roboalign_policy.core.recording.stream_stats import FIT
from roboalign_policy.core.recording.task_list import TaskEntry, TaskList, load_tasks
from roboalign_training.shared.old_names import add_old_option

_FRAME_S = 0.1
_INTERRUPT = "\x03"
_DOMAIN, _RANGE = "ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"
_DOMAINS = range(1, 101)  # safe on every platform


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
    what.add_argument(
        "--sim",
        metavar="SUITE",
        help="no robot at hand: start the simulated arm, whose expert demonstrates the tasks of a "
        "suite (object, spatial, goal, long)",
    )
    p.add_argument("--contract", default="", help="start a recorder for this contract, too")
    p.add_argument(
        "--out",
        default="bags",
        dest="bag_dir",
        metavar="FOLDER",
        help="folder of the episodes (default: bags)",
    )
    add_old_option(p, "--bag-dir", "--out", dest="bag_dir")
    p.add_argument("--seed", type=int, help="with --sim: of the first scene (default: 0)")
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
        tasks = _tasks(options)
        _check_namespace(options.namespace)
        _check_nodes(options)
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
            count_recorded(tasks, options.bag_dir)
            try:
                with _own_domain(options.sim), _nodes(options) as nodes:
                    return _run(options, tasks, keys, buttons, told, nodes)
            except OSError:
                if not told:  # else the terminal is gone, and with it the last picture
                    raise
                return 128 + told[0]
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _check_namespace(namespace: str) -> None:
    """Refuse one that no node can be in.

    Raises:
        ValueError: naming it.
    """
    if namespace:
        from roboalign_policy.nodes.graph_endpoints import checked_namespace

        checked_namespace(namespace)


def _check_nodes(options: argparse.Namespace) -> None:
    """Refuse what no recorder could be started with, before one is.

    Raises:
        ValueError: the contract or the folder of the bags cannot be used.
    """
    try:
        options.bag_dir = Path(options.bag_dir).expanduser()
        places = (options.bag_dir, *options.bag_dir.parents)
        there = next((place for place in places if place.exists()), None)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"--out: found {options.bag_dir} ({why.lower()}), expected a folder for the bags"
        ) from error
    if there is not None and not there.is_dir():
        raise ValueError(f"--out: found the file {there}, expected a folder for the bags")
    if options.contract:
        from roboalign_policy.core.contract.contract import ContractError, load_contract
        from roboalign_policy.core.contract.files import find_contract

        try:
            load_contract(find_contract(options.contract))
        except (ContractError, OSError) as error:
            raise ValueError(f"--contract: {error}") from error


def _tasks(options: argparse.Namespace) -> TaskList:
    """What is to be demonstrated.

    Raises:
        ValueError: the file, the instruction or the suite cannot be used.
        OSError: the file cannot be read.
    """
    if options.sim is None:
        if options.seed is not None:
            raise ValueError(f"--seed: found {options.seed} without --sim, expected both or none")
        return (
            load_tasks(options.tasks)
            if options.tasks
            else TaskList([TaskEntry(options.instruction)])
        )
    options.seed = options.seed or 0
    from roboalign_policy.sim import SUITES

    if options.sim not in SUITES:
        raise ValueError(f"--sim: found {options.sim!r}, expected one of {', '.join(SUITES)}")
    if not 0 <= options.seed < 2**62:
        raise ValueError(f"--seed: found {options.seed}, expected 0 or more, below 2^62")
    for option, value in (("--contract", options.contract), ("--correct", options.correct)):
        if value:
            raise ValueError(
                f"{option}: found with --sim, expected it to be left out: the simulated arm has "
                "its own contract, and is alone in a ROS domain of its own"
            )
    options.contract = "sim_panda"
    return TaskList([TaskEntry(task.instruction) for task in SUITES[options.sim]])


def count_recorded(tasks: TaskList, bag_dir: Path) -> None:
    """Count the good episodes that are there already, so that a session goes on where one ended.

    A bag that cannot be read counts for nothing here; conversion says what is wrong with it.
    """
    from roboalign_policy.core.keys import BAG_EPISODE_ID, BAG_INSTRUCTION, BAG_OUTCOME
    from roboalign_training.bags.bagmeta import load_metadata
    from roboalign_training.bags.errors import DataError

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
    nodes: Sequence[Any],
) -> int:
    from rich.live import Live

    from roboalign_policy.nodes.clients.recording_panel import RecordingPanel
    from roboalign_policy.nodes.node_process import NodeProcessError
    from roboalign_training.commands.record_screen import screen, summary

    panel = RecordingPanel(
        tasks,
        namespace=options.namespace,
        operator=options.operator,
        keep_s=options.keep,
        buttons=buttons,
        correct=options.correct,
        sim=_demonstrator(options) if options.sim else None,
    )
    with panel:
        status, faults = None, []
        with _keyboard() as keyboard, Live(auto_refresh=False, screen=False) as live:
            while status is None:
                panel.spin(_FRAME_S)
                status = 128 + told[0] if told else _take(keyboard(), panel, keys)
                about = (panel.health, panel.ready, panel.said, keys, panel.fault)
                live.update(screen(tasks, *about), refresh=True)
                try:
                    for node in nodes:
                        node.check()
                except NodeProcessError as error:
                    status, faults = 1, [str(error)]
        faults += panel.withdraw()  # before anything is printed: a terminal may not take it
        print("\n".join(summary(tasks, panel.finished)), flush=True)
    for fault in faults:
        print(f"roboalign record: {fault}", file=sys.stderr)
    return status or int(bool(faults))


def _take(pressed: str, panel: Any, keys: dict[str, Ask]) -> int | None:
    """Do what the keys that were pressed ask for; the exit status where that is the end.

    Args:
        pressed: the keys.
        panel: a `RecordingPanel`.
        keys: what each asks for.
    """
    for key in pressed:
        if key == _INTERRUPT:
            if not panel.recording and not panel.busy:
                return 0
            panel.said.append("an episode is being recorded: end it first")
        elif key in keys and panel.ask(keys[key]) is Deed.QUIT:
            return 0
    return None


def _demonstrator(options: argparse.Namespace) -> Callable[[Any], Any]:
    """What makes the client of the simulated arm; scenes go on where the folder's bags end."""
    from roboalign_policy.nodes.sim.sim_demonstrator import SimDemonstrator, next_seed
    from roboalign_policy.sim import SUITES

    names = {task.instruction: task.name for task in SUITES[options.sim]}
    there = [path.parent.name for path in options.bag_dir.glob("*/metadata.yaml")]
    seed = next_seed(options.sim, there, options.seed)
    return lambda node: SimDemonstrator(node, options.sim, names, seed)


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
        mode[0] &= ~termios.IXON  # ctrl-S would stop the screen, and with it the keys
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        yield pressed
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _own_domain(alone: bool) -> Iterator[None]:
    """A ROS domain without any other node, on this machine only, where one is wanted.

    The expert of a simulated arm commands without a safety gate: no other arm may hear it.
    """
    if not alone:
        yield
        return
    from roboalign_policy.core.host.facts import free_domains, release_domains

    (domain,) = free_domains(_DOMAINS, 1)
    before = {name: os.environ.get(name) for name in (_DOMAIN, _RANGE)}
    os.environ |= {_DOMAIN: str(domain), _RANGE: "LOCALHOST"}
    print(f"the simulated arm is in a ROS domain of its own: {_DOMAIN}={domain}", flush=True)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        release_domains([domain])


@contextlib.contextmanager
def _nodes(options: argparse.Namespace) -> Iterator[list[Any]]:
    """A recorder_node of this command's own, where a contract is given; a simulated arm, too."""
    if not options.contract:
        yield []
        return
    from roboalign_policy.nodes.node_process import NodeProcess
    from roboalign_policy.nodes.start import module_of

    recorder = {
        "contract": options.contract,
        "bag_dir": str(options.bag_dir),
        "ring_s": options.keep,
    }
    nodes = {"recorder": recorder}
    if options.sim:
        episode = {"suite": options.sim, "seed": options.seed, "contract": options.contract}
        nodes["sim_robot"] = {"mode": "realtime", "demonstrator": "expert", **episode}
    processes = []
    with contextlib.ExitStack() as stack:
        for name, parameters in nodes.items():
            log = options.bag_dir / f"{name}.log"
            module = module_of(f"{name}_node")
            process = NodeProcess(module, parameters, log, namespace=options.namespace)
            stack.callback(process.stop)
            processes.append(process)
        yield processes


if __name__ == "__main__":
    sys.exit(main())
