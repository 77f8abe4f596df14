"""Images of LeRobot videos belong to the frames that they were recorded with, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from lerobot_sets import SHAPE, TOP, make_v21, so101_contract, write_mp4
from lerobot_v30 import make_v30, mark_of, marked_images

from roboalign_training.data.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.lerobot.spans import Span, find_starts

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)
LENGTHS = (12, 15, 9)
FPS = 10.0


def spans(lengths, moved=None, ends=None, said=True):
    """Spans one behind the other, off by `moved` and `ends` frames."""
    found, start = [], 0
    for number, count in enumerate(lengths):
        from_s = (start + (moved or {}).get(number, 0)) / FPS
        to_s = (start + count + (ends or {}).get(number, 0)) / FPS
        found.append(Span(number, count, from_s, to_s if said else None))
        start += count
    return found


def times(count, begin=0.0):
    """Times of `count` images."""
    return begin + np.arange(count) / FPS


def starts(found):
    """Episode -> image at which it begins."""
    return {number: round(start.start_s * FPS) for number, start in found.items()}


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("moved", [{}, {1: 0.4, 2: -0.4}, {0: 0.3}])
def test_a_drift_below_half_a_frame_is_fine(moved, said):
    found = find_starts(spans(LENGTHS, moved, said=said), times(36), FPS)
    assert starts(found) == {0: 0, 1: 12, 2: 27}
    assert not any(start.moved or start.fault for start in found.values())


@pytest.mark.parametrize(
    ("moved", "ends"),
    [
        ({1: 1}, {}),
        ({1: -1}, {}),
        ({1: 1}, {1: 1}),
        ({2: -1}, {2: -1}),
        ({2: 1}, {2: 1}),
        ({0: 1, 1: 1, 2: 1}, {0: 1, 1: 1, 2: 1}),
        ({1: -2, 2: 0.7}, {}),
    ],
)
@pytest.mark.parametrize("said", [True, False])
def test_where_every_image_is_an_episodes_the_right_ones_are_known(moved, ends, said):
    found = find_starts(spans(LENGTHS, moved, ends, said), times(36), FPS)
    assert starts(found) == {0: 0, 1: 12, 2: 27}
    assert {n: s.moved for n, s in found.items() if s.moved} == {
        n: int(np.sign(by)) * max(1, abs(round(by))) for n, by in moved.items()
    }


def test_times_that_drift_within_the_video_are_no_fault():
    """Joined from videos that are a little longer than their frames: 0.3 frames each."""
    at = np.concatenate([times(12), times(15, 1.23), times(9, 2.76)])
    said = [Span(0, 12, 0.0, 1.23), Span(1, 15, 1.23, 2.76), Span(2, 9, 2.76, 3.69)]
    found = find_starts(said, at, FPS)
    assert [found[n].start_s for n in range(3)] == pytest.approx([0.0, 1.23, 2.76])
    assert not any(start.moved or start.fault for start in found.values())


@pytest.mark.parametrize(
    ("moved", "ends", "faults"),
    [
        ({1: -1}, {1: -1}, {0: "its last 1 image would be of episode 1, by the from_timestamp",
                            1: "its first 1 image would be of episode 0, by the from_timestamp"}),
        ({1: 1}, {1: 1}, {1: "is 1 frame after episode 0 ends, and no episode is as short"}),
        ({2: 1}, {2: 1}, {2: "is 1 frame after episode 1 ends, and no episode is as short"}),
        ({0: 1, 1: 1, 2: 1}, {0: 1, 1: 1, 2: 1}, {0: "is 1 frame after the video begins"}),
    ],
)  # fmt: skip
def test_where_the_video_has_more_images_what_does_not_fit_is_refused(moved, ends, faults):
    found = find_starts(spans(LENGTHS, moved, ends), times(40), FPS)
    assert {n for n, start in found.items() if start.fault} == set(faults)
    for number, fault in faults.items():
        assert fault in found[number].fault


def test_a_video_that_lacks_an_image_costs_the_episode_that_lacks_it():
    said = [Span(0, 12, 0.0, 1.1), Span(1, 15, 1.1, 2.6), Span(2, 9, 2.6, 3.5)]
    found = find_starts(said, times(35), FPS)
    assert found[0].fault == "its video spans 11 images, and it has 12 frames"
    assert not found[1].fault and not found[2].fault
    assert starts(found) == {0: 0, 1: 11, 2: 26}


def test_a_video_divided_otherwise_is_not_divided_by_the_lengths():
    """One image too few here, one too many there: the sum agrees by chance."""
    said = [Span(0, 12, 0.0, 1.1), Span(1, 15, 1.1, 2.7), Span(2, 9, 2.7, 3.6)]
    found = find_starts(said, times(36), FPS)
    assert found[0].fault == "its video spans 11 images, and it has 12 frames"
    assert starts(found) == {0: 0, 1: 11, 2: 27}


def test_episodes_that_were_taken_out_leave_their_images():
    kept = [span for span in spans((12, 15, 9, 14)) if span.number != 1]
    found = find_starts(kept, times(50), FPS)
    assert starts(found) == {0: 0, 2: 27, 3: 36}
    assert not any(start.moved or start.fault for start in found.values())


# Whole imports, by what the images show


def shown(folder):
    """Episode id -> episode and frame that its images are of."""
    data = load_frames(folder)
    return {
        e.id: [mark_of(data.image(at)) for at in range(e.start, e.stop)] for e in data.episodes
    }


def truth(*numbers):
    """What `shown` finds where all is right."""
    return {f"cubes-{n:06d}": [(n, k) for k in range(LENGTHS[n])] for n in numbers}


@pytest.mark.parametrize("moved", [{1: 1}, {1: -1}, {2: -1}, {1: 0.4, 2: -0.4}])
def test_no_image_is_that_of_another_frame(tmp_path, moved):
    make_v30(tmp_path / "cubes", LENGTHS, moved=moved)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert shown(tmp_path / "ours") == truth(0, 1, 2)
    off = [n for n, by in moved.items() if abs(by) >= 1]
    notes = [note for note in done.notes if "from_timestamp" in note]
    assert len(notes) == len(off)
    if off:
        assert (
            f"{TOP}: from_timestamp is off by 1 frames or less in 1 of 3 episodes ({off[0]})"
            in notes[0]
        )
        entry = done.index.episodes[f"cubes-{off[0]:06d}"]
        assert entry["origin"]["frames_moved"] == {TOP: moved[off[0]]}


def test_images_that_cannot_be_told_are_left_out_and_said(tmp_path):
    images = marked_images(LENGTHS)
    images[2] = np.concatenate([images[2], images[2][-1:]])
    make_v30(tmp_path / "cubes", LENGTHS, moved={1: -1}, moved_ends={1: -1}, video=images)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert shown(tmp_path / "ours") == truth(2)
    assert [e["id"] for e in done.skipped] == ["cubes-000000", "cubes-000001"]
    assert done.skipped[1]["reason"].startswith(
        f"images of {TOP} cannot be told: its first 1 image"
    )
    assert done.left_out.to_dict() == {
        "episode": {"whose images cannot be told from others": 2},
        "image": {"of no episode": 1},
    }


def test_a_missing_image_costs_its_episode_alone(tmp_path):
    images = marked_images(LENGTHS)
    images[0] = images[0][:-1]
    moved = {1: -1, 2: -1}
    make_v30(tmp_path / "cubes", LENGTHS, moved=moved, moved_ends={0: -1, **moved}, video=images)
    import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert shown(tmp_path / "ours") == truth(1, 2)


def test_images_beyond_the_frames_of_a_video_are_said(tmp_path):
    """v2.1, where every episode has a video of its own."""
    made = make_v21(tmp_path / "cubes")
    more = np.concatenate([made[1]["images"], made[1]["images"][-2:]])
    write_mp4(made[1]["video"], more, 10)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert len(done.added) == 3
    (note,) = (note for note in done.notes if "without a frame" in note)
    assert note.startswith(f"{TOP}: images without a frame: 2, in 1 videos (first: videos/")
    assert done.left_out.line() == "left out: 2 images (of no episode)"


def test_times_without_an_image_are_an_error(tmp_path):
    far = {0: 100, 1: 100, 2: 100}
    make_v30(tmp_path / "cubes", LENGTHS, moved=far, moved_ends=far)
    with pytest.raises(DatasetError, match="no episode to put in it: .*ends after 0 of the 12"):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
