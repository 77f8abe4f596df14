"""Where contracts lie: packaged ones by name, others by path."""

from __future__ import annotations

import os
from pathlib import Path

from roboalign_policy.core.contract.faults import did_you_mean, file_error

CONTRACT = "contract.yaml"
"""Name of the contract in the folder of a checkpoint."""


def _contract_folders() -> list[Path]:
    """Folders of packaged contracts: the source tree, then where the package is installed."""
    here = Path(__file__).resolve()
    folders = [here.parents[3] / "config" / "robots"]
    share = Path("share") / "roboalign_policy" / "config" / "robots"
    folders += [parent / share for parent in Path(__file__).absolute().parents]
    folders += [
        Path(prefix) / share
        for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
        if prefix
    ]
    return [folder for folder in folders if folder.is_dir()]


def packaged_contracts() -> dict[str, Path]:
    """Return the packaged contracts: path by name, sorted by name."""
    found: dict[str, Path] = {}
    for folder in _contract_folders():
        for path in folder.glob("*.yaml"):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def packaged_contract_path(name: str) -> Path:
    """Return the path of a packaged contract.

    Raises:
        ContractError: there is no packaged contract of that name.
    """
    packaged = packaged_contracts()
    if name not in packaged:
        hint = did_you_mean(name, packaged)
        if not hint and Path(name).is_file():
            hint = f"the file of that name here is ./{name}"
        raise file_error(
            name,
            "no packaged contract of that name",
            f"one of {', '.join(packaged) or 'none installed'}",
            hint,
        )
    return packaged[name]


def check_policy_folder(policy: str | Path) -> Path:
    """Return the folder of a checkpoint, which is looked at before anything that it would hold.

    Raises:
        ValueError: there is none.
    """
    if not str(policy):
        raise ValueError("policy: found an empty text, expected the folder of a checkpoint")
    folder = Path(policy).expanduser()
    if not folder.is_dir():
        there = "a file" if folder.exists() else "no such folder"
        raise ValueError(
            f"policy: {policy}: found {there}, expected the folder of a checkpoint (of `roboalign "
            "sft` or `roboalign grpo`)"
        )
    return folder


def find_contract(name_or_path: str | Path) -> Path:
    """Return the path of a contract given as a file or by its packaged name.

    A name without a slash and without .yaml is a packaged one, even where a file of that name
    lies in the current folder: which contract a robot runs must not depend on the folder.

    Raises:
        ContractError: there is neither.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith((".yaml", ".yml")):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise file_error(
                text,
                "a folder" if path.is_dir() else "no such file",
                "a contract file, or one of the packaged names "
                f"{', '.join(packaged_contracts()) or '(none installed)'}",
            )
        return path
    return packaged_contract_path(text)
