"""Rendered scenes on disk for language-only training: images at the model's size, and facts."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.progress import track

from roboalign_training.pretraining.grounding import SceneFacts, Thing

BLOCK = 500


class SceneCache:
    """Scenes ``first_seed .. first_seed + n - 1`` rendered once and read at random.

    Missing blocks are rendered in ``workers`` processes; finished ones are kept, so that an
    interrupted run goes on.

    Args:
        folder: where blocks are kept.
        first_seed: of the first scene; scene i has seed ``first_seed + i``.
        n: number of scenes.
        image_px: side of the stored square images.
        workers: rendering processes.
    """

    def __init__(self, folder: Path, first_seed: int, n: int, image_px: int, workers: int = 1):
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(first_seed, first_seed + n, BLOCK)
        jobs = [
            (folder / f"{s}-{image_px}.npz", s, min(BLOCK, first_seed + n - s), image_px)
            for s in starts
        ]
        missing = [job for job in jobs if _scenes_in(job[0]) < job[2]]
        if missing:
            # spawn: a forked OpenGL context is broken
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                for _ in track(
                    pool.map(_render_block, missing), "rendering scenes", total=len(missing)
                ):
                    pass
        blocks = [np.load(job[0]) for job in jobs]
        # A block may hold more than is wanted, from a run with more scenes.
        self.images = np.concatenate(
            [b["images"][: job[2]] for b, job in zip(blocks, jobs, strict=True)]
        )
        self._facts = [
            text for b, job in zip(blocks, jobs, strict=True) for text in b["facts"][: job[2]]
        ]

    def __len__(self) -> int:
        return len(self.images)

    def facts(self, index: int) -> SceneFacts:
        """What is true of scene ``index``."""
        return facts_from_json(str(self._facts[index]))


def _scenes_in(path: Path) -> int:
    """Scenes of a block; 0 where there is none. A block of a run with fewer scenes is short."""
    if not path.is_file():
        return 0
    with np.load(path) as block:
        return len(block["facts"])


def facts_from_json(text: str) -> SceneFacts:
    """Inverse of ``json.dumps(asdict(facts))``."""
    raw = json.loads(text)
    things = tuple(Thing(t["colour"], t["shape"], tuple(t["position"])) for t in raw.pop("things"))
    return SceneFacts(things=things, gripper=tuple(raw.pop("gripper")), **raw)


def facts_of_scene(scene) -> SceneFacts:
    """Facts of a ``roboalign_policy.sim`` scene sample; what the arm hides is not among them."""
    things = tuple(
        Thing(
            "" if o.shape == "drawer" else o.colour, o.shape, tuple(float(v) for v in o.position)
        )
        for o in scene.objects
        if o.name in scene.visible
    )
    return SceneFacts(
        things=things,
        gripper=tuple(float(v) for v in scene.ee_position),
        gripper_open=bool(scene.gripper_open),
        drawer_open=bool(scene.drawer_open),
        held=_held_noun(scene),
    )


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 at the model's size, (side, side, 3), each pixel a mean."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))


def _held_noun(scene) -> str | None:
    if scene.held is None:
        return None
    named = next(o for o in scene.objects if o.name == scene.held)
    return f"{named.colour} {named.shape}"


def _render_block(job: tuple[Path, int, int, int]) -> None:
    path, first, n, image_px = job
    from roboalign_policy.sim import random_scene

    images = np.empty((n, image_px, image_px, 3), np.uint8)
    facts = []
    for i in range(n):
        scene = random_scene(first + i)
        images[i] = shrunk(scene.image, image_px)
        facts.append(json.dumps(asdict(facts_of_scene(scene))))
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, images=images, facts=np.array(facts))
    partial.replace(path)
