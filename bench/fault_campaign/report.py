"""The campaign's results: a JSON file a kind, all of them in one, and a markdown table."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fault_campaign.kind import BOUND_S, Kind
from fault_campaign.measures import percentile
from fault_campaign.verdict import NEVER, SILENCE, STOP
from roboalign_training.shared.statistics import wilson_interval

_PACKAGES = ("rclpy", "numpy", "websockets")


def machine() -> dict[str, Any]:
    """Where it ran."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "ros": os.environ.get("ROS_DISTRO", ""),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def kind_record(
    kind: Kind,
    seed: int,
    results: list[dict[str, Any]],
    stops: dict[str, int],
    rebuilt: list[str],
    load: list[float],
) -> dict[str, Any]:
    """What the file of one kind holds.

    Args:
        kind: of fault.
        seed: of the campaign.
        results: of its repeats.
        stops: without an injected fault, by reason.
        rebuilt: why all processes were started anew.
        load: load averages of the machine over a minute, before and after.
    """
    return {
        "kind": kind.name,
        "text": kind.text,
        "robot": kind.robot,
        "driver": kind.driver,
        "check": kind.check,
        "reasons": list(kind.reasons),
        "bound_s": kind.bound_s,
        "why": kind.why,
        "gate": dict(kind.gate),
        "seed": seed,
        "git": _git_state(),
        "load": load,
        "stops_without_fault": stops,
        "rebuilt": rebuilt,
        "repeats": results,
    }


def finite(value: Any) -> Any:
    """The same with infinities as text: JSON has none."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def save(path: Path, record: Any) -> None:
    """Write JSON, whole or not at all."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(finite(record), indent=1), encoding="utf-8")
    beside.replace(path)


def late(repeat: dict[str, Any]) -> bool:
    """Whether there was motion after the bound."""
    return "motion after the bound" in repeat["failed"]


def table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row a kind, then what holds over all."""
    rows = [
        "| kind | what happens | n | motion after bound | last motion p50 / p99 / max ms "
        "| safe action p99 ms | bound ms | reason seen | resumed without reset |",
        "|" + "---|" * 9,
    ]
    rows += [_row(record) for record in records]
    return "\n".join([*rows, "", *_summary(records)])


def failures(records: Sequence[dict[str, Any]]) -> Counter[str]:
    """How often what did not hold, as ``kind: what``."""
    return Counter(
        f"{record['kind']}: {what}"
        for record in records
        for repeat in record["repeats"]
        for what in repeat["failed"]
    )


def _row(record: dict[str, Any]) -> str:
    repeats = record["repeats"]
    last = _times(repeats, "last_motion_ms")
    safe = _times(repeats, "safe_ms")
    reasons = Counter(r["reason"] for r in repeats if r["reason"])
    seen = ", ".join(
        name if count == len(repeats) else f"{name} {count}"
        for name, count in reasons.most_common()
    )
    cells = [
        record["kind"],
        record["text"],
        str(len(repeats)),
        str(sum(late(r) for r in repeats)),
        " / ".join(_ms(percentile(last, share)) for share in (50, 99, 100)) if last else "none",
        _ms(percentile(safe, 99)),
        f"{record['bound_s'] * 1e3:.0f}" + (" *" if record["why"] else ""),
        seen or "-",
        _resumed(record),
    ]
    return "| " + " | ".join(cells) + " |"


def _resumes(record: dict[str, Any]) -> bool:
    """Whether motion after the fault has gone would be motion without a reset."""
    return record["check"] in (STOP, SILENCE, NEVER)


def _resumed(record: dict[str, Any]) -> str:
    if not _resumes(record):
        return "by design"
    return str(sum(map(bool, (r["resumed_by_healing"] for r in record["repeats"]))))


def _summary(records: Sequence[dict[str, Any]]) -> list[str]:
    repeats = [(record, repeat) for record in records for repeat in record["repeats"]]
    n, found = len(repeats), sum(late(repeat) for _, repeat in repeats)
    lines = []
    for star in sorted({f"{r['why']}: {r['kind']}" for r in records if r["why"]}):
        lines.append(f"\\* {star}.")
    bound = 3 / n if n and not found else wilson_interval(found, n)[1]
    how = "rule of three" if not found else "Wilson"
    lines.append(
        f"\nMotion after the bound in {found} of {n} faults of {len(records)} kinds: at most "
        f"{100 * min(1.0, bound):.2g} % of such faults (95 %, {how})."
    )
    usual = [r for k, r in repeats if k["bound_s"] == BOUND_S]
    last, safe = _times(usual, "last_motion_ms"), _times(usual, "safe_ms")
    lines.append(
        f"Where the bound is {BOUND_S * 1e3:.0f} ms: last motion p50 {_ms(percentile(last, 50))}, "
        f"p99 {_ms(percentile(last, 99))}, max {_ms(percentile(last, 100))} ms; safe action p50 "
        f"{_ms(percentile(safe, 50))}, p99 {_ms(percentile(safe, 99))}, "
        f"max {_ms(percentile(safe, 100))} ms after the injection."
    )
    stops = sum(sum(record["stops_without_fault"].values()) for record in records)
    resumed = sum(_resumes(k) and r["resumed_by_healing"] is True for k, r in repeats)
    lines.append(
        f"Resumed without reset: {resumed}. Stops that nobody injected on the way to a fault: "
        f"{stops}; these runs were begun anew."
    )
    return lines


def _times(repeats: Sequence[dict[str, Any]], key: str) -> list[float]:
    """Times of the repeats that have one; before the injection counts as 0."""
    return [max(0.0, repeat[key]) for repeat in repeats if repeat.get(key) is not None]


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _git_state() -> str:
    """Commit of the suite, with ``-dirty`` where changed; empty outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    result = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return result.stdout.strip() if result.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""  # from a ROS 2 installation, not from a wheel
