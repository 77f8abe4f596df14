"""How much of a recording goes onto one page: shares of a fixed size for each episode."""

from __future__ import annotations

from dataclasses import dataclass

MOST_EPISODES = 100
"""Episodes on one page; the others are listed, with a word about it."""

MOST_FRAMES = 300
"""Images of a camera in an episode, unless told otherwise."""

IMAGE_BYTES = 6_000_000
CURVE_POINTS = 300_000
CHUNK_VALUES = 200_000
TOKEN_IDS = 100_000
"""Of a whole page: with base64 these make about 13 MB."""

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


def share(episodes: int, cameras: int, curves: int, frames: int | None = None) -> Budget:
    """One episode's share of a page.

    Args:
        episodes, cameras, curves: How many the page has, and each episode has.
        frames: Most images of a camera in an episode; None for `MOST_FRAMES`. Who asks for more
            images gets a larger page.
    """
    episodes, cameras, curves = max(episodes, 1), max(cameras, 1), max(curves, 1)
    wanted = MOST_FRAMES if frames is None else frames
    enlarged = IMAGE_BYTES * max(1.0, wanted / MOST_FRAMES)
    buckets = CURVE_POINTS // (episodes * curves * 4)
    return Budget(
        frames=wanted,
        image_bytes=int(enlarged / (episodes * cameras)),
        buckets=min(max(buckets, LEAST_BUCKETS), MOST_BUCKETS),
        chunk_values=CHUNK_VALUES // episodes,
        token_ids=TOKEN_IDS // episodes,
    )
