"""A look as plain data for the page's script; times in seconds from the episode's beginning."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np

from roboalign_training.episodes.channels import ACTION, IMAGE, NUMBER, STATE, Channel
from roboalign_training.look.inspect import TopicReport
from roboalign_training.look.look import Look
from roboalign_training.look.scene import ERROR, ShownEpisode
from roboalign_training.look.series import Curve
from roboalign_training.look.strip import Strip

SCHEMA = "roboalign-look/1"
DENSITY_BINS = 400
MOST_IDS = 12
"""Token ids named by how often they stand in an episode."""


def document(look: Look) -> dict:
    """The page's data.

    Arrays are base64 of little-endian float32 (`packed`). Each episode's `timeline_s` is the time,
    from its beginning, at which the lines of the topics begin.
    """
    contract = look.view.contract
    return {
        "schema": SCHEMA,
        "rate_hz": contract.rate_hz if contract else 0,
        "horizon": contract.action.horizon if contract else 0,
        "dims": [[dim.name, dim.unit] for dim in contract.action.dims] if contract else [],
        "timeline": _timeline(look.topics, *look.range_ns) if look.topics else None,
        "episodes": [_episode(scene, look) for scene in look.scenes],
    }


def packed(values: Sequence[float] | np.ndarray) -> str:
    """Numbers as base64 of little-endian float32."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def _timeline(topics: Sequence[TopicReport], start_ns: int, end_ns: int) -> dict:
    """When each topic's messages came, in s from the first message of the recording."""
    rows = []
    for topic in sorted(topics, key=lambda t: (not t.role, t.name)):
        if not topic.count:
            rows.append(_silent(topic))
            continue
        rows.append({
            "name": topic.name,
            "role": topic.role,
            "count": topic.count,
            "rate_hz": None if math.isnan(topic.rate_hz) else topic.rate_hz,
            "expected_hz": topic.expected_hz,
            "density": topic.arrivals.density.tolist(),
            "gap_s": None if math.isinf(topic.gap_s) else topic.gap_s,
            "gaps": [[(g.start_ns - start_ns) / 1e9, g.length_s] for g in topic.gaps],
            "faults": list(topic.faults),
        })  # fmt: skip
    return {"seconds": (end_ns - start_ns) / 1e9, "rows": rows}


def _silent(topic: TopicReport) -> dict:
    """The line of a topic without messages."""
    return {"name": topic.name, "role": topic.role, "count": 0, "rate_hz": None,
            "expected_hz": topic.expected_hz, "density": [], "gap_s": None, "gaps": [],
            "faults": list(topic.faults)}  # fmt: skip


def _episode(scene: ShownEpisode, look: Look) -> dict:
    """One episode."""
    start_ns, end_ns = scene.range_ns
    curves = scene.curves()
    notes = list(scene.notes)
    if (note := scene.clock_note) is not None:
        notes.append(note)
    for key, reasons in scene.faults.items():
        notes += [f"{key}: {n} messages cannot be read: {why}" for why, n in reasons.items()]
    if scene.event_count > len(scene.events):
        notes.append(f"{len(scene.events)} of {scene.event_count} events are listed")
    usual = {topic.name: topic.gap_s for topic in look.topics}
    groups = [
        _group(scene, channel, curves[key], start_ns, usual.get(channel.topic, math.inf))
        for key, channel in scene.channels.items()
        if channel.kind in (ACTION, STATE, NUMBER)
    ]
    groups.sort(key=lambda group: group["kind"] != ACTION)  # actions first
    if (errors := _errors(scene, curves, start_ns)) is not None:
        groups.append(errors)
    notes += [group["note"] for group in groups if group["note"]]
    return {
        "id": scene.episode_id,
        "label": scene.label or scene.episode_id,
        "group": scene.group,
        "instruction": scene.instruction,
        "outcome": scene.outcome,
        "verdict": scene.verdict,
        "badges": [list(badge) for badge in scene.badges],
        "seconds": (end_ns - start_ns) / 1e9,
        "timeline_s": (look.range_ns[0] - scene.shift_ns - start_ns) / 1e9,
        "about": [list(row) for row in scene.about],
        "notes": notes,
        "cameras": [
            _camera(scene, channel, start_ns)
            for channel in scene.channels.values()
            if channel.kind == IMAGE
        ],
        "groups": groups,
        "timeline": _frames_line(scene) if len(scene.frame_times_ns) else None,
        "events": [
            [(at - scene.shift_ns - start_ns) / 1e9, kind, text] for at, kind, text in scene.events
        ],
        "thoughts": [
            [(at - start_ns) / 1e9, text, refused] for at, text, refused in scene.thoughts
        ],
        "fast": _fast(scene, start_ns) if scene.tokens is not None else None,
    }


def _frames_line(scene: ShownEpisode) -> dict:
    """The line of time of a data set's episode: its frames, and where one is missing."""
    start_ns, end_ns = scene.range_ns
    times = scene.frame_times_ns
    bins = min(DENSITY_BINS, max(len(times), 1))
    density, _ = np.histogram(times - start_ns, bins=bins, range=(0, max(end_ns - start_ns, 1)))
    row = {
        "name": "frames", "role": "", "count": len(times), "rate_hz": None, "expected_hz": 0,
        "density": density.tolist(), "gap_s": None,
        "gaps": [[(a - start_ns) / 1e9, (b - a) / 1e9] for a, b in scene.holes], "faults": [],
    }  # fmt: skip
    return {"seconds": (end_ns - start_ns) / 1e9, "rows": [row]}


def _seconds(scene: ShownEpisode, key: str, times_ns: np.ndarray, start_ns: int) -> np.ndarray:
    return (scene.time_ns(key, times_ns) - start_ns) / 1e9


def _camera(scene: ShownEpisode, channel: Channel, start_ns: int) -> dict:
    """The images of one camera, and which share of them they are."""
    strip = scene.strips[channel.key]
    times = np.array([picture.time_ns for picture in strip.pictures], np.int64)
    return {
        "key": channel.key,
        "topic": channel.topic,
        "times": packed(_seconds(scene, channel.key, times, start_ns)),
        "jpegs": [base64.b64encode(picture.jpeg).decode() for picture in strip.pictures],
        "size": list(strip.shown_size),
        "gap_s": _figure(channel.gap_s * strip.step),
        "share": _share(strip),
    }


def _share(strip: Strip) -> str:
    """Which images are shown, in words."""
    if not strip.total:
        return "no image that can be read"
    (width, height), shown = strip.size, strip.shown_size
    chosen = "all" if strip.step == 1 else f"every {_th(strip.step)}:"
    text = f"{chosen} {len(strip.pictures)} of {strip.total} images, {width} x {height}"
    return text if shown == strip.size else f"{text}, shown as {shown[0]} x {shown[1]}"


def _th(number: int) -> str:
    """2nd, 4th ...; the steps are powers of two."""
    return f"{number}{'nd' if number % 10 == 2 and number % 100 != 12 else 'th'}"


def _group(
    scene: ShownEpisode, channel: Channel, curves: Sequence[Curve], start_ns: int, gap_s: float
) -> dict:
    """The plots of one channel; `gap_s` is what its topic's arrivals say, if it says nothing."""
    plots = []
    for axis, curve in zip(channel.axes, curves, strict=True):
        plots.append({
            "name": axis.name,
            "unit": axis.unit,
            "limits": [_figure(limit) for limit in axis.limits] if axis.limits else None,
            "not_finite": curve.not_finite,
            "outside": _outside(axis.limits, curve),
            "lines": [_line(scene, channel.key, "", curve, start_ns)],
        })  # fmt: skip
    title = {NUMBER: channel.topic, ACTION: ACTION}.get(channel.kind, channel.key)
    return {
        "title": title,
        "topic": channel.topic,
        "kind": channel.kind,
        "held": channel.held,
        "gap_s": _gap(channel, curves, gap_s),
        "plots": plots,
        "samples": curves[0].samples if curves else 0,
        "note": _thinned(channel.key, curves),
    }


def _gap(channel: Channel, curves: Sequence[Curve], usual_s: float) -> float | None:
    """Time between two drawn points, s, from which there is a gap; None where there is no saying.

    Of samples that are not all drawn two points may be two runs apart.
    """
    gap_s = channel.gap_s if math.isfinite(channel.gap_s) else usual_s
    if channel.held or not math.isfinite(gap_s) or not curves:
        return None
    run = max(curve.per_bucket for curve in curves)
    ends = [curve.times_ns[[0, -1]] for curve in curves if len(curve.times_ns)]
    if run == 1 or not ends:
        return gap_s
    spacing_s = float(np.ptp(ends)) / 1e9 / curves[0].samples
    return gap_s + 2 * run * spacing_s


def _errors(scene: ShownEpisode, curves: dict[str, list[Curve]], start_ns: int) -> dict | None:
    """The plots of the reconstruction's error: of each dimension RMS and greatest."""
    keys = [key for key, channel in scene.channels.items() if channel.kind == ERROR]
    if not keys:
        return None
    plots = []
    for d, axis in enumerate(scene.channels[keys[0]].axes):
        lines = [
            _line(scene, key, scene.channels[key].topic, curves[key][d], start_ns) for key in keys
        ]
        plots.append({"name": axis.name, "unit": axis.unit, "limits": None, "not_finite": 0,
                      "outside": "", "lines": lines})  # fmt: skip
    title = "FAST error of the chunk that begins here"
    thinned = _thinned(title, [curve for key in keys for curve in curves[key]])
    return {
        "title": title,
        "topic": "",
        "kind": ERROR,
        "held": False,
        "gap_s": None,
        "plots": plots,
        "samples": curves[keys[0]][0].samples,
        "note": thinned,
    }


def _line(scene: ShownEpisode, key: str, label: str, curve: Curve, start_ns: int) -> dict:
    return {
        "label": label,
        "t": packed(_seconds(scene, key, curve.times_ns, start_ns)),
        "v": packed(curve.values),
    }


def _thinned(title: str, curves: Sequence[Curve]) -> str:
    """The word about samples that are no points of their own."""
    most = max((curve.per_bucket for curve in curves), default=1)
    if most == 1:
        return ""
    count = curves[0].samples
    return f"{title}: {count} samples, of every {most} the least and the greatest are drawn"


def _outside(limits: tuple[float, float] | None, curve: Curve) -> str:
    """What lies outside of the contract's limits, beyond rounding."""
    if limits is None or math.isnan(curve.low):
        return ""
    slack = 1e-3 * (limits[1] - limits[0])
    found = [f"{curve.low:.4g}"] if curve.low < limits[0] - slack else []
    found += [f"{curve.high:.4g}"] if curve.high > limits[1] + slack else []
    return " and ".join(found)


def _fast(scene: ShownEpisode, start_ns: int) -> dict:
    """Tokens and reconstruction of an episode's chunks."""
    found = scene.tokens
    times = (scene.frame_times_ns - start_ns) / 1e9
    common = sorted(found.ids.items(), key=lambda item: (-item[1], item[0]))[:MOST_IDS]
    lengths = sorted(found.lengths.items())
    return {
        "chunks": found.chunks,
        "step": found.step,
        "times": packed(times[:: found.step]),
        "tokens": found.tokens,
        "decoded": packed(found.decoded),
        "lengths": [list(item) for item in lengths],
        "ids": [list(item) for item in common],
        "ids_used": len(found.ids),
        "ids_total": found.ids.total(),
        "errors": [
            [_figure(rms), _figure(most), _figure(times[int(frame)])]
            for rms, most, frame in zip(
                found.rms, found.greatest, found.greatest_frame, strict=True
            )
        ],
        "faults": [[_figure(times[frame]), why] for frame, why in found.faults],
        "fault_count": found.fault_count,
    }


def _figure(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None
