"""Charts as SVG in the page's own colours: curves, also on a log axis, and bars with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

WIDTH, HEIGHT = 380, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 34
LETTER = 6.2  # px; a digit of the small letters


@dataclass(frozen=True)
class Series:
    """One line, or one bar of each group.

    Attributes:
        label: its name in the legend.
        style: number of its colour, 0 to 4.
        points: (x, y) of a line.
        bars: y of each group; None where there is none.
        intervals: (low, high) of each bar; None without one.
    """

    label: str
    style: int
    points: Sequence[tuple[float, float]] = ()
    bars: Sequence[float | None] = ()
    intervals: Sequence[tuple[float, float] | None] = field(default=())


def lines(
    title: str, series: Sequence[Series], x_name: str, y_name: str, log: bool = False
) -> Markup:
    """Curves over x; nothing where no series has a point.

    Args:
        title: of the chart.
        series: what is drawn; on a log axis the points above 0.
        x_name: of the axis.
        y_name: of the axis, with the unit.
        log: whether the y axis is logarithmic.
    """
    kept = [(s, [p for p in s.points if not log or p[1] > 0]) for s in series]
    kept = [(s, points) for s, points in kept if points]
    if not kept:
        return Markup("")
    xs, ys = ([p[i] for _, points in kept for p in points] for i in (0, 1))
    marks, low, high = log_ticks(min(ys), max(ys)) if log else linear_ticks(min(ys), max(ys))
    first, last = min(xs), max(xs)
    place = math.log10 if log else float

    def x(value: float) -> float:
        return LEFT + (value - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return _height(place(value), place(low), place(high))

    parts = [_horizontal(y(mark), _number(mark)) for mark in marks]
    for mark in linear_ticks(first, last, 5)[0]:
        if first <= mark <= last:
            parts.append(_text(x(mark), HEIGHT - BOTTOM + 14, _number(mark), _anchor(x(mark))))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_name, "middle"))
    for one, points in kept:
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        parts.append(Markup(f'<polyline class="curve s{one.style}" points="{path}"/>'))
        if len(points) < 40:
            dot = '<circle class="point s{}" cx="{:.1f}" cy="{:.1f}" r="2.4"/>'
            parts += [Markup(dot.format(one.style, x(a), y(b))) for a, b in points]
    return _figure(title, y_name + (", log axis" if log else ""), parts, [s for s, _ in kept])


def bars(
    title: str,
    groups: Sequence[str],
    series: Sequence[Series],
    y_name: str,
    top: float | None = None,
) -> Markup:
    """Bars of each group side by side, with their intervals.

    Args:
        title: of the chart.
        groups: names along x.
        series: one bar of each group.
        y_name: of the axis, with the unit.
        top: upper end of the y axis; None fits the data.
    """
    ends = [b for s in series for b in s.bars if b is not None]
    ends += [i[1] for s in series for i in s.intervals if i is not None]
    marks, _, high = linear_ticks(0.0, top if top is not None else max(ends, default=1.0))
    slot = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    width = 0.8 * slot / max(len(series), 1)

    def y(value: float) -> float:
        return _height(value, 0.0, high)

    parts = [_horizontal(y(mark), _number(mark)) for mark in marks]
    for number, group in enumerate(groups):
        parts.append(_text(LEFT + (number + 0.5) * slot, HEIGHT - BOTTOM + 14, group, "middle"))
        for place, one in enumerate(series):
            if one.bars[number] is None:
                continue
            left = LEFT + number * slot + 0.1 * slot + place * width
            value = one.bars[number]
            said = escape(f"{group}, {one.label}: {_number(value)}")
            parts.append(Markup(
                f'<rect class="block s{one.style}" x="{left:.1f}" width="{width:.1f}" '
                f'y="{y(value):.1f}" height="{y(0) - y(value):.1f}"><title>{said}</title></rect>'
            ))  # fmt: skip
            if one.intervals and one.intervals[number] is not None:
                low, up = map(y, one.intervals[number])
                middle = left + width / 2
                path = f'<path class="interval" d="M{middle:.1f} {low:.1f}V{up:.1f}"/>'
                parts.append(Markup(path))
    return _figure(title, y_name, parts, series)


def linear_ticks(low: float, high: float, most: int = 4) -> tuple[list[float], float, float]:
    """Round numbers from at or below `low` to at or above `high`, and these two ends."""
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = [round(n * step, 12) for n in range(first, last + 1)]
    return marks, marks[0], marks[-1]


def log_ticks(low: float, high: float) -> tuple[list[float], float, float]:
    """1, 2 and 5 times powers of ten around `low` to `high`, both above 0, and these two ends."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    marks = [float(f"{factor}e{power}") for power in powers for factor in steps]
    below = [mark for mark in marks if mark <= low * (1 + 1e-9)]
    above = [mark for mark in marks if mark >= high * (1 - 1e-9)]
    kept = [mark for mark in marks if below[-1] <= mark <= above[0]]
    if len(kept) == 1:
        kept = [kept[0] / 2, kept[0] * 2]
    return kept, kept[0], kept[-1]


def _height(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)


def _horizontal(at: float, text: str) -> Markup:
    """A grid line with its number."""
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
    return Markup(line) + _text(LEFT - 5, at + 3.5, text, "end")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )


def _anchor(x: float) -> str:
    """Words at the ends of an axis stay inside of the picture."""
    return "end" if x > WIDTH - RIGHT - 12 else "middle"


def _number(value: float) -> str:
    """At most four digits."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("-", "−")
    return f"{float(f'{value:.4g}'):.6f}".rstrip("0").rstrip(".").replace("-", "−") or "0"


def _figure(title: str, y_name: str, parts: Sequence[Markup], series: Sequence[Series]) -> Markup:
    """The chart in its frame, with title and legend."""
    legend = Markup("").join(
        Markup('<span><i class="s{}"></i>{}</span>').format(one.style, one.label) for one in series
    )
    return Markup(
        '<figure class="chart"><figcaption><b>{}</b> <span class="small">{}</span></figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
        '<div class="keys small">{}</div></figure>'
    ).format(title, y_name, WIDTH, HEIGHT, f"{title}: {y_name}", Markup("").join(parts), legend)


def metric_points(metrics: Sequence[Mapping], key: str) -> list[tuple[float, float]]:
    """(step, value) of the lines of a run's metrics that have this key."""
    return [
        (float(line["step"]), float(line[key]))
        for line in metrics
        if line.get(key) is not None and "step" in line
    ]
