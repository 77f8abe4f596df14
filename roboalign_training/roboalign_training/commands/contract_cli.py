"""`roboalign contract check FILE`: explain every fault of a robot contract."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from roboalign_policy.core.contract.check import contract_check_main
from roboalign_policy.core.contract.contract import ContractError, find_contract


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="roboalign contract", description=__doc__)
    commands = p.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="explain every fault")
    check.add_argument(
        "contracts", nargs="+", metavar="FILE", help="a path, or the name of a packaged contract"
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Check contracts; 0 when all are sound, 1 when one has a fault, 2 when one does not exist."""
    status = 0
    for name in parser().parse_args(argv).contracts:
        try:
            path = find_contract(name)
        except ContractError as error:
            print(error, file=sys.stderr)
            status = 2
            continue
        status = max(status, contract_check_main(path))
    return status
