"""What `roboalign record` shows: the task, the streams, the disk, what happened last."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from roboalign_policy.core.recording.episodes import OUTCOMES
from roboalign_policy.core.recording.operator_keys import Ask
from roboalign_policy.core.recording.task_list import TaskList

MB = 1e6
_WORDS = {
    Ask.GO: ("start", "success"),
    Ask.FAILURE: ("last: failure", "failure"),
    Ask.DISCARD: ("last: discard", "discard"),
    Ask.REDO: ("", "redo"),
    Ask.PAUSE: ("", "pause"),
    Ask.KEEP: ("keep the past", ""),
    Ask.NEXT: ("next task", ""),
    Ask.BACK: ("task before", ""),
    Ask.QUIT: ("quit", ""),
}
_FATES = {"discarded": "thrown away", "unknown": "of unknown outcome"}
_SHOWN = {" ": "space", "\n": "enter", "\t": "tab", "\x1b": "esc"}


def screen(
    tasks: TaskList,
    health: Any,
    ready: bool,
    said: Iterable[str],
    keys: dict[str, Ask],
    fault: str = "",
) -> Group:
    """One picture.

    Args:
        tasks: what is to be demonstrated.
        health: roboalign_msgs/msg/RecordingHealth; None before the first.
        ready: whether the recorder answers.
        said: what happened last.
        keys: of the operator.
        fault: why no episode can begin; empty where one can.
    """
    return Group(
        _state(tasks, health, ready, fault),
        *([_streams(health)] if health is not None and health.recording else []),
        *([_storage(health)] if health is not None else []),
        Text("\n".join(said) or " ", style="cyan"),
        _help(keys, health is not None and health.recording),
    )


def summary(tasks: TaskList, finished: Mapping[str, str]) -> list[str]:
    """Lines to end with: what was recorded in this session, and what is still wanted.

    Args:
        tasks: what was to be demonstrated.
        finished: by id, the outcome of each episode, or its verdict where it is not fit.
    """
    fates = Counter("unfit" if fate not in OUTCOMES else fate for fate in finished.values())
    counts = ", ".join(f"{count} {_FATES.get(fate, fate)}" for fate, count in fates.items())
    what = f"{len(finished)} episode{'s' * (len(finished) != 1)} in this session"
    lines = [f"{what}: {counts}" if counts else what]
    lines += [f"{name}: {fate}" for name, fate in finished.items() if fate not in OUTCOMES]
    wanted = [t for t in tasks.tasks if t.wanted and t.open]
    lines += [f"still wanted: {t.wanted - t.done} of {t.wanted} x {t.instruction}" for t in wanted]
    return lines


def _state(tasks: TaskList, health: Any, ready: bool, fault: str) -> Panel:
    task = tasks.present
    count = f"{task.done} of {task.wanted}" if task.wanted else f"{task.done}"
    if not ready:
        what, style = "no recorder", "bold red"
    elif health.paused:
        what, style = f"paused at {health.duration_s:.1f} s", "bold yellow"
    elif health.recording:
        what, style = f"recording {health.duration_s:.1f} s", "bold green"
    else:
        what, style = ("all recorded" if tasks.complete else "ready"), "bold"
    text = Text.assemble((what, style), "\n", (task.instruction, "bold"), f"\n{count} recorded")
    for reason in (health.reason if ready else "", fault):
        if reason:
            text.append(f"\n{reason}", style="bold red")
    return Panel(text, title=f"task {tasks.at + 1} of {len(tasks.tasks)}", border_style=style)


def _streams(health: Any) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("stream", "Hz", "expected", "messages", "lost", "longest gap s", ""):
        table.add_column(name, justify="left" if name in ("stream", "") else "right")
    for index, topic in enumerate(health.topics):
        expected, healthy = health.expected_hz[index], health.healthy[index]
        table.add_row(
            topic,
            f"{health.rates_hz[index]:.1f}",
            f"{expected:g}" if expected else "-",
            str(health.counts[index]),
            str(health.losses[index]) if health.losses_known[index] else "?",
            f"{health.max_gaps_s[index]:.2f}",
            "" if healthy else "ALARM",
            style="" if healthy else "bold red",
        )
    return table


def _storage(health: Any) -> Text:
    parts = [f"{health.bandwidth / MB:.1f} MB/s", f"{health.free_bytes / 1e9:.1f} GB free"]
    if math.isfinite(health.disk_left_s):
        parts.append(f"full in {health.disk_left_s / 60:.0f} min")
    if health.queue_limit_bytes:
        share = 100 * health.queue_peak_bytes / health.queue_limit_bytes
        parts.append(f"queue at most {share:.0f} % full")
    if health.dropped:
        parts.append(f"{health.dropped} messages lost to a full queue")
    if health.ring_s:
        parts.append(f"{health.ring_s:.0f} s of the past in memory")
    return Text(", ".join(parts), style="dim")


def _help(keys: dict[str, Ask], recording: bool) -> Text:
    words = [
        f"{_SHOWN.get(key, key)}: {_WORDS[ask][recording]}"
        for key, ask in keys.items()
        if _WORDS[ask][recording]
    ]
    return Text("   ".join(words), style="dim")
