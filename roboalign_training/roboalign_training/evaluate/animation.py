"""Driven episodes as one animated image: the suites side by side, with instruction and thought.

``python -m roboalign_training.evaluate.animation RESULTS --out arm.webp`` makes it from the
results of a demo's arm (``out/demo/closed_loop/grpo``) or of ``roboalign evaluate closed-loop``.
The pictures are those that the policy saw, enlarged. The same results give the same image.
"""

from __future__ import annotations

import argparse
import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from roboalign_training.evaluate.arms import Results
from roboalign_training.evaluate.closed_loop import FRAMES, DrivenEpisode, read_results

FRAMES_PER_S = 10
"""One frame a control step of the simulated arm, so that the image plays in real time."""

PAUSE_FRAMES = 12
"""How long the last picture of an episode stays."""

ANIMATION = "arm.webp"
"""Its name in a demo's folder."""

IMAGE_SIDE, GAP, HEAD, FOOT = 256, 8, 62, 66  # pixels
WIDEST = 36  # characters of a caption's line
QUALITY = 80  # of WebP, 0 to 100
PAPER, INK, FAINT = (255, 255, 255), (28, 31, 36), (106, 113, 122)
GOOD, BAD = (20, 110, 60), (170, 40, 40)


class PanelFrame(NamedTuple):
    """What one panel shows for one frame.

    Attributes:
        episode: whose it is.
        image: (H, W, 3) uint8 rgb; the camera's picture.
        thought: the model's last reasoning text; empty before the first one.
        outcome: ``success`` or ``failure`` once the episode has ended, else empty.
        instruction: the task in words.
    """

    episode: DrivenEpisode
    image: np.ndarray
    thought: str
    outcome: str
    instruction: str


def choose_episodes(results: Results, frames: Path) -> dict[str, list[DrivenEpisode]]:
    """Episodes to show of each suite, one after another in its panel.

    Successes by seed, each task once; the first failure where a suite has no success. The longest
    first episode of a suite decides how long the image plays; other panels go on with further
    successes as long as a whole one fits.

    Args:
        results: one policy's results.
        frames: folder of the frames that were kept; an episode without frames is not chosen.

    Returns:
        Suite to episodes; a suite without frames is not in it.
    """
    of_suite: dict[str, list[DrivenEpisode]] = {}
    for episode in sorted(results, key=lambda e: e.seed):
        if frames_file(frames, episode).is_file():
            of_suite.setdefault(episode.suite, []).append(episode)
    candidates = {suite: _candidates(of, results) for suite, of in of_suite.items()}
    budget = max((_frames(results[of[0]]) for of in candidates.values()), default=0)
    chosen = {}
    for suite, episodes in candidates.items():
        chosen[suite], used = [], 0
        for episode in episodes:
            length = _frames(results[episode])
            if used + length <= budget:
                chosen[suite].append(episode)
                used += length
    return chosen


def _candidates(episodes: Sequence[DrivenEpisode], results: Results) -> list[DrivenEpisode]:
    """Successes, the first of each task; else the first failure."""
    first: dict[str, DrivenEpisode] = {}
    for episode in episodes:
        if results[episode]["success"]:
            first.setdefault(episode.task, episode)
    return list(first.values()) or list(episodes[:1])


def _frames(record: Mapping) -> int:
    return record["steps"] + 1 + PAUSE_FRAMES


def frames_file(folder: Path, episode: DrivenEpisode) -> Path:
    """Where the frames of an episode are kept."""
    return folder / f"{episode.name}.npz"


def moments_of(
    episodes: Sequence[DrivenEpisode], results: Results, frames: Path
) -> list[PanelFrame]:
    """One panel's moments, one a frame of the animation."""
    shown = []
    for episode in episodes:
        record = results[episode]
        with np.load(frames_file(frames, episode), allow_pickle=False) as saved:
            steps, images = saved["steps"], saved["images"]
        last = max(record["steps"], int(steps[-1]))
        for step in range(last + 1 + PAUSE_FRAMES):
            # The newest picture that was kept; the first one where nothing is that old.
            at = max(int(np.searchsorted(steps, step, side="right")) - 1, 0)
            ended = "success" if record["success"] else "failure"
            shown.append(
                PanelFrame(
                    episode, images[at], _thought(record, step), ended if step >= last else "",
                    record["instruction"],
                )
            )  # fmt: skip
    return shown


def _thought(record: Mapping, step: int) -> str:
    """The reasoning that the arm acts by at a step; older results do not say when it was."""
    said = zip(record.get("answer_steps", ()), record["reasonings"], strict=False)
    return next((text for since, text in reversed(list(said)) if since <= step), "")


def draw(panels: Mapping[str, PanelFrame]) -> Image.Image:
    """One frame: a panel a suite, side by side."""
    width = GAP + len(panels) * (IMAGE_SIDE + GAP)
    page = Image.new("RGB", (width, HEAD + IMAGE_SIDE + FOOT), PAPER)
    pen = ImageDraw.Draw(page)
    small, normal = ImageFont.load_default(13), ImageFont.load_default(15)
    for number, (suite, moment) in enumerate(panels.items()):
        left = GAP + number * (IMAGE_SIDE + GAP)
        pen.text((left, 4), suite, FAINT, small)
        pen.text((left, 20), _lines(moment.instruction), INK, normal, spacing=2)
        picture = Image.fromarray(moment.image)
        page.paste(
            picture.resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.LANCZOS), (left, HEAD)
        )
        below = HEAD + IMAGE_SIDE
        if moment.thought:
            pen.text((left, below + 5), _lines(f"“{moment.thought}”"), INK, small, spacing=3)
        if moment.outcome:
            colour = GOOD if moment.outcome == "success" else BAD
            pen.text((left, below + 46), moment.outcome, colour, normal)
    return page


def _lines(text: str) -> str:
    """A caption in at most two lines; what does not fit ends in an ellipsis."""
    return "\n".join(textwrap.wrap(text, WIDEST, max_lines=2, placeholder=" …"))


def animate(folder: Path) -> bytes:
    """The animated image, WebP, of one policy's closed-loop results.

    Args:
        folder: with ``results.jsonl`` and ``frames/``.

    Returns:
        The file's bytes; empty where no frames were kept.
    """
    results, frames = read_results(folder), folder / FRAMES
    chosen = choose_episodes(results, frames)
    panels = {suite: moments_of(of, results, frames) for suite, of in chosen.items()}
    length = max(map(len, panels.values()), default=0)
    pages = [draw({s: of[min(i, len(of) - 1)] for s, of in panels.items()}) for i in range(length)]
    if not pages:
        return b""
    sink = io.BytesIO()
    pages[0].save(
        sink, "WEBP", save_all=True, append_images=pages[1:], duration=1000 // FRAMES_PER_S,
        loop=0, quality=QUALITY, method=4,
    )  # fmt: skip
    return sink.getvalue()


def write_animation(folder: Path, file: Path) -> bytes:
    """Write the animated image of `folder`; none, and an older one goes, without frames.

    Returns:
        As `animate`.
    """
    image = animate(folder)
    if image:
        file.write_bytes(image)
    else:
        file.unlink(missing_ok=True)
    return image


def main(argv: Sequence[str] | None = None) -> int:
    """Write the animated image of a folder of results."""
    parser = argparse.ArgumentParser(prog="animation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="folder with results.jsonl and frames/")
    parser.add_argument("--out", type=Path, required=True, help="file to write, WebP")
    args = parser.parse_args(argv)
    image = animate(args.results)
    if not image:
        parser.error(f"{args.results}: found no frames of driven episodes in {FRAMES}/, expected "
                     "results of a demo's arm or of roboalign evaluate closed-loop")  # fmt: skip
    args.out.write_bytes(image)
    print(f"{args.out}: {len(image) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
