"""Check a contract file and tell everything that is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from roboalign_policy.core.contract.faults import ERROR, WARNING, ContractError, ContractFault
from roboalign_policy.core.contract.rules import check_rules
from roboalign_policy.core.contract.text import ContractText, read_contract_text
from roboalign_policy.core.contract.walk import Checker


def checked(
    data: Any,
    source: str,
    text: ContractText | None = None,
) -> tuple[dict[str, Any], list[ContractFault]]:
    """Check the data of a contract.

    Args:
        data: the contract as plain data.
        source: what to call it in faults.
        text: its YAML text, for line numbers.

    Returns:
        The data with every default filled in, and the faults; use the data only without errors.
    """
    checker = Checker(source, text)
    filled = checker.section("contract", data, "")
    check_rules(filled, checker.fault)
    order = {ERROR: 0, WARNING: 1}
    faults = sorted(checker.faults, key=lambda f: (f.line or 0, order[f.severity]))
    return filled, faults


def check_contract(path: str | Path) -> list[ContractFault]:
    """Return every fault and warning of a contract file; empty for a good one."""
    try:
        text = read_contract_text(Path(path))
    except ContractError as error:
        return list(error.faults)
    return checked(text.data, str(path), text)[1]


def contract_check_main(path: str | Path) -> int:
    """Print what is wrong with a contract file, or that it is good.

    Returns:
        0 where the contract can be used (warnings allowed), 1 where not.
    """
    faults = check_contract(path)
    errors = [fault for fault in faults if fault.severity == ERROR]
    for fault in faults:
        print(fault, file=sys.stderr if fault.severity == ERROR else sys.stdout)
    warnings = len(faults) - len(errors)
    if errors:
        print(f"{path}: {len(errors)} error(s), {warnings} warning(s)", file=sys.stderr)
        return 1
    print(f"{path}: ok" + (f", {warnings} warning(s)" if warnings else ""))
    return 0
