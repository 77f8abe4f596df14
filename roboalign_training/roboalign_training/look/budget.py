"""How much of a recording goes onto one page: a fixed size, shared between its episodes."""

from __future__ import annotations

from dataclasses import dataclass

MOST_EPISODES = 100
"""Episodes on one page; with more there are several pages, each with a budget of its own."""

MOST_FRAMES = 300
"""Images of a camera in an episode, unless told otherwise."""

IMAGE_BYTES = 7_500_000
CURVE_POINTS = 250_000
CHUNK_VALUES = 200_000
TOKEN_IDS = 100_000
"""Of a whole page: with base64 these make about 14 MB."""

LEAST_BUCKETS, MOST_BUCKETS = 25, 500
"""Of a curve; a bucket is at most two points, and a curve has at most twice so many buckets."""


@dataclass(frozen=True)
class Budget:
    """What one episode may take.

    Attributes:
        frames: Most images of a camera.
        image_bytes: Most bytes of all images of a camera.
        buckets: Of a curve, see `series.Envelope`.
        chunk_values: Most numbers of decoded chunks.
        token_ids: Most tokens.
    """

    frames: int = MOST_FRAMES
    image_bytes: int = IMAGE_BYTES
    buckets: int = MOST_BUCKETS
    chunk_values: int = CHUNK_VALUES
    token_ids: int = TOKEN_IDS


def share(part: float, cameras: int, curves: int, frames: int | None = None) -> Budget:
    """One episode's share of a page.

    Args:
        part: Of all that is shown, by length, how much this episode is; 0 to 1.
        cameras: How many it has.
        curves: Likewise.
        frames: Most images of a camera in an episode; None for `MOST_FRAMES`. Who asks for more
            images gets a larger page.
    """
    cameras, curves = max(cameras, 1), max(curves, 1)
    wanted = MOST_FRAMES if frames is None else frames
    enlarged = IMAGE_BYTES * max(1.0, wanted / MOST_FRAMES)
    buckets = int(part * CURVE_POINTS / (curves * 4))
    return Budget(
        frames=wanted,
        image_bytes=int(part * enlarged / cameras),
        buckets=min(max(buckets, LEAST_BUCKETS), MOST_BUCKETS),
        chunk_values=int(part * CHUNK_VALUES),
        token_ids=int(part * TOKEN_IDS),
    )
