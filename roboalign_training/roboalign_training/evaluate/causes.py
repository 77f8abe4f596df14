"""Why an episode was no success: what its record tells, in words that add up over episodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

SUCCESS = ""


def cause_of(record: Mapping) -> str:
    """Cause of an episode's failure; `SUCCESS` where it was none.

    Args:
        record: of `run_closed_loop`. One of an older version has no goals and no moved objects:
            of it no more is said than it holds.
    """
    if record["success"]:
        return SUCCESS
    if record.get("refused_run") or (record["chunks"] and not record["valid_chunks"]):
        kinds = ", ".join(sorted({words(kind) for kind in record["faults"]})) or "no reason kept"
        return f"chunks refused ({kinds})"
    if "goals" not in record:
        return "time limit"
    goals, moved = record["goals"], record["moved"]
    met = sum(goals.values())
    if met:
        return f"time limit, {met} of {len(goals)} goals met"
    if not moved:
        return "time limit, nothing was moved"
    if not any(is_asked_for(name, goals) for name in moved):
        return "time limit, only other objects were moved"
    return "time limit, moved, but not to its place"


def is_asked_for(name: str, goals: Iterable[str]) -> bool:
    """Whether a goal begins with this object, as "red cube on white plate" with the red cube."""
    return any(goal == name or goal.startswith(f"{name} ") for goal in goals)


def missing_goals(record: Mapping) -> list[str]:
    """What the task asked for and was not so at the end; none where that was not recorded."""
    return [goal for goal, met in record.get("goals", {}).items() if not met]


def count_causes(records: Iterable[Mapping]) -> Counter[str]:
    """Failures by cause."""
    return Counter(cause for record in records if (cause := cause_of(record)))


def detail_of(record: Mapping) -> str:
    """What else a failed episode's record tells: missing goals, moved objects, refused chunks."""
    parts = []
    if missing := missing_goals(record):
        parts.append(f"missing: {', '.join(missing)}")
    if "moved" in record:
        parts.append(f"moved: {', '.join(record['moved']) or 'nothing'}")
    if record["faults"]:
        counts = Counter(record["faults"])
        shown = ", ".join(f"{n} {words(kind)}" for kind, n in counts.most_common())
        parts.append(f"refused chunks: {shown} of {record['chunks']}")
    return "; ".join(parts)


def words(kind: str) -> str:
    """A kind of fault of a chunk, such as "out_of_limits", as it is read."""
    return kind.replace("_", " ")
