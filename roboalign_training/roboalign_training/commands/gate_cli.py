"""`roboalign gate`: enable, disable, stop, reset or watch the safety gate, without ros2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from roboalign_training.shared.exit_status import REFUSED

_HELP = {
    "enable": "let commands pass",
    "disable": "let nothing pass; sends the safe action",
    "estop": "emergency stop: sends the safe action and latches",
    "reset": "leave a latched stop, once it has cooled down, which is waited for; then enable",
    "status": "state, reason and counters",
}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="roboalign gate", description=__doc__)
    commands = p.add_subparsers(dest="command", required=True)
    for name, text in _HELP.items():
        sub = commands.add_parser(name, help=text)
        sub.add_argument("--namespace", default="", help="of the gate")
        sub.add_argument("--timeout", type=float, default=5.0, help="s (default: %(default)s)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when the gate did it, 1 when it refused or does not answer, 2 where an option cannot be
        used.
    """
    options = parser().parse_args(argv)
    from roboalign_policy.nodes.clients.gate_client import STATES, GateClient, GateMissingError
    from roboalign_policy.nodes.graph_endpoints import checked_namespace

    try:
        checked_namespace(options.namespace)
    except ValueError as error:
        print(f"roboalign gate {options.command}: --{error}", file=sys.stderr)
        return REFUSED
    try:
        with GateClient(options.namespace, options.timeout) as client:
            if options.command == "status":
                status = client.status()
                print(f"{STATES[status.state]}{', dry run' if status.dry_run else ''}")
                print(f"detail: {status.detail or 'all is well'}")
                print(f"source: {status.source or 'none'}")
                print(f"passed {status.passed}, refused {status.refused}, stops {status.stops}")
                return 0
            if options.command in ("enable", "disable"):
                done, said = client.enable(options.command == "enable")
            elif options.command == "estop":
                done, said = client.estop()
            else:
                done, said = client.reset(_say_cool_down)
    except GateMissingError as error:
        print(f"roboalign gate {options.command}: {error}", file=sys.stderr)
        return 1
    print(f"{options.command}: {'done' if done else 'refused'}{': ' + said if said else ''}")
    return 0 if done else 1


def _say_cool_down(left_s: float) -> None:
    print(f"reset: the gate cools down for {left_s:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
