"""Episodes for the report's player: of each arm and suite a success and some failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from roboalign_training.episodes.channels import IMAGE, Channel, Moment
from roboalign_training.evaluate.arms import Results
from roboalign_training.evaluate.causes import cause_of, detail_of, words
from roboalign_training.evaluate.closed_loop import FRAMES, DrivenEpisode
from roboalign_training.look.budget import IMAGE_BYTES, MOST_FRAMES, Budget
from roboalign_training.look.scene import ShownEpisode

SUCCESSES, FAILURES = 1, 2
CAMERA = Channel("front", "camera/front/image_raw", IMAGE)


def choose(
    arms: Mapping[str, Results], folders: Mapping[str, Path]
) -> list[tuple[str, DrivenEpisode, Path]]:
    """Episodes to play, with their frames: by suite, then seed, then arm, the last arm first.

    Of each arm and suite `SUCCESSES` successes and `FAILURES` failures, preferably on seeds that
    are shown of another arm too, so that arms can be compared. What has no frames is left out.
    """
    order = list(arms)
    chosen: dict[str, set[int]] = {}  # suite -> seeds
    found = []
    for arm in reversed(order):
        shown: dict[tuple[str, bool], int] = {}
        seeds = {suite: set(of) for suite, of in chosen.items()}
        elsewhere = {e: e.seed in seeds.get(e.suite, ()) for e in arms[arm]}
        for episode in sorted(arms[arm], key=lambda e: (not elsewhere[e], e.seed)):
            success = bool(arms[arm][episode]["success"])
            kind = (episode.suite, success)
            path = folders[arm] / FRAMES / f"{episode.name}.npz"
            most = SUCCESSES if success else FAILURES
            if shown.get(kind, 0) >= most or not path.is_file():
                continue
            shown[kind] = shown.get(kind, 0) + 1
            chosen.setdefault(episode.suite, set()).add(episode.seed)
            found.append((arm, episode, path))
    suites = [e.suite for of in arms.values() for e in of]
    found.sort(key=lambda f: (f[1].seed, f[1].task, -order.index(f[0])))
    return sorted(found, key=lambda f: suites.index(f[1].suite))


def scenes_of(
    played: Sequence[tuple[str, DrivenEpisode, Path]], arms: Mapping[str, Results], period_ns: int
) -> list[ShownEpisode]:
    """What the player shows of episodes; their images share the size of one page by length.

    Args:
        played: from `choose`.
        arms: all results.
        period_ns: ns; one step.
    """
    lengths = [max(arms[arm][episode]["steps"], 1) for arm, episode, _ in played]
    scenes = []
    for (arm, episode, path), length in zip(played, lengths, strict=True):
        share = IMAGE_BYTES * length // sum(lengths)
        scene = _scene(arm, episode, arms[arm][episode], Budget(MOST_FRAMES, share), period_ns)
        with np.load(path, allow_pickle=False) as saved:
            for step, image in zip(saved["steps"].tolist(), saved["images"], strict=True):
                when = Moment(step * period_ns, step * period_ns)
                scene.image(CAMERA.key, when, lambda image=image: image)
        scenes.append(scene)
    return scenes


def name_of(arm: str, episode: DrivenEpisode) -> str:
    """The id of a played episode, as it stands in the page's address."""
    return f"{arm}/{episode.name}"


def _scene(
    arm: str, episode: DrivenEpisode, record: Mapping, budget: Budget, period_ns: int
) -> ShownEpisode:
    outcome = "success" if record["success"] else "failure"
    scene = ShownEpisode(
        name_of(arm, episode), record["instruction"], outcome, budget,
        label=f"seed {episode.seed} · {arm} · {outcome}", group=episode.suite,
    )  # fmt: skip
    scene.declare(CAMERA)
    cause = [("bad", cause_of(record))] if not record["success"] else []
    scene.marks = [*cause, ("small", f"{arm} · {record['steps']} steps")]
    rows = {
        "task": episode.task,
        "what else is known": detail_of(record),
        "end of the run": record.get("end", ""),
        "chunks": f"{record['valid_chunks']} valid of {record['chunks']}",
        "inference": _seconds(record.get("mean_inference_s")),
    }
    scene.about = [(name, text) for name, text in rows.items() if text]
    thoughts = record["reasonings"]
    if "answer_steps" not in record:
        scene.about += [(f"thought {n}", text) for n, text in enumerate(thoughts, 1)]
        if thoughts:
            scene.notes.append("an older result: when each thought was is not recorded")
        return scene
    for step, text, fault in zip(
        record["answer_steps"], thoughts, record["answer_faults"], strict=True
    ):
        said = text or "(acts without a thought)"
        shown = f"{said} — chunk refused: {words(fault)}" if fault else said
        scene.thoughts.append((step * period_ns, shown, bool(fault)))
    return scene


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f} s an answer"
