"""`crop` and `resize` of a stream: in the contract, in pixels, and in what a policy is given."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace as Msg

import numpy as np
import pytest

from roboalign_policy.core.contract.check import check_contract
from roboalign_policy.core.contract.contract import (
    ContractError,
    contract_from_dict,
    contract_from_yaml,
    load_contract,
)
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.images import stream_image
from roboalign_policy.core.messages.picture_size import check_resizes, cropped_and_resized
from roboalign_policy.core.messages.value_range import to_8_bits

NO_SPAN = ([1, 1.00000001], [0, 1e-300], [0, 1e-40], [-3e38, 3e38], [0, 1e39], [1e39, 2e39])


def contract_with(**keys):
    data = load_contract("sim_panda").to_dict()
    data["observations"][0].update(keys)
    return contract_from_dict(data)


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_part_is_cut_out_by_x_y_width_height():
    whole = image(10, 20)
    found = cropped_and_resized(whole, (3, 1, 12, 8), None)
    np.testing.assert_array_equal(found, whole[1:9, 3:15])
    assert found.flags.c_contiguous
    assert cropped_and_resized(whole, None, None) is whole
    assert cropped_and_resized(whole, None, (10, 20)) is whole


def test_a_smaller_picture_is_the_mean_of_areas():
    whole = image(24, 36)
    found = cropped_and_resized(whole, (4, 0, 32, 24), (6, 16))  # height, width
    assert found.shape == (6, 16, 3)
    means = whole[:, 4:].reshape(6, 4, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(found - means).max() <= 0.5


def test_opencv_is_asked_for_where_the_size_changes(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    whole = Msg(encoding="rgb8", height=128, width=128, step=384, data=bytes(128 * 384))
    for keys in ({}, {"resize": [128, 128]}, {"crop": [0, 8, 100, 60], "resize": [60, 100]}):
        stream = contract_with(**keys).images[0]
        check_resizes(stream)
        stream_image(whole, stream)
    stream = contract_with(crop=[0, 8, 100, 60], resize=[60, 99]).images[0]
    words = f"`resize` of {stream.key} takes OpenCV .*pip install opencv-python-headless"
    with pytest.raises(ImportError, match=words):
        check_resizes(stream)


def test_shape_is_what_is_sent_and_value_shape_what_is_seen():
    for keys, seen in (
        ({}, (128, 128, 3)),
        ({"crop": [0, 8, 100, 60]}, (60, 100, 3)),
        ({"resize": [32, 64]}, (32, 64, 3)),
        ({"crop": [0, 8, 100, 60], "resize": [30, 50]}, (30, 50, 3)),
    ):
        contract = contract_with(**keys)
        stream = contract.images[0]
        assert (stream.shape, stream.value_shape) == ((128, 128, 3), seen)
        assert stream.as_sent == (not keys)
        again = contract_from_yaml(contract.to_yaml())
        assert again == contract and again.hash == contract.hash
        whole = image(128, 128)
        msg = Msg(encoding="rgb8", height=128, width=128, step=384, data=whole.tobytes())
        found = stream_image(msg, stream)
        assert found.shape == seen
        np.testing.assert_array_equal(
            found, cropped_and_resized(whole, keys.get("crop"), keys.get("resize"))
        )


def test_a_contract_without_the_keys_has_the_hash_that_it_had():
    data = load_contract("sim_panda").to_dict()
    assert not {"range", "crop", "resize"} & set(data["observations"][0])


def test_a_picture_of_another_size_is_refused_before_it_is_cut():
    stream = contract_with(crop=[0, 0, 64, 64]).images[0]
    msg = Msg(encoding="rgb8", height=64, width=64, step=192, data=bytes(64 * 192))
    with pytest.raises(SelectorError, match=r"shape \(64, 64, 3\), but the contract says \(128"):
        stream_image(msg, stream)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"crop": [0, 0, 129, 10]}, r"crop: found \[0, 0, 129, 10\], which reaches to x 129"),
        (
            {"crop": [0, 100, 10, 29]},
            "reaches to x 10 and y 129, expected .* within the 128 x 128",
        ),
        (
            {"crop": [0, 0, 0, 10]},
            r"crop: found .* expected four whole numbers, \[x, y, width, he",
        ),
        ({"crop": [-1, 0, 5, 10]}, "crop: .* four whole numbers"),
        ({"crop": [0.0, 0, 5, 10]}, "crop: .* four whole numbers"),
        ({"crop": [0, 0, 5]}, "crop: .* four whole numbers"),
        (
            {"resize": [224]},
            r"resize: found \[224\], expected two whole numbers, \[height, width\]",
        ),
        ({"resize": [0, 8]}, "resize: .* two whole numbers"),
        ({"resize": 224}, "resize: .* two whole numbers"),
        ({"resize": [32, 32, 3]}, "resize: .* two whole numbers"),
        ({"range": [2, 1]}, r"range: found \[2, 1\], expected two finite numbers, \[low, high\]"),
        ({"range": [0, float("inf")]}, "range: .* two finite numbers"),
        *(({"range": pair}, r"range: found \[.*expected .* as 32-bit floats") for pair in NO_SPAN),
    ],
)
def test_what_cannot_be_is_named(keys, words):
    with pytest.raises(ContractError, match=words):
        contract_with(**keys)


@pytest.mark.parametrize("pair", [[0, 2e-36], [1, 1.0000002], [-1e38, 2e38], [16777215, 16777216]])
def test_a_range_that_is_taken_maps_its_ends_to_black_and_white(pair):
    pair = contract_with(range=pair).images[0].range
    with np.errstate(all="raise", under="ignore"):
        assert to_8_bits(np.array(pair, np.float32), pair).tolist() == [0, 255]


@pytest.mark.parametrize("key", ["range", "crop", "resize"])
def test_they_are_for_images(key):
    data = load_contract("sim_panda").to_dict()
    value = {"range": [0, 1], "crop": [0, 0, 1, 1], "resize": [1, 1]}[key]
    data["observations"][1][key] = value
    with pytest.raises(ContractError, match=rf"\[1\]\.{key}: found .*for images only"):
        contract_from_dict(data)


def test_a_larger_picture_is_worth_a_word(tmp_path):
    contract = contract_with(crop=[0, 0, 64, 32], resize=[32, 100])
    (tmp_path / "large.yaml").write_text(contract.to_yaml())
    (found,) = check_contract(tmp_path / "large.yaml")
    assert found.severity == "warning"
    assert "at most the [32, 64] that there are" in str(found)


def test_streams_compare_and_hash_with_the_keys():
    stream = contract_with(range=[0, 9]).images[0]
    assert stream.range == (0.0, 9.0)
    assert stream != dataclasses.replace(stream, range=None)
