"""What stages of earlier versions were done with, where these did not note it."""

from __future__ import annotations

from typing import Any

_TINY = "roboalign-tiny"
_NOT_NOTED: dict[str, dict[str, Any]] = {
    # There was one contract of the simulated arm, and one experiment: the demo.
    "record": {"contract": "sim_panda"},
    "base": {"stage": "base", "from": _TINY, "seed": None},
    "sft": {"stage": "sft", "from": _TINY, "seed": 1},
    "grpo": {"stage": "grpo", "from": "sft", "seed": 1},
    # All policies reasoned before they acted.
    "open_loop": {"without_thought": []},
    "closed_loop": {"without_thought": []},
}


def with_what_was_not_noted(stage: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a finished stage, those too that its version did not write down.

    Args:
        stage: its name.
        options: as `stages.json` has them.
    """
    found = {**_NOT_NOTED.get(stage, {}), **options}
    if "without_thought" in found:  # stood in the order of the arms
        found["without_thought"] = sorted(found["without_thought"])
    return found
