"""Where the images of an episode stand in a video, told by its metadata and by the video itself.

A `from_timestamp` that is off by a whole frame gives every image to the frame before or after its
own, and the last one to another episode. What can be compared: how many images the video has with
the frames of its episodes, where an episode ends with where the next one begins or the video ends,
and the time of every image with that of its frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np

_HALF = 0.5  # of a frame: what is nearer than that to its time is the image of that frame
_NEAR = 0.25  # of a frame: within an episode, as `images.video.read_frames` reads it


@dataclass(frozen=True)
class VideoSpan:
    """An episode in a video, as the metadata has it.

    Attributes:
        number: Its episode_index.
        frames: How many it has.
        from_s, to_s: s; where it begins and ends in the video; `to_s` is None where not said.
    """

    number: int
    frames: int
    from_s: float
    to_s: float | None


@dataclass(frozen=True)
class Start:
    """Where the images of an episode begin.

    Attributes:
        start_s: s; time of the first one in the video.
        moved: Frames by which the metadata is off, where the video itself shows it; else 0.
        fault: Why its images cannot be told, or "".
    """

    start_s: float
    moved: int = 0
    fault: str = ""


def find_starts(spans: Sequence[VideoSpan], times_s: np.ndarray, fps: float) -> dict[int, Start]:
    """Finds where the episodes of one video begin in it.

    Args:
        spans: All episodes in the video.
        times_s: (N,) s; when its images are shown, ascending; at least one.
        fps: Frames a second.

    Returns:
        Episode_index -> where its images begin.
    """
    spans = sorted(spans, key=lambda span: (span.from_s, span.number))
    begins = [0, *accumulate(span.frames for span in spans)]
    starts = {}
    if begins[-1] == len(times_s) and not _is_divided_otherwise(spans, times_s, fps):
        # Every image is one of an episode's: the first one's come first, then the next one's.
        places = zip(spans, times_s[begins[:-1]].tolist(), strict=True)
        starts = {s.number: Start(at, _frames_off(s.from_s - at, fps)) for s, at in places}
        if any(abs(start.moved) >= min(s.frames for s in spans) for start in starts.values()):
            starts = {}
    if not starts:
        fault = _count_fault(spans, times_s, fps)
        faults = dict.fromkeys((s.number for s in spans), fault) if fault else {}
        faults = faults or _faults(spans, times_s, fps)
        starts = {
            span.number: Start(_nearest(times_s, span.from_s, fps), 0, faults.get(span.number, ""))
            for span in spans
        }
    for span in spans:
        start = starts[span.number]
        if not start.fault:
            fault = _time_fault(start.start_s, span.frames, times_s, fps)
            starts[span.number] = replace(start, fault=fault)
    return starts


def _frames_off(off_s: float, fps: float) -> int:
    """Whole frames that a time is off by; 0 where the image that is meant is the nearest one."""
    off = off_s * fps
    return 0 if abs(off) < _HALF else round(off) or (1 if off > 0 else -1)


def _is_divided_otherwise(spans: Sequence[VideoSpan], times_s: np.ndarray, fps: float) -> bool:
    """Whether the metadata divides the whole video, and into other numbers of images."""
    if any(span.to_s is None for span in spans):
        return False
    edges = [(times_s[0], spans[0].from_s), (spans[-1].to_s, times_s[-1] + 1 / fps)]
    edges += [(one.to_s, other.from_s) for one, other in pairwise(spans)]
    meets = all(abs(one - other) * fps < _HALF for one, other in edges)
    return meets and any(abs(_width(span, fps) - span.frames) >= _HALF for span in spans)


def _count_fault(spans: Sequence[VideoSpan], times_s: np.ndarray, fps: float) -> str:
    """Why it cannot be told which images are whose in a whole video, by how many it has; or "".

    Beyond the last episode's end there may be a whole one that is not listed, of as many frames as
    the median, and a video may end where an episode does. A few images more or less are missing or
    too many anywhere before that, and every image behind is of the frame before or after.
    """
    end_s = float(times_s[-1]) + 1 / fps
    last = max(spans, key=lambda span: _end_s(span, fps))
    more = round((end_s - _end_s(last, fps)) * fps)
    why = ""
    usual = np.median([span.frames for span in spans])
    if 0 < more < usual and last.to_s is not None:
        why = "which of them are too many cannot be told"
    near_s = _HALF / fps
    if more < 0 and any(s.from_s + near_s < end_s < _end_s(s, fps) - near_s for s in spans):
        why = "which are missing cannot be told"
    if not why:
        return ""
    return (
        f"its video has {_counted(len(times_s), 'image')}, expected {len(times_s) - more} up to "
        f"the end of episode {last.number}: {why}"
    )


def _time_fault(start_s: float, frames: int, times_s: np.ndarray, fps: float) -> str:
    """Why the images from one on are not one a frame, by when they are shown; or "".

    Where there are none so far on, reading says so.
    """
    first = int(np.abs(times_s - start_s).argmin())
    found = times_s[first : first + frames]
    wanted = start_s + np.arange(len(found)) / fps
    off = (found - wanted) * fps
    if abs(off[0]) >= _HALF or not (np.abs(off) > _NEAR).any():
        return ""
    frame = int(np.argmax(np.abs(off) > _NEAR))
    return (
        f"image {first + frame} of its video is shown at {found[frame]:.4f} s, expected frame "
        f"{frame} of the episode at {wanted[frame]:.4f} s"
    )


def _faults(spans: Sequence[VideoSpan], times_s: np.ndarray, fps: float) -> dict[int, str]:
    """Episode_index -> why its images cannot be told, where the video has more or fewer."""
    faults = {
        span.number: f"its video spans {_counted(_width(span, fps), 'image')}, and it has "
        f"{_counted(span.frames, 'frame')}"
        for span in spans
        if span.to_s is not None and _width(span, fps) <= span.frames - _HALF
    }
    least = min(span.frames for span in spans)
    end_s = said_s = float(times_s[0])
    last = None
    for span in spans:
        own = f"from_timestamp {span.from_s:.4f} s"
        over, gap = (end_s - span.from_s) * fps, (span.from_s - said_s) * fps
        # What one at fault has too much or too little says nothing against the next one.
        if span.number not in faults and (last is None or last.number not in faults):
            if last is not None and over >= _HALF:
                shared, by = _counted(over, "image"), f"by the {own} of episode {span.number}"
                faults[last.number] = f"its last {shared} would be of episode {span.number}, {by}"
                faults[span.number] = f"its first {shared} would be of episode {last.number}, {by}"
            elif _HALF <= gap < least:
                before = "the video begins" if last is None else f"episode {last.number} ends"
                faults[span.number] = (
                    f"{own} is {_counted(gap, 'frame')} after {before}, and no episode is as short"
                )
        span_end_s = span.from_s + span.frames / fps
        if span_end_s > end_s:
            end_s, last = span_end_s, span
        said_s = max(said_s, _end_s(span, fps))
    return faults


def _counted(number: float, noun: str) -> str:
    """So many of something, for a text."""
    count = max(0, round(number))
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _end_s(span: VideoSpan, fps: float) -> float:
    """Where an episode ends in its video, by the metadata and by its frames, s."""
    return max(span.from_s + span.frames / fps, span.to_s if span.to_s is not None else 0.0)


def _width(span: VideoSpan, fps: float) -> float:
    """Images that an episode takes in its video, by the metadata."""
    return (span.to_s - span.from_s) * fps


def _nearest(times_s: np.ndarray, wanted_s: float, fps: float) -> float:
    """The time of the image that is meant, or `wanted_s` where none is near: reading says so."""
    found = float(times_s[np.abs(times_s - wanted_s).argmin()])
    return found if abs(found - wanted_s) * fps < _HALF else wanted_s
