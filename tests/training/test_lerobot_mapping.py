"""LeRobot data sets that do not fit a contract: what is wrong is said by name."""

from __future__ import annotations

import pytest
from lerobot_sets import (
    ACTION,
    JOINTS,
    SHAPE,
    STATE,
    TOP,
    arm_contract,
    edit_info,
    make_dataset,
    make_v21,
    so101_contract,
)

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_training.bags.errors import DatasetError
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.lerobot.mapping import make_map
from roboalign_training.lerobot.source import LeRobotSource

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)


@pytest.fixture
def v21(tmp_path):
    """Folder of a LeRobot data set v2.1."""
    make_v21(tmp_path / "cubes")
    return tmp_path / "cubes"


@pytest.mark.parametrize(
    ("edit", "texts"),
    [
        (lambda i: i.update(fps=30), ["fps: found 30, but rate_hz of contract so101 is 10"]),
        (
            lambda i: i["features"][TOP].update(shape=[480, 640, 3]),
            [f"{TOP}: shape (height, width, channels) (480, 640, 3)", "is (48, 64, 3)"],
        ),
        (
            lambda i: i["features"].update({"observation.images.side": i["features"].pop(TOP)}),
            ["image.top: no feature observation.images.top", "--map FEATURE=image.top"],
        ),
        (
            lambda i: i["features"][ACTION].update(names=["a", *JOINTS[1:]]),
            ["action: found dimensions a, shoulder_lift", "no shoulder_pan", "--rename"],
        ),
        (
            lambda i: i["features"][ACTION].update(names=[*JOINTS, "base"], shape=[7]),
            ["action: has base beside the 6 dimensions", "an action cannot be left out"],
        ),
        (
            lambda i: i["features"][STATE].update(names=None, shape=[5]),
            [f"{STATE}: 5 dimensions without names, but state.joints of contract so101 has 6"],
        ),
        (
            lambda i: i["features"][TOP]["info"].update({"is_depth_map": True}),
            [f"{TOP}: is a depth map"],
        ),
        (
            lambda i: i["features"][STATE].update(dtype="string"),
            [f"{STATE}: dtype 'string' and shape [6], but state.joints takes a vector"],
        ),
        (lambda i: i["features"].pop(ACTION), ["action: no feature action, only"]),
        (
            lambda i: i.update(codebase_version="v1.6"),
            ["codebase_version: found 'v1.6', expected 'v2.1' or 'v3.0'"],
        ),
        (lambda i: i.update(total_episodes=4), ["total_episodes: found 4, but 3 episodes"]),
        (lambda i: i.update(data_path="../{episode_index}"), ["which leaves the data set"]),
        (lambda i: i.update(data_path="{nothing}"), ["data_path: found '{nothing}'"]),
        (lambda i: i.update(fps="ten"), ["fps: found 'ten'"]),
    ],
)
def test_disagreements_are_refused_by_name(v21, tmp_path, edit, texts):
    edit_info(v21, edit)
    with pytest.raises(DatasetError) as error:
        import_dataset(v21, tmp_path / "ours", CONTRACT)
    for text in texts:
        assert text in str(error.value)
    assert not (tmp_path / "ours/dataset.json").exists()


def test_all_disagreements_are_named_at_once(v21, tmp_path):
    contract = so101_contract("image.front", (480, 640, 3))
    with pytest.raises(DatasetError) as error:
        import_dataset(v21, tmp_path / "ours", contract, maps={TOP: "image.front", "x": "y"})
    for text in ("fps: found 10", "shape (height, width, channels) (48, 64, 3)", "--map x=y"):
        assert text in str(error.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"maps": {TOP: "image.side"}}, "no such key in contract so101, only image.top"),
        ({"renames": {"j7": "gripper"}}, "--rename j7=gripper: no feature has a dimension j7"),
        ({"gains": {"elbow": (2.0, 0.0)}}, "--gain elbow: no such dimension in contract so101"),
        ({"renames": {"gripper.pos": "wrist_roll.pos"}}, "names a dimension twice"),
        ({"maps": {ACTION: "state.joints"}}, ""),
    ],
)
def test_options_that_say_nothing_sensible(v21, tmp_path, options, text):
    if not text:  # a state may well come from the commands
        import_dataset(v21, tmp_path / "ours", CONTRACT, **options)
        return
    with pytest.raises(DatasetError, match=text):
        import_dataset(v21, tmp_path / "ours", CONTRACT, **options)


def test_no_dimension_is_taken_twice(tmp_path):
    data = arm_contract().to_dict()
    data["observations"][-1]["fields"][0]["name"] = "x"
    data["prompt"]["state"].pop()
    contract = contract_from_dict(data)
    names = [name for stream in arm_contract().states for name in stream.names]
    vector = {"dtype": "float32", "shape": [15], "names": names}
    action = {"dtype": "float32", "shape": [7], "names": list(contract.action.names)}
    camera = {"dtype": "video", "shape": list(SHAPE), "names": ["height", "width", "channels"]}
    features = {f"observation.images.{name}": camera for name in ("front", "wrist")}
    features |= {STATE: vector, ACTION: action}
    source = LeRobotSource(tmp_path, "v3.0", 10.0, features, (), {})
    with pytest.raises(DatasetError, match="would be both state.ee x and state.gripper x"):
        make_map(contract, source)
    vector["names"] = [*names[:-1], "gripper.x"]
    assert make_map(contract, source).vectors["state.gripper"].places == (14,)


def test_a_contract_is_needed_and_only_one(v21, tmp_path):
    with pytest.raises(DatasetError, match="carries no RoboAlign contract: name one"):
        import_dataset(v21, tmp_path / "ours")
    make_dataset(tmp_path / "kitchen", episodes=1)
    export_dataset(tmp_path / "kitchen", tmp_path / "theirs", images="png")
    with pytest.raises(DatasetError, match="carries contract sim_panda .* found --contract so101"):
        import_dataset(tmp_path / "theirs", tmp_path / "ours", CONTRACT)


def test_what_is_no_lerobot_data_set(tmp_path):
    with pytest.raises(DatasetError, match=r"is no LeRobot data set: no meta/info.json"):
        import_dataset(tmp_path, tmp_path / "ours", CONTRACT)
