"""Balance sheets as tables: what became of messages, episodes, frames and images of each bag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from roboalign_policy.core.frames.joint_readings import joint_lists

MOST_ROWS = 40
MOST_TOPIC_TABLES = 3
# "paused", "off_clock" and `OTHERS` are not in sheets of data sets that were made before they were
# counted.
OTHERS = "of_other_joints"
_MESSAGES = ("promised", "read", "paused", "unreadable", "off_clock")


def balance_rows(sheets: Sequence[dict]) -> list[list[str]]:
    """One line a bag, with the header first, and at the end the sums of several.

    Each cell reads as a sum: what there was = what became of it.
    """
    header = ["bag", "messages read", "episodes", "frame times", "images in frames"]
    rows = [[Path(s["source"]).name, *_cells(s)] for s in sheets]
    if len(sheets) > 1:
        rows.append([f"all {len(sheets)}", *_cells(_total(sheets))])
    return [header, *rows]


def topic_rows(sheet: dict) -> list[list[str]]:
    """One line a topic of a bag, with the header first."""
    rows = [
        [
            "topic", "promised", "read", "in pauses", "unreadable", "stamp of another time",
            "of other joints",
        ]
    ]  # fmt: skip
    for name, topic in sorted(sheet["topics"].items()):
        others = topic.get(OTHERS, {})
        named = f"{sum(others.values())}{f' ({joint_lists(others)})' if others else ''}"
        rows.append([name, *(str(topic.get(key, 0)) for key in _MESSAGES), named])
    return rows


def balance_tables(sheets: Sequence[dict]) -> list[Table]:
    """The sheets of the bags of one run to print; of few bags the topics too."""
    if not sheets:
        return []
    header, *rows = balance_rows(sheets)
    title = "balance" + (f", the last {MOST_ROWS} of {len(rows)} lines"
                         if len(rows) > MOST_ROWS else "")  # fmt: skip
    tables = [_table(title, header, rows[-MOST_ROWS:])]
    for sheet in sheets if len(sheets) <= MOST_TOPIC_TABLES else ():
        header, *rows = topic_rows(sheet)
        tables.append(_table(f"messages of {Path(sheet['source']).name}", header, rows))
    return tables


def _table(title: str, header: list[str], rows: list[list[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in header:
        table.add_column(escape(name), overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _cells(sheet: dict) -> list[str]:
    topics = sheet["topics"].values()
    promised, read, paused, unreadable, off_clock = (
        sum(topic.get(key, 0) for topic in topics) for key in _MESSAGES
    )
    messages = f"{read} of {promised}"
    messages += f", {paused} in pauses" if paused else ""
    messages += f", {unreadable} unreadable" if unreadable else ""
    messages += f", {off_clock} with a stamp of another time" if off_clock else ""
    others = sum(sum(topic.get(OTHERS, {}).values()) for topic in topics)
    messages += f", {others} of other joints" if others else ""
    episodes, frames, images = sheet["episodes"], sheet["frames"], sheet["images"]
    left_out = [f"{count} left out: {kind}" for kind, count in episodes["left_out"].items()]
    lost = [
        f"{frames[key]} {name}"
        for key, name in (
            ("dropped", "dropped inside"),
            ("trimmed", "trimmed"),
            ("left_out", "with episodes left out"),
        )
        if frames[key]
    ]
    reasons = ", ".join(f"{why}: {count}" for why, count in frames["reasons"].items())
    stored = [
        f"{images[key]} {name}"
        for key, name in (("passed_through", "passed through"), ("encoded", "encoded"))
        if images[key]
    ]
    if images["undecodable"]:
        stored.append(f"beside them {images['undecodable']} undecodable")
    return [
        messages,
        _sum(episodes["found"], [f"{episodes['taken']} taken", *left_out]),
        _sum(frames["times"], [f"{frames['kept']} kept", *lost])
        + (f" ({reasons})" if reasons else ""),
        f"{images['in_frames']}, {_sum(images['used'], stored)}" if images["used"] else "0",
    ]


def _sum(whole: int, parts: list[str]) -> str:
    return f"{whole} = {' + '.join(parts)}"


def _total(sheets: Sequence[dict]) -> dict:
    """The sums of several sheets."""
    return {
        "topics": {f"{n} {name}": topic
                   for n, s in enumerate(sheets) for name, topic in s["topics"].items()},
        "episodes": {
            **_added([s["episodes"] for s in sheets]),
            "left_out": _added([s["episodes"]["left_out"] for s in sheets]),
        },
        "frames": {**_added([s["frames"] for s in sheets]),
                   "reasons": _added([s["frames"]["reasons"] for s in sheets])},
        "images": _added([s["images"] for s in sheets]),
    }  # fmt: skip


def _added(parts: Sequence[dict]) -> dict:
    """Numbers added key by key."""
    found = dict.fromkeys(_MESSAGES, 0) if not parts else {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, int):
                found[key] = found.get(key, 0) + value
    return found
