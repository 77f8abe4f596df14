"""Where the policy is that nobody names: the one that the demo chose."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath

#: Folder of the demo, below the folder in which it ran.
DEMO = "out/demo"
#: File in the demo's folder that names the policy that it chose.
BEST = "best.json"
#: Folder of the policy of a demo that chose none: of an earlier version.
DEMO_POLICY = f"{DEMO}/grpo/policy"
POLICY_VARIABLE = "ROBOALIGN_POLICY"


class BestPolicyError(ValueError):
    """A `best.json` that names no policy; says which file, what was found and expected."""


def find_policy(text: str = "") -> Path:
    """Folder of a checkpoint.

    Args:
        text: as somebody wrote it, ``~`` included; empty: $ROBOALIGN_POLICY, else the one that
            the demo chose below the present folder, else below the checkout that this package is
            part of.

    Raises:
        FileNotFoundError: there is none; says where it was looked for.
        BestPolicyError: a demo says in a way that cannot be read which one it chose.
    """
    named = text or os.environ.get(POLICY_VARIABLE, "")
    if named:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            source = "" if text else f"${POLICY_VARIABLE}: "
            raise FileNotFoundError(f"{source}found no folder {named!r}, expected a checkpoint")
        return folder
    # The package stands in the checkout, or is a link into it.
    checkout = Path(__file__).resolve().parents[4]
    places = list(dict.fromkeys((Path.cwd(), checkout)))
    for place in places:
        if (place / DEMO / BEST).exists():
            return best_policy(place / DEMO / BEST)
        if (place / DEMO_POLICY).is_dir():
            return place / DEMO_POLICY
    looked = " nor in ".join(str(place / DEMO) for place in places)
    raise FileNotFoundError(
        f"found no checkpoint in {looked}: name one, or let `roboalign demo` make one"
    )


def best_policy(path: Path) -> Path:
    """The policy that a demo chose.

    Args:
        path: its `best.json`.

    Raises:
        BestPolicyError: it is no such file, or there is no such folder.
    """
    again = "; `roboalign demo --redo choose` writes it anew"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BestPolicyError(f"{path}: expected JSON ({error}){again}") from error
    if not isinstance(found, dict):
        raise BestPolicyError(f"{path}: found {found!r}, expected keys with values{again}")
    name = found.get("policy")
    inside = isinstance(name, str) and bool(name) and not PurePosixPath(name).is_absolute()
    if not inside or ".." in PurePosixPath(name).parts:
        raise BestPolicyError(
            f"{path}: policy: found {name!r}, expected a folder beside this file{again}"
        )
    folder = path.parent / name
    if not folder.is_dir():
        raise BestPolicyError(
            f"{path}: policy: found {name!r}, and there is no folder {folder}{again}"
        )
    return folder
