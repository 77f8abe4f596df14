"""Where the policy is that nobody names: the one that the demo made."""

from __future__ import annotations

import os
from pathlib import Path

#: Folder of the demo's policy, below the folder in which the demo ran.
DEMO_POLICY = "out/demo/grpo/policy"
POLICY_VARIABLE = "ROBOALIGN_POLICY"


def find_policy(text: str = "") -> Path:
    """Folder of a checkpoint.

    Args:
        text: as somebody wrote it, ``~`` included; empty: $ROBOALIGN_POLICY, else what the demo
            left below the present folder, else below the checkout that this package is part of.

    Raises:
        FileNotFoundError: there is none; says where it was looked for.
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
    places = list(dict.fromkeys((Path.cwd() / DEMO_POLICY, checkout / DEMO_POLICY)))
    for folder in places:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"found no checkpoint in {' nor in '.join(map(str, places))}: name one, or let "
        "`roboalign demo` make one"
    )
