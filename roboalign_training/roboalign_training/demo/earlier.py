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
    # And all drove as much of a chunk.
    "closed_loop": {"without_thought": [], "replan_after_steps_of": {}},
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


def is_not_known(key: str, options: dict[str, Any]) -> bool:
    """Whether nothing tells how a stage of an earlier version was done.

    An action head from before says nothing of how much of its chunks to drive.

    Args:
        key: of an option.
        options: as `stages.json` has them.
    """
    return key == "replan_after_steps" and options.get("stage") == "vla" and key not in options
