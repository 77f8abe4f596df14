"""Videos put one behind the other without loss."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from roboalign_training.bags.errors import DatasetError


def join_videos(parts: Sequence[tuple[Path, int]], rate: Fraction | int, out: Path) -> None:
    """Puts videos of one writer's settings one behind the other, without encoding anew.

    Args:
        parts: Files and how many images are in each.
        rate: Images a second.
        out: The file to make; image n stands at n / rate in it.

    Raises:
        DatasetError: When one cannot be read, or was made with other settings than the first.
        OSError: When `out` cannot be written.
    """
    start, number, path = 0, 0, out
    try:
        # A file of one image has less delay than others: decode times are made anew.
        delay = max(_delay(path := part, rate) for part, _ in parts)
        with av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}) as target:
            stream = header = None
            for path, count in parts:
                with av.open(str(path)) as source:
                    found = source.streams.video[0]
                    if stream is None:
                        # Opaque: there is no encoder of the name that its decoder has.
                        stream = target.add_stream_from_template(found, opaque=True)
                        stream.time_base = found.time_base
                        header = found.codec_context.extradata
                    if found.codec_context.extradata != header:
                        raise DatasetError(path, f"was encoded otherwise than {parts[0][0].name}")
                    for packet in source.demux(video=0):
                        if packet.dts is None:
                            continue
                        ticks = 1 / (rate * packet.time_base)
                        packet.pts += round(start * ticks)
                        packet.dts = round((number - delay) * ticks)
                        packet.stream = stream
                        target.mux(packet)
                        number += 1
                start += count
    except av.error.FFmpegError as error:
        if getattr(error, "filename", None) == str(out):
            raise
        raise DatasetError(path, f"cannot be joined to {out.name}: {error}") from error


def _delay(path: Path, rate: Fraction | int) -> int:
    """Images by which decoding runs ahead of showing in a video."""
    with av.open(str(path)) as source:
        packet = next(source.demux(video=0))
        if packet.dts is None:
            raise DatasetError(path, "has no image in it")
        return round((packet.pts - packet.dts) * packet.time_base * rate)
