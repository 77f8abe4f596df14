"""Images of LeRobot videos belong to the frames that they were recorded with, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from lerobot_sets import SHAPE, TOP, make_v21, so101_contract, write_mp4
from lerobot_v30 import VIDEO, make_v30, mark_of, marked_images

from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.lerobot.spans import VideoSpan, find_starts

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)
LENGTHS = (12, 15, 9)
FPS = 10.0


def spans(lengths, moved=None, ends=None, said=True):
    """Spans one behind the other, off by `moved` and `ends` frames."""
    found, start = [], 0
    for number, count in enumerate(lengths):
        from_s = (start + (moved or {}).get(number, 0)) / FPS
        to_s = (start + count + (ends or {}).get(number, 0)) / FPS
        found.append(VideoSpan(number, count, from_s, to_s if said else None))
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
    said = [VideoSpan(0, 12, 0.0, 1.23), VideoSpan(1, 15, 1.23, 2.76), VideoSpan(2, 9, 2.76, 3.69)]
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
    """Fourteen more, an episode that is not listed."""
    found = find_starts(spans(LENGTHS, moved, ends), times(50), FPS)
    assert {n for n, start in found.items() if start.fault} == set(faults)
    for number, fault in faults.items():
        assert fault in found[number].fault


def test_a_video_that_lacks_an_image_costs_the_episode_that_lacks_it():
    said = [VideoSpan(0, 12, 0.0, 1.1), VideoSpan(1, 15, 1.1, 2.6), VideoSpan(2, 9, 2.6, 3.5)]
    found = find_starts(said, times(35), FPS)
    assert found[0].fault == "its video spans 11 images, and it has 12 frames"
    assert not found[1].fault and not found[2].fault
    assert starts(found) == {0: 0, 1: 11, 2: 26}


def test_a_video_divided_otherwise_is_not_divided_by_the_lengths():
    """One image too few here, one too many there: the sum agrees by chance."""
    said = [VideoSpan(0, 12, 0.0, 1.1), VideoSpan(1, 15, 1.1, 2.7), VideoSpan(2, 9, 2.7, 3.6)]
    found = find_starts(said, times(36), FPS)
    assert found[0].fault == "its video spans 11 images, and it has 12 frames"
    assert starts(found) == {0: 0, 1: 11, 2: 27}


@pytest.mark.parametrize(
    ("count", "said", "fault"),
    [
        (35, True, "its video has 35 images, expected 36 up to the end of episode 2: which are"),
        (35, False, "its video has 35 images, expected 36 up to the end of episode 2: which are"),
        (30, True, "its video has 30 images, expected 36 up to the end of episode 2: which are"),
        (37, True, "its video has 37 images, expected 36 up to the end of episode 2: which of"),
        (47, True, "its video has 47 images, expected 36 up to the end of episode 2: which of"),
        (27, True, ""),  # the last episode has none: the others have theirs
        (48, True, ""),  # as many as an episode usually has: one that is not listed
        (37, False, ""),  # nothing says where the last one ends
    ],
)
def test_an_image_too_few_or_too_many_may_be_any_one(count, said, fault):
    """Nobody can tell whether what is missing is the first or the last: none is taken."""
    found = find_starts(spans(LENGTHS, said=said), times(count), FPS)
    assert all(start.fault.startswith(fault) for start in found.values())
    assert fault or not any(start.fault for start in found.values())


@pytest.mark.parametrize("more", [1, 2, 11])
def test_one_very_short_episode_hides_no_image_too_many(more):
    found = find_starts(spans((12, 1, 15, 9, 14)), times(51 + more), FPS)
    fault = f"its video has {51 + more} images, expected 51 up to the end of episode 4: which of"
    assert all(start.fault.startswith(fault) for start in found.values())
    found = find_starts(spans((12, 1, 15, 9, 14)), times(51 + 12), FPS)
    assert not any(start.fault for start in found.values())


@pytest.mark.parametrize("said", [True, False])
def test_images_that_are_not_one_a_frame_cost_their_episode(said):
    """One that is shown between two frames, or none where a frame is: times tell which."""
    between = np.insert(times(36), 15, 1.45)
    found = find_starts(spans(LENGTHS, said=said), between, FPS)
    assert {n for n, start in found.items() if start.fault} == {1}
    assert found[1].fault == (
        "image 15 of its video is shown at 1.4500 s, expected frame 3 of the episode at 1.5000 s"
    )
    found = find_starts(spans(LENGTHS, said=said), np.delete(times(36), 15), FPS)
    assert {n for n, start in found.items() if start.fault} == {1}
    assert found[1].fault == (
        "image 15 of its video is shown at 1.6000 s, expected frame 3 of the episode at 1.5000 s"
    )


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
    ends = {1: -1, 2: 1}
    make_v30(tmp_path / "cubes", LENGTHS, moved={1: -1}, moved_ends=ends, video=images)
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


@pytest.mark.parametrize(("place", "count"), [(5, 37), (20, 37), (5, 35), (20, 35)])
def test_a_shared_video_with_another_number_of_images_is_not_taken_shifted(tmp_path, place, count):
    """One image twice, or not there, and metadata that knows nothing of it."""
    images = np.concatenate(marked_images(LENGTHS))
    if count == 37:
        images = np.insert(images, place, images[place], axis=0)
    else:
        images = np.delete(images, place, axis=0)
    make_v30(tmp_path / "cubes", LENGTHS, video=[images])
    with pytest.raises(DatasetError) as error:
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    text = f"images of {TOP} cannot be told: its video has {count} images, expected 36 up to"
    assert str(error.value).count(text) == 3 and f"({VIDEO})" in str(error.value)
    assert not (tmp_path / "ours").exists()


def test_a_video_of_an_episode_alone_that_lacks_an_image_costs_it(tmp_path):
    """v2.1; the first image is missing here, which nobody can see."""
    made = make_v21(tmp_path / "cubes")
    write_mp4(made[1]["video"], made[1]["images"][1:], 10)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000000", "cubes-000002"]
    (entry,) = done.skipped
    file = made[1]["video"].relative_to(tmp_path / "cubes")
    assert entry["reason"] == (
        f"images of {TOP} cannot be told: its video has 14 images, expected 15 up to the end of "
        f"episode 1: which are missing cannot be told ({file})"
    )
    assert done.left_out.line() == "left out: 1 episode (whose images cannot be told from others)"


@pytest.mark.parametrize("twice", [True, False])
def test_a_video_of_another_frame_rate_is_not_taken(tmp_path, twice):
    """20 Hz with every image twice, which would fit by time, or with as many as frames."""
    made = make_v21(tmp_path / "cubes")
    images = made[1]["images"]
    write_mp4(made[1]["video"], np.repeat(images, 2, axis=0) if twice else images, 20)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000000", "cubes-000002"]
    file = made[1]["video"].relative_to(tmp_path / "cubes")
    assert [entry["reason"] for entry in done.skipped] == [
        f"frame rate of {TOP}: {file} has 20 images a second, expected 10, the fps in "
        "meta/info.json"
    ]
    assert done.left_out.line() == "left out: 1 episode (whose video has another frame rate)"
    again = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert (again.known, again.left_out.line()) == (3, done.left_out.line())


def test_a_shared_video_of_another_frame_rate_is_not_taken(tmp_path):
    """As many images as frames: the first episode would show every second one of them."""
    make_v30(tmp_path / "cubes", LENGTHS)
    write_mp4(tmp_path / "cubes" / VIDEO, np.concatenate(marked_images(LENGTHS)), 20)
    with pytest.raises(DatasetError, match=f"frame rate of {TOP}: {VIDEO} has 20 images a"):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)


def test_a_video_that_is_repaired_is_read_again(tmp_path):
    """What was left out is known by its files."""
    made = make_v21(tmp_path / "cubes")
    write_mp4(made[1]["video"], made[1]["images"][1:], 10)
    import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    write_mp4(made[1]["video"], made[1]["images"], 10)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000001"]


def test_images_beyond_the_frames_of_a_video_are_said(tmp_path):
    """v2.1, where every episode has a video of its own."""
    made = make_v21(tmp_path / "cubes")
    more = np.concatenate([made[1]["images"], made[1]["images"][-2:]])
    write_mp4(made[1]["video"], more, 10)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert len(done.added) == 3
    (note,) = (note for note in done.notes if "without a frame" in note)
    assert note.startswith(f"{TOP}: images without a frame: 2, in 1 videos (first: videos/")
    assert "right where the others come last, as those of a discarded take do" in note
    assert done.left_out.line() == "left out: 2 images (of no episode)"


def test_times_without_an_image_are_an_error(tmp_path):
    far = {0: 100, 1: 100, 2: 100}
    make_v30(tmp_path / "cubes", LENGTHS, moved=far, moved_ends=far)
    with pytest.raises(DatasetError, match="no episode to put in it: .*ends after 0 of the 12"):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
