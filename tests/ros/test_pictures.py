"""Mosaics and YUV on a robot: through cv_bridge where it is, with the pixels of OpenCV."""

from __future__ import annotations

import sys
from types import ModuleType

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from roboalign_policy.core.contract.contract import contract_from_dict, load_contract
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.encodings import ENCODINGS
from roboalign_policy.core.messages.images import stream_image
from roboalign_policy.ros import pictures
from roboalign_policy.ros.pictures import picture_from_msg

BY_OPENCV = sorted(name for name, found in ENCODINGS.items() if found.opencv)
HEIGHT, WIDTH = 48, 64


def stream_of(encoding):
    data = load_contract("sim_panda").to_dict()
    data["observations"][0]["shape"] = [HEIGHT, WIDTH, 3]
    if ENCODINGS[encoding].bits > 8:
        data["observations"][0]["range"] = [100, 50_000]
    return contract_from_dict(data).images[0]


def message(encoding, pad, big):
    """A picture of noise as a robot sends it."""
    found = ENCODINGS[encoding]
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 1 << found.bits, (HEIGHT, WIDTH * found.channels))
    rows = pixels.astype(np.dtype(found.dtype).newbyteorder(">" if big else "<"))
    rows = np.frombuffer(rows.tobytes(), np.uint8).reshape(HEIGHT, -1)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=77)
    return Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=rows.shape[1],
                 is_bigendian=int(big), data=rows.tobytes())  # fmt: skip


@pytest.fixture(autouse=True)
def _chosen_anew():
    pictures._converter.cache_clear()
    yield
    pictures._converter.cache_clear()


def assert_pixels_are_equal(encodings):
    for encoding in encodings:
        for pad, big in ((0, False), (3, True)):
            msg, stream = message(encoding, pad, big), stream_of(encoding)
            found, expected = picture_from_msg(msg, stream), stream_image(msg, stream)
            np.testing.assert_array_equal(found, expected, encoding)
            assert len(np.unique(found)) > 100


def test_cv_bridge_and_opencv_give_equal_pixels():
    pytest.importorskip("cv_bridge", reason="cv_bridge is not installed: it comes with ROS 2")
    assert pictures._converter() is not pictures.opencv_colours
    assert_pixels_are_equal(BY_OPENCV)


class StandIn:
    """What cv_bridge's Python part does with a message; its C++ part by the same OpenCV codes.

    Source: vision_opencv, cv_bridge/python/cv_bridge/core.py, imgmsg_to_cv2. It knows no names
    but those that every version has.
    """

    KINDS = {"yuv422": (np.uint8, 2), "yuv422_yuy2": (np.uint8, 2)}
    asked: list[tuple[str, str]] = []

    def encoding_to_cvtype2(self, encoding):
        return {"rgb8": 16}[encoding]

    def imgmsg_to_cv2(self, msg, desired_encoding):
        self.asked.append((msg.encoding, desired_encoding))
        if msg.encoding not in self.KINDS and not msg.encoding.startswith("bayer_"):
            raise BridgeError(f"Unrecognized image encoding [{msg.encoding}]")
        dtype, channels = self.KINDS.get(
            msg.encoding, (np.uint16 if msg.encoding.endswith("16") else np.uint8, 1)
        )
        assert msg.is_bigendian == (sys.byteorder == "big")
        size = np.dtype(dtype).itemsize
        shape = (msg.height, msg.step // size // channels, channels)
        image = np.ndarray(shape, dtype, buffer=msg.data)[:, : msg.width]
        code = ENCODINGS[msg.encoding].opencv
        return cv2.cvtColor(np.ascontiguousarray(image), getattr(cv2, f"COLOR_{code}"))


class BridgeError(TypeError):
    """As cv_bridge's."""


@pytest.fixture
def bridge(monkeypatch):
    """A stand-in for cv_bridge."""
    module = ModuleType("cv_bridge")
    module.CvBridge, module.CvBridgeError = StandIn, BridgeError
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    monkeypatch.setattr(StandIn, "asked", [])
    return StandIn


def test_where_cv_bridge_is_it_is_asked_and_given_plain_pixels(bridge):
    assert_pixels_are_equal(BY_OPENCV)
    names = [ENCODINGS[encoding].bridge for encoding in BY_OPENCV for _ in range(2)]
    assert bridge.asked == [(n, "rgb16" if n.endswith("16") else "rgb8") for n in names]


def test_what_cv_bridge_refuses_is_an_unreadable_message(bridge, monkeypatch):
    def refuse(*_):
        raise BridgeError("no such thing")

    monkeypatch.setattr(bridge, "imgmsg_to_cv2", refuse)
    with pytest.raises(SelectorError, match="cv_bridge: image encoding 'yuyv': no such thing"):
        picture_from_msg(message("yuyv", 0, False), stream_of("yuyv"))


def assert_opencv_stands_in(words, capfd):
    """The pixels are OpenCV's, and the log says once why."""
    assert_pixels_are_equal(["yuyv", "bayer_rggb16"])
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "does not load" in line]
    assert "WARN" in line and words in line


def test_opencv_stands_in_for_a_cv_bridge_that_lacks_something(monkeypatch, tmp_path, capfd):
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    (tmp_path / "cv_bridge.py").write_text("import a_library_that_is_not_here")
    monkeypatch.syspath_prepend(tmp_path)
    assert_opencv_stands_in("No module named 'a_library_that_is_not_here'", capfd)


def test_opencv_stands_in_for_a_cv_bridge_whose_cpp_part_does_not_load(bridge, monkeypatch, capfd):
    def fail(*_):
        raise ImportError("numpy.core.multiarray failed to import")

    monkeypatch.setattr(bridge, "encoding_to_cvtype2", fail)
    monkeypatch.setattr(bridge, "imgmsg_to_cv2", fail)
    assert_opencv_stands_in("ImportError: numpy.core.multiarray failed to import", capfd)
    assert bridge.asked == []


def test_a_cv_bridge_that_is_not_installed_is_worth_no_word(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    assert_pixels_are_equal(["yuyv"])
    assert "cv_bridge" not in capfd.readouterr().err


def test_plain_colours_take_neither(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    for encoding in ("rgb8", "bgra8", "mono8"):
        picture_from_msg(message(encoding, 3, False), stream_of(encoding))
    with pytest.raises(ImportError, match="'bayer_rggb8' takes OpenCV .*opencv-python-headless"):
        picture_from_msg(message("bayer_rggb8", 0, False), stream_of("bayer_rggb8"))
