"""How far a stage of the demo is, read from what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

from roboalign_training.evaluate.closed_loop import RESULTS
from roboalign_training.shared.progress import Count
from roboalign_training.shared.run_layout import DEVELOPMENT, METRICS


def bags_done(folder: Path, total: int) -> Count:
    """Bags of finished episodes."""

    def count() -> tuple[int, int, str]:
        return len(list(folder.glob("[!.]*"))), total, "episodes"

    return count


def steps_done(run: Path) -> Count:
    """Optimiser steps of a training run, with loss or reward and the seconds left."""
    latest: dict = {}
    read = 0

    def count() -> tuple[int, int, str]:
        nonlocal read
        path = run / METRICS
        if not path.is_file():
            return 0, 0, "preparing"
        with path.open("rb") as stream:
            if path.stat().st_size < read:  # begun anew
                read = 0
            stream.seek(read)
            text = stream.read()
        whole = text[: text.rfind(b"\n") + 1]
        read += len(whole)
        for line in whole.split(b"\n")[:-1]:
            latest.update(json.loads(line))
        shown = [f"{key} {latest[key]:.3f}" for key in ("loss", "reward") if key in latest]
        if "remaining_s" in latest:
            shown.append(f"{latest['remaining_s']:.0f} s left")
        step, total = latest.get("step", 0), latest.get("total_steps", 0)
        return step, total, ", ".join(["steps", *shown] if total else ["preparing"])

    return count


def steps_then_driving(run: Path, episodes: int) -> Count:
    """Optimiser steps of a run, then the development episodes that choose between two policies.

    Args:
        run: folder of the run.
        episodes: that both policies drive together.
    """
    steps = steps_done(run)

    def count() -> tuple[int, int, str]:
        if not (run / DEVELOPMENT).is_dir():
            return steps()
        results = run.glob(f"{DEVELOPMENT}/*/{RESULTS}")
        driven = sum(path.read_bytes().count(b"\n") for path in results)
        return driven, episodes, "development episodes"

    return count


def unknown() -> tuple[int, int, str]:
    """Of a program that does not say how far it is."""
    return 0, 0, ""
