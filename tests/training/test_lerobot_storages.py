"""LeRobot exchange of data sets whose images are stored in any way, and of those made before."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conversion_bags import two_cameras, write_bag
from lerobot_sets import make_dataset

from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.content import whole_hash
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import load_index
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bag") / "a.mcap", 2.0)


@pytest.mark.parametrize("exported", ["png", "h264"])
@pytest.mark.parametrize("images", ["auto", "png", "jpeg", "video"])
def test_every_storage_goes_out_and_comes_back(bag, tmp_path, images, exported):
    recipe = Recipe(min_frames=1, images=images)
    build_dataset([bag], two_cameras(), tmp_path / "set", recipe=recipe)
    export_dataset(tmp_path / "set", tmp_path / "theirs", images=exported)
    import_dataset(tmp_path / "theirs", tmp_path / "back")
    one, other = load_frames(tmp_path / "set"), load_frames(tmp_path / "back")
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(one.stamps_ns, other.stamps_ns)
    assert other.index.recipe["images"] == ("png" if images == "png" else "auto")
    lossless = images in ("auto", "png")
    same = one.hashes["dataset"] == other.hashes["dataset"]
    assert same == (lossless and exported == "png")
    for at in range(0, len(one), 5):
        for key in one.image_keys:
            here, there = one.image(at, key), other.image(at, key)
            if exported == "png":
                np.testing.assert_array_equal(here, there)
            else:
                assert np.abs(here.astype(int) - there).mean() < 8


def test_what_is_imported_is_not_stored_with_loss(bag, tmp_path):
    recipe = Recipe(min_frames=1, images="jpeg")
    build_dataset([bag], two_cameras(), tmp_path / "set", recipe=recipe)
    export_dataset(tmp_path / "set", tmp_path / "theirs", images="png")
    with pytest.raises(DatasetError, match="stores images as jpeg, but what is imported"):
        import_dataset(tmp_path / "theirs", tmp_path / "set")


def test_an_export_of_before_comes_back_with_the_hashes_it_had(tmp_path):
    """Entries without a word on their hash have one over whole columns."""
    folder = tmp_path / "set"
    make_dataset(folder)
    document = json.loads((folder / "dataset.json").read_text())
    data, index = load_frames(folder), load_index(folder)
    for episode in data.episodes:
        rows = range(episode.start, episode.stop)
        entry = index.episodes[episode.id]
        del entry["content_hash"]
        values = {key: np.stack([data.image(r, key) for r in rows]) for key in data.image_keys}
        values |= {key: column[rows.start : rows.stop] for key, column in data.states.items()}
        part = slice(rows.start, rows.stop)
        entry["content_sha256"] = whole_hash(
            EpisodeFrames(data.frame_indices[part], data.stamps_ns[part], values,
                          data.actions[part], instruction=episode.instruction,
                          outcome=episode.outcome)
        )  # fmt: skip
    index.save()
    assert json.loads((folder / "dataset.json").read_text())["hashes"] != document["hashes"]
    export_dataset(folder, tmp_path / "theirs", images="png")
    import_dataset(tmp_path / "theirs", tmp_path / "back")
    assert load_index(tmp_path / "back").hashes == index.hashes
    assert "content_hash" not in next(iter(load_index(tmp_path / "back").episodes.values()))
    passport = tmp_path / "theirs/meta/roboalign.json"
    changed = json.loads(passport.read_text())
    changed["episodes"][0]["values_sha256"] = "0" * 64
    passport.write_text(json.dumps(changed))
    done = import_dataset(tmp_path / "theirs", tmp_path / "other")
    assert "values_sha256 of episode 0" in done.failed[0]
