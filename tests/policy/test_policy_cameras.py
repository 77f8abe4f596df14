"""A policy of several cameras: what it sees, and with which contracts it drives."""

import json

import numpy as np
import pytest
from checkpoints import write_checkpoint

from roboalign_policy.core.contract.contract import contract_from_dict, load_contract
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prompt import camera_names, user_content
from roboalign_policy.models.loading import ModelError
from roboalign_policy.models.open_policy import open_policy
from roboalign_policy.models.policy import model_inputs

WRIST = load_contract("sim_panda_wrist")
BOTH = ["image.front", "image.wrist"]
OPTIONS = PolicyOptions(device="cpu", think=False)


def seeing(images):
    """Contract sim_panda_wrist whose model sees these streams."""
    data = WRIST.to_dict()
    data["prompt"].pop("images")
    if images is not None:
        data["prompt"]["images"] = images
    return contract_from_dict(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_base):
    """Checkpoint that says nothing of images: it sees the first one."""
    return write_checkpoint(tmp_path_factory.mktemp("old"), tiny_base, robot="sim_panda_wrist")


@pytest.fixture
def trained(folder, tmp_path):
    """Function that makes a checkpoint which was trained on some images."""

    def make(images, robot=WRIST):
        for path in folder.iterdir():
            target = tmp_path / path.name
            if not target.exists():
                target.symlink_to(path)
        record = json.loads((folder / "roboalign.json").read_text()) | {"images": images}
        record["hashes"]["contract"] = robot.hash
        for name, text in (
            ("contract.yaml", robot.to_yaml()),
            ("roboalign.json", json.dumps(record)),
        ):
            (tmp_path / name).unlink()
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


def observation(seed=0):
    random = np.random.default_rng(seed)
    states = {s.key: np.full(s.value_shape, 0.1, np.float32) for s in WRIST.states}
    images = {s.key: random.integers(0, 255, s.value_shape, dtype=np.uint8) for s in WRIST.images}
    return {**states, **images}


def test_the_contract_says_which_images_the_model_sees():
    assert [s.key for s in WRIST.seen_images] == BOTH
    assert [s.key for s in seeing(None).seen_images] == BOTH
    turned = seeing(BOTH[::-1])
    assert [s.key for s in turned.seen_images] == BOTH[::-1]
    assert len({WRIST.hash, turned.hash, seeing(None).hash}) == 3
    assert contract_from_dict(turned.to_dict()) == turned


def test_several_pictures_stand_behind_their_names():
    assert camera_names(["image.front", "image.left_wrist"]) == ("front", "left wrist")
    content = user_content("task : lift .", ("front", "left wrist"))
    shown = [part.get("text", "PICTURE") for part in content]
    assert shown == ["front : ", "PICTURE", "left wrist : ", "PICTURE", "task : lift ."]
    assert [p["type"] for p in user_content("act .", ("front",))] == ["image", "text"]


def test_every_picture_that_the_model_sees_changes_what_it_reads(trained):
    policy = open_policy(trained(BOTH), options=OPTIONS)
    assert policy.images == tuple(BOTH)
    values = observation()
    inputs = model_inputs(policy._mllm, policy._cameras, [values[key] for key in BOTH], "act .")
    assert inputs["image_grid_thw"].shape == (2, 3)
    text = policy._mllm.tokenizer.decode(inputs["input_ids"][0])
    assert text.index("front :") < text.index("wrist :") < text.index("act .")
    assert policy.act(values, "lift").actions is not None
    for key in BOTH:
        with pytest.raises(KeyError, match=key):
            policy.act({k: v for k, v in values.items() if k != key}, "lift")
        wrong = {**values, key: values[key][1:]}
        with pytest.raises(ValueError, match=f"{key}: found shape"):
            policy.act(wrong, "lift")


def test_a_checkpoint_without_the_entry_sees_the_first_image(folder):
    policy = open_policy(folder, options=OPTIONS)
    assert policy.images == ("image.front",)
    values = observation()
    del values["image.wrist"]
    assert policy.act(values, "lift").actions is not None
    assert open_policy(folder, seeing(None), OPTIONS).images == policy.images


@pytest.mark.parametrize(
    "robot",
    [load_contract("sim_panda"), seeing(["image.front"]), seeing(BOTH[::-1])],
    ids=["one camera", "one of two", "another order"],
)
def test_a_policy_of_two_cameras_refuses_other_ones(trained, robot):
    with pytest.raises(ModelError, match="another robot: .*(prompt.images|observations): found"):
        open_policy(trained(BOTH), robot, OPTIONS)


def test_a_policy_of_two_cameras_drives_where_the_contract_leaves_it_open(trained):
    assert open_policy(trained(BOTH), seeing(None), OPTIONS).images == tuple(BOTH)
    assert open_policy(trained(BOTH), WRIST, OPTIONS).images == tuple(BOTH)


@pytest.mark.parametrize("images", ["image.front", ["image.left"], [], [["image.front"]]])
def test_a_damaged_entry_is_named(trained, images):
    with pytest.raises(ModelError, match="roboalign.json: images: found"):
        open_policy(trained(images), options=OPTIONS)


def test_which_images_it_sees_is_part_of_the_hash(folder, trained):
    first = open_policy(folder, options=OPTIONS).hash
    assert open_policy(trained(["image.front"]), options=OPTIONS).hash == first
    assert open_policy(trained(BOTH), options=OPTIONS).hash != first
