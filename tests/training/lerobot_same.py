"""Whether two exports are the same, and finishing one that was stopped."""

from __future__ import annotations

from pathlib import Path

import av

from roboalign_training.lerobot.export import export_dataset


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pictures(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as video:
        return [(f.time, f.to_ndarray(format="rgb24").tobytes()) for f in video.decode(video=0)]


def same(one: Path, other: Path) -> None:
    """Both data sets have the same files with the same bytes; of videos say what differs."""
    first, second = contents(one), contents(other)
    assert list(first) == list(second)
    for name, data in first.items():
        if name.endswith(".mp4"):
            assert pictures(one / name) == pictures(other / name), name
        assert data == second[name], name


def resumed(dataset: Path, out: Path, **options) -> tuple[int, int]:
    """Finishes an export; how many images were there already, and how many were made."""
    calls: list[int] = []
    export_dataset(dataset, out, on_frame=calls.append, **options)
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []
    return sum(n for n in calls if n > 1), sum(n for n in calls if n == 1)
