"""The animated image of driven episodes: which are shown, for how long, and with which words."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from roboalign_training.evaluate import animation
from roboalign_training.evaluate.animation import (
    FOOT,
    GAP,
    HEAD,
    IMAGE_SIDE,
    PAUSE_FRAMES,
    animate,
    choose_episodes,
    draw,
    main,
    moments_of,
)
from roboalign_training.evaluate.closed_loop import FRAMES, RESULTS, DrivenEpisode, read_results

THOUGHTS = ["grasp at 44 4 2 : move down 20", "release at 46 -18 4 : move right 20"]


def record(suite, task, seed, steps, success=True):
    return {
        "suite": suite, "task": task, "seed": seed, "steps": steps, "success": success,
        "instruction": f"do {task}", "reasonings": THOUGHTS, "answer_steps": [0, 8],
    }  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """Driven episodes; each frame is a bar as wide as its step is late."""
    records = [
        record("object", "red", 1, 12, success=False),
        record("object", "red", 2, 10),
        record("object", "red", 3, 9),
        record("object", "blue", 4, 11),
        record("object", "green", 5, 40),
        record("long", "two", 1, 36, success=False),
        record("long", "three", 2, 30, success=False),
    ]
    (tmp_path / FRAMES).mkdir()
    (tmp_path / RESULTS).write_text("".join(json.dumps(r) + "\n" for r in records))
    for r in records:
        images = np.zeros((r["steps"] + 1, 64, 64, 3), np.uint8)
        for step, image in enumerate(images):
            image[:, :step] = 255
        name = DrivenEpisode(r["suite"], r["task"], r["seed"]).name
        np.savez_compressed(
            tmp_path / FRAMES / f"{name}.npz", steps=np.arange(r["steps"] + 1), images=images
        )
    return tmp_path


def step_of(image):
    return int((image[0, :, 0] > 127).sum())


def words(moment, monkeypatch):
    """What stands on a panel."""
    said = []
    text = ImageDraw.ImageDraw.text

    def note(self, xy, words, *rest, **options):
        said.append(words)
        return text(self, xy, words, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(ImageDraw.ImageDraw, "text", note)
        draw({moment.episode.suite: moment})
    return said


def test_successes_one_of_a_task_as_many_as_fit_else_the_first_failure(results):
    chosen = choose_episodes(read_results(results), results / FRAMES)
    assert chosen == {
        "object": [DrivenEpisode("object", "red", 2), DrivenEpisode("object", "blue", 4)],
        "long": [DrivenEpisode("long", "two", 1)],
    }
    (results / FRAMES / "object-red-2.npz").unlink()
    chosen = choose_episodes(read_results(results), results / FRAMES)
    assert chosen["object"][0] == DrivenEpisode("object", "red", 3), (
        "what has no frames is not shown"
    )


def test_each_frame_has_its_picture_thought_and_outcome(results, monkeypatch):
    of = read_results(results)
    shown = moments_of([DrivenEpisode("object", "red", 2)], of, results / FRAMES)
    assert len(shown) == 11 + PAUSE_FRAMES
    assert [step_of(m.image) for m in shown[:11]] == list(range(11))
    assert [m.thought for m in shown] == [THOUGHTS[0]] * 8 + [THOUGHTS[1]] * (3 + PAUSE_FRAMES)
    assert [m.outcome for m in shown] == [""] * 10 + ["success"] * (1 + PAUSE_FRAMES)
    assert words(shown[0], monkeypatch) == ["object", "do red", f"“{THOUGHTS[0]}”"]
    assert words(shown[-1], monkeypatch)[-1] == "success"
    (last,) = moments_of([DrivenEpisode("long", "two", 1)], of, results / FRAMES)[-1:]
    assert words(last, monkeypatch)[-1] == "failure"


def test_a_long_caption_is_wrapped_and_cut_with_an_ellipsis():
    said = animation._lines("open the drawer " * 8)
    assert len(said.split("\n")) == 2
    assert said.endswith("…")


def test_frames_that_were_not_all_kept_stay_until_the_next(results):
    path = results / FRAMES / "object-red-2.npz"
    with np.load(path) as saved:
        steps, images = saved["steps"][::4], saved["images"][::4]
    np.savez_compressed(path, steps=steps, images=images)
    shown = moments_of(
        [DrivenEpisode("object", "red", 2)], read_results(results), results / FRAMES
    )
    assert [step_of(m.image) for m in shown[:11]] == [0] * 4 + [4] * 4 + [8] * 3


def test_older_results_do_not_say_when_a_thought_was(results):
    of = read_results(results)
    episode = DrivenEpisode("object", "red", 2)
    del of[episode]["answer_steps"]
    assert {m.thought for m in moments_of([episode], of, results / FRAMES)} == {""}


def test_the_file_plays_in_real_time_and_is_the_same_each_time(results, tmp_path):
    out = tmp_path / "arm.webp"
    assert main([str(results), "--out", str(out)]) == 0
    assert out.read_bytes() == animate(results)
    image = Image.open(out)
    assert image.format == "WEBP"
    assert image.size == (2 * (IMAGE_SIDE + GAP) + GAP, HEAD + IMAGE_SIDE + FOOT)
    assert image.n_frames > 30
    assert image.info["loop"] == 0, "without end"
    seconds = 0.0
    for number in range(image.n_frames):
        image.seek(number)
        image.load()
        seconds += image.info["duration"] / 1000
    assert seconds == pytest.approx((37 + PAUSE_FRAMES) / 10)
    left = GAP + IMAGE_SIDE + GAP
    last = np.asarray(image.convert("RGB"))[HEAD + 100 :, left : left + IMAGE_SIDE]
    assert abs(step_of(last) - 36 * IMAGE_SIDE / 64) <= 2


def test_no_frames_no_image(results, capsys):
    for path in (results / FRAMES).iterdir():
        path.unlink()
    assert animate(results) == b""
    with pytest.raises(SystemExit):
        main([str(results), "--out", str(results / "arm.webp")])
    assert "found no frames of driven episodes" in capsys.readouterr().err
    old = results / "old.webp"
    old.write_bytes(b"of other results")
    assert animation.write_animation(results, old) == b""
    assert not old.exists()
