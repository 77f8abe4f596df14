"""Dimensions of LeRobot features are matched by their names, in every layout, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from lerobot_sets import ACTION, JOINTS, SHAPE, STATE, edit_info, so101_contract
from lerobot_v30 import make_v30

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.lerobot import import_cli
from roboalign_training.lerobot.dimensions import Dimensions
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.lerobot.mapping import make_map
from roboalign_training.lerobot.names import dimension_names
from roboalign_training.lerobot.source import LeRobotSource, open_source

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)
BACK = list(JOINTS[::-1])
PLACES = {name: place for place, name in enumerate(BACK)}


@pytest.mark.parametrize(
    "names",
    [
        BACK,
        [BACK],
        [[BACK]],
        [BACK[:2], BACK[2:]],
        [[name] for name in BACK],
        {"motors": BACK},
        [{"motors": BACK}],
        {"motors": [BACK]},
        {"arm": BACK[:5], "hand": BACK[5:]},
        PLACES,
        dict(sorted(PLACES.items())),
        [PLACES],
        {"motors": PLACES},
        {"arm": {n: p for n, p in PLACES.items() if p < 2},
         "hand": {n: p for n, p in PLACES.items() if p >= 2}},
        {"arm": {n: p for p, n in enumerate(BACK[:2])},
         "hand": {n: p for p, n in enumerate(BACK[2:])}},
        {str(place): name for name, place in PLACES.items()},
        [f"{name}.pos" for name in BACK],
    ],
    ids=lambda names: str(names)[:40],
)  # fmt: skip
def test_joints_are_matched_by_name_in_every_layout(tmp_path, names):
    made = make_v30(tmp_path / "cubes", names=names)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    data = load_frames(tmp_path / "ours")
    np.testing.assert_array_equal(data.actions[:12], made[0]["actions"][:, ::-1])
    np.testing.assert_array_equal(data.states["state.joints"][:12], made[0]["states"][:, ::-1])
    assert not [note for note in done.notes if "order" in note]


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (BACK[:5], ["names: 5 of them, but its shape has 6 dimensions"]),
        ([*BACK, "more"], ["names: 7 of them, but its shape has 6 dimensions"]),
        ({"motors": BACK[:5]}, ["names: 5 of them, but its shape has 6 dimensions"]),
        ({**PLACES, "more": 6}, ["names: more stands at place 6, but its shape has 6 dimensions"]),
        ({n: p + 1 for n, p in PLACES.items()}, ["stands at place 6", "places begin at 0"]),
        ({**PLACES, BACK[0]: -1}, ["names: a place is -1, expected 0 or more"]),
        ({**PLACES, BACK[0]: 1}, ["names: several stand at place 1"]),
        (list(range(6)), ["names: 0 is no name, expected a list of names, lists in a list"]),
        ({"motors": 6.5}, ["names: 6.5 is no name"]),
        ({n: "joint" for n in BACK}, ["names no places"]),
        ({"arm": BACK[:2], "hand": {"x": 2}}, ["some have a place and some have none"]),
    ],
)
def test_layouts_that_cannot_be_told_are_refused(tmp_path, names, texts):
    make_v30(tmp_path / "cubes", names=list(JOINTS))
    edit_info(tmp_path / "cubes", lambda info: info["features"][ACTION].update(names=names))
    with pytest.raises(DatasetError) as error:
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    for text in (f"{ACTION}: names: ", *texts):
        assert text in str(error.value)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("names", [None, [], {}, {"motors": None}, [[]]])
def test_what_holds_no_name_has_none(names):
    assert dimension_names(names, 6) is None


def test_a_mapping_need_not_name_every_place(tmp_path):
    places = {name: place + 1 for name, place in PLACES.items()}
    made = make_v30(tmp_path / "cubes", names=BACK, state_names=places, width=8)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    data = load_frames(tmp_path / "ours")
    np.testing.assert_array_equal(data.states["state.joints"][:12], made[0]["states"][:, 6:0:-1])
    assert done.fmap.unused == (f"at place 0, at place 7 of {STATE}",)


def test_two_arms_are_told_by_their_groups(tmp_path):
    """Each group has the same names; the contract puts that of the group before them."""
    contract = load_contract("bimanual_so101")
    groups = {"right": list(JOINTS), "left": [f"{name}.pos" for name in JOINTS]}
    vector = {"dtype": "float32", "shape": [12], "names": groups}
    features = {STATE: vector, ACTION: vector}
    for stream in contract.images:
        name = f"observation.images.{stream.key.removeprefix('image.')}"
        features[name] = {"dtype": "image", "shape": list(stream.value_shape), "names": None}
    source = LeRobotSource(tmp_path, "v3.0", contract.rate_hz, features, (), {})
    wanted = (*range(6, 12), *range(6))
    assert make_map(contract, source).vectors[ACTION].places == wanted


# A dimension named twice

TWICE = [*JOINTS, "finger", "finger"]


def test_a_name_that_nobody_asks_for_may_stand_there_twice(tmp_path):
    made = make_v30(tmp_path / "cubes", names=list(JOINTS), state_names=TWICE, width=8)
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    data = load_frames(tmp_path / "ours")
    np.testing.assert_array_equal(data.states["state.joints"][:12], made[0]["states"][:, :6])
    assert done.fmap.unused == (f"finger at place 6, finger at place 7 of {STATE}",)


@pytest.mark.parametrize("key", ["7", f"{STATE}:7"])
def test_one_of_two_is_named_by_its_place(tmp_path, key):
    names = [*JOINTS[:5], "extra", "gripper", "gripper"]
    made = make_v30(tmp_path / "cubes", names=list(JOINTS), state_names=names, width=8)
    with pytest.raises(DatasetError) as error:
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    for text in (
        f"{STATE}: names a dimension twice: gripper, which state.joints takes once",
        f"stands at places 6 and 7; say which by its place, as in --rename {STATE}:6=gripper",
    ):
        assert text in str(error.value)
    done = import_dataset(
        tmp_path / "cubes", tmp_path / "ours", CONTRACT, renames={key: "gripper"}
    )
    data = load_frames(tmp_path / "ours")
    np.testing.assert_array_equal(
        data.states["state.joints"][:12], made[0]["states"][:, [0, 1, 2, 3, 4, 7]]
    )
    np.testing.assert_array_equal(data.actions[:12], made[0]["actions"])
    assert done.index.episodes["cubes-000000"]["origin"]["dimensions"] == {
        "state.joints": [0, 1, 2, 3, 4, 7],
        "action": [0, 1, 2, 3, 4, 5],
    }


def test_features_are_renamed_apart_on_the_command_line(tmp_path, capsys):
    """One place of the state and another of the action are the gripper."""
    contract = tmp_path / "arm.yaml"
    contract.write_text(CONTRACT.to_yaml())
    names = [*JOINTS[:5], "a", "b"]
    made = make_v30(tmp_path / "cubes", names=[*JOINTS[:5], "hand"], state_names=names, width=7)
    command = [str(tmp_path / "cubes"), "--out", str(tmp_path / "ours")]
    command += ["--contract", str(contract), "--rename", f"{STATE}:6=gripper"]
    assert import_cli.main(command) == 2
    assert "action: found dimensions" in " ".join(capsys.readouterr().err.split())
    assert import_cli.main([*command, f"{ACTION}:hand=gripper"]) == 0
    assert f"not taken: a of {STATE}" in capsys.readouterr().out
    data = load_frames(tmp_path / "ours")
    np.testing.assert_array_equal(data.states["state.joints"][:12, 5], made[0]["states"][:, 6])
    np.testing.assert_array_equal(data.actions[:12, 5], made[0]["actions"][:, 5])


def test_names_may_be_exchanged():
    dims = Dimensions(ACTION, {"shape": [3], "names": ["a", "b", "1"]})
    assert dims.rename({"a": "b", "b": "a"}) == {"a", "b"}
    assert (dims.places("a"), dims.places("b")) == ([1], [0])
    assert dims.rename({"1": "c", "9": "d"}) == {"1"}  # a name before a place
    assert (dims.places("c"), dims.places("1")) == ([2], [])


def test_places_name_what_has_no_names(tmp_path):
    made = make_v30(tmp_path / "cubes", names=None)
    renames = {str(place): name for name, place in PLACES.items()}
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT, renames=renames)
    data = load_frames(tmp_path / "ours")
    np.testing.assert_array_equal(data.actions[:12], made[0]["actions"][:, ::-1])
    assert not [note for note in done.notes if "order" in note]


def test_a_rename_of_nothing_is_refused_with_what_there_is(tmp_path):
    make_v30(tmp_path / "cubes")
    source = open_source(tmp_path / "cubes")
    for key in ("9", f"{STATE}:elbow", "elbow"):
        with pytest.raises(DatasetError, match=f"--rename {key}=gripper: no feature has a dim"):
            make_map(CONTRACT, source, renames={key: "gripper"})


def test_an_action_with_a_dimension_more_is_refused(tmp_path):
    """Also where two of its dimensions have one name: no part of a command may go missing."""
    make_v30(tmp_path / "cubes")
    twice = {"names": [*JOINTS, "gripper"], "shape": [7]}
    edit_info(tmp_path / "cubes", lambda info: info["features"][ACTION].update(twice))
    source = open_source(tmp_path / "cubes")
    with pytest.raises(DatasetError, match="has gripper at place 6 beside the 6 dimensions"):
        make_map(CONTRACT, source, renames={f"{ACTION}:5": "gripper"})
