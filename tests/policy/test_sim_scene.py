"""Tests of the scene, its pictures and the random scenes of pretraining."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from roboalign_policy.sim import Scene, random_scene
from roboalign_policy.sim.layout import DRAWER_ZONE_M, gap, sample_places
from roboalign_policy.sim.model import COLOURS, CUBE_HALF_M, DRAWER_TRAVEL_M, make_model
from roboalign_policy.sim.scene import Placement

AWAY = np.array([0.33, -0.25, 0.35])  # the arm here hides none of the places used below


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def arrange(scene: Scene, placements: list[Placement], opening: float = 0.0) -> np.ndarray:
    scene.arrange(placements, scene.solve_arm(AWAY), 0.1, opening)
    scene.forward()
    return scene.render()


def hue(image: np.ndarray, colour: str) -> np.ndarray:
    """Mask (H, W) of the pixels that are this colour at any brightness."""
    pixels, wanted = image.astype(float), np.asarray(COLOURS[colour])
    cosine = pixels @ wanted / (np.linalg.norm(pixels, axis=2) * np.linalg.norm(wanted) + 1e-9)
    return cosine > 0.995


@pytest.mark.parametrize("colour", [c for c in COLOURS if c != "white"])
def test_a_cube_appears_where_project_says_and_in_its_colour(scene, colour):
    image = arrange(scene, [Placement(colour, "cube", 0.45, 0.05)])
    mask = hue(image, colour)
    assert 60 < mask.sum() < 400
    centre = np.argwhere(mask).mean(axis=0)[::-1]
    expected = scene.project(scene.objects()[f"{colour} cube"].position[None])[0]
    assert np.abs(centre - expected).max() < 2.0


def test_left_is_right_and_front_is_low_in_the_picture(scene):
    arrange(scene, [])
    left, right, front, back = scene.project(
        np.array([[0.45, 0.2, 0.0], [0.45, -0.2, 0.0], [0.6, 0.0, 0.0], [0.35, 0.0, 0.0]])
    )
    assert left[0] > right[0]
    assert front[1] > back[1]


def test_every_place_of_the_layout_is_inside_the_picture(scene):
    arrange(scene, [])
    corners = np.array([[x, y, 0.0] for x in (0.33, 0.62) for y in (-0.21, 0.21)])
    pixels = scene.project(corners)
    assert pixels.min() > 2.0
    assert pixels.max() < 125.0


def test_objects_that_are_not_placed_are_not_drawn(scene):
    with_cube = arrange(scene, [Placement("purple", "cube", 0.45, 0.0)])
    assert hue(with_cube, "purple").any()
    without = arrange(scene, [])
    assert not hue(without, "purple").any()
    assert set(scene.objects()) == {"drawer"}


def test_twins_get_names_of_their_own(scene):
    arrange(scene, [Placement("red", "cube", 0.4, -0.1), Placement("red", "cube", 0.4, 0.1)])
    assert set(scene.objects()) == {"red cube", "red cube 2", "drawer"}
    assert scene.objects()["red cube 2"].position[1] == pytest.approx(0.1)


def test_the_drawer_opens_towards_the_robot(scene):
    arrange(scene, [])
    closed = scene.objects()["drawer"]
    arrange(scene, [], opening=0.8)
    opened = scene.objects()["drawer"]
    assert closed.opening == 0.0
    assert opened.opening == pytest.approx(0.8)
    assert closed.position[0] - opened.position[0] == pytest.approx(0.8 * DRAWER_TRAVEL_M)


@pytest.mark.parametrize(
    ("placements", "words"),
    [
        ([Placement("mauve", "cube", 0.4, 0.0)], "mauve"),
        ([Placement("red", "sphere", 0.4, 0.0)], "sphere"),
        ([Placement("red", "cube", 0.4, 0.1 * i) for i in range(5)], "4 cubes"),
        ([Placement("red", "plate", 0.4, 0.1 * i) for i in range(3)], "2 plates"),
    ],
)
def test_impossible_placements_are_named(scene, placements, words):
    with pytest.raises(ValueError, match=words):
        arrange(scene, placements)


def test_an_unknown_camera_is_named(scene):
    arrange(scene, [])
    with pytest.raises(KeyError, match="sideways"):
        scene.render("sideways")
    assert scene.render("wrist").shape == (128, 128, 3)


def test_another_thread_may_not_draw(scene):
    arrange(scene, [])
    caught = []

    def draw() -> None:
        try:
            scene.render()
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert "thread" in caught[0]


def test_two_scenes_do_not_share_colours(scene):
    other = Scene()
    arrange(scene, [Placement("red", "cube", 0.45, 0.0)])
    arrange(other, [Placement("blue", "cube", 0.45, 0.0)])
    assert hue(scene.render(), "red").any()
    assert not hue(scene.render(), "blue").any()


def test_models_are_private_copies():
    first, second = make_model(), make_model()
    first.geom_rgba[:] = 0.0
    assert second.geom_rgba.any()


def test_places_keep_their_gaps_and_leave_the_drawer_free():
    rng = np.random.default_rng(0)
    shapes = ["cube", "cube", "cube", "cube", "plate", "plate"]
    for _ in range(50):
        places = sample_places(rng, shapes)
        for i, (x, y) in enumerate(places):
            assert not (x > DRAWER_ZONE_M[0] and y > DRAWER_ZONE_M[1])
            for j in range(i):
                u, v = places[j]
                assert np.hypot(x - u, y - v) >= gap(shapes[i], shapes[j])


def test_too_dense_a_request_is_refused():
    with pytest.raises(RuntimeError, match="no room"):
        sample_places(np.random.default_rng(0), ["plate"] * 20)


def test_a_random_scene_is_the_same_for_a_seed_and_another_for_the_next():
    first, between, again = random_scene(11), random_scene(12), random_scene(11)
    assert first.image.dtype == np.uint8
    assert first.image.shape == (128, 128, 3)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, between.image)
    assert [(o.name, o.position.tolist()) for o in first.objects] == [
        (o.name, o.position.tolist()) for o in again.objects
    ]
    with pytest.raises(ValueError, match="seed"):
        random_scene(-1)


def test_random_scenes_tell_the_truth_and_show_variety():
    samples = [random_scene(seed) for seed in range(150)]
    for sample in samples:
        states = {o.name: o for o in sample.objects}
        assert "drawer" in states
        assert sample.drawer_open == (states["drawer"].opening > 0.6)
        assert sample.gripper_open == (sample.gripper_width > 0.07)
        assert sample.visible <= set(states)
        if sample.held is not None:
            assert np.linalg.norm(states[sample.held].position - sample.ee_position) < 0.01
        for cube, support in sample.supports.items():
            assert cube != support
            assert states[cube].position[2] > CUBE_HALF_M + 0.005
    assert {True, False} == {s.drawer_open for s in samples} == {s.gripper_open for s in samples}
    assert {o.colour for s in samples for o in s.objects if o.shape == "cube"} == set(COLOURS)
    assert any(s.held for s in samples)
    assert {"drawer"} < {v for s in samples for v in s.supports.values()}
    low = [s.ee_position[2] for s in samples]
    assert min(low) < 0.05
    assert max(low) > 0.2
    names = [o.name for s in samples for o in s.objects]
    assert any(name.endswith("cube 2") for name in names)
    hidden = sum(len(s.objects) - len(s.visible) for s in samples)
    assert 0 < hidden < 0.15 * len(names)


def _python(code: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_the_renderer_is_chosen_only_when_nobody_chose():
    code = "import os, roboalign_policy.sim; print(os.environ['MUJOCO_GL'])"
    assert _python(code) == "egl"
    assert _python(code, MUJOCO_GL="disabled") == "disabled"


def test_the_simulator_needs_neither_ros_nor_torch():
    code = (
        "import sys, roboalign_policy.sim; "
        "print([m for m in ('rclpy', 'torch', 'transformers') if m in sys.modules])"
    )
    assert _python(code) == "[]"


def test_no_context_says_what_to_install():
    code = (
        "from roboalign_policy.sim import random_scene\n"
        "try:\n    random_scene(0)\nexcept RuntimeError as error:\n    print(error)"
    )
    text = _python(code, MUJOCO_GL="egl", MUJOCO_EGL_DEVICE_ID="99")
    assert "libegl1" in text
    assert "osmesa" in text
