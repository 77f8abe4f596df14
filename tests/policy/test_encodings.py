"""Encodings that robots send: the conversions of cv_bridge, ranges, byte order, padding."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
from types import SimpleNamespace as Msg

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.encodings import ENCODINGS, opencv_colours
from roboalign_policy.core.messages.images import check_image_msg, image_from_msg
from roboalign_policy.core.messages.value_range import to_8_bits

# Source: vision_opencv, cv_bridge/src/cv_bridge.cpp, getConversionCodes, to RGB.
CV_BRIDGE = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
BY_OPENCV = sorted(name for name, found in ENCODINGS.items() if found.opencv)
DEEP = sorted(name for name, found in ENCODINGS.items() if found.bits > 8)
YUV = sorted(name for name in BY_OPENCV if "bayer" not in name)
HEIGHT, WIDTH = 6, 8


def random_pixels(encoding, seed=0):
    """Pixels (H, W, channels) of an encoding."""
    rng, found = np.random.default_rng(seed), ENCODINGS[encoding]
    shape = (HEIGHT, WIDTH, found.channels)
    if found.dtype == "f4":
        return rng.uniform(-1, 5, shape).astype(np.float32)
    return rng.integers(0, 1 << found.bits, shape).astype(found.dtype)


def message(encoding, pixels, pad=0, big=False):
    """A raw image message; padding is of bytes that no pixel has."""
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))
    row = pixels.shape[1] * pixels.shape[2] * pixels.itemsize
    rows = np.frombuffer(rows.tobytes(), np.uint8).reshape(len(pixels), row)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=0xA5)
    return Msg(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1],
               step=rows.shape[1], is_bigendian=int(big), data=rows.tobytes())  # fmt: skip


def range_of(encoding):
    return None if ENCODINGS[encoding].bits == 8 else (0.5, 3.5) if encoding == "32FC1" else (
        1000, 50_000)  # fmt: skip


def shape_of(pixels):
    return (*pixels.shape[:2], 3)


@pytest.mark.parametrize("encoding", BY_OPENCV)
def test_the_conversion_is_that_of_cv_bridge(encoding):
    pixels = random_pixels(encoding)
    expected = cv2.cvtColor(pixels, CV_BRIDGE[re.sub("(8|16)$", "", encoding)])
    found = opencv_colours(pixels, ENCODINGS[encoding])
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == pixels.dtype and len(np.unique(found)) > 20
    if ENCODINGS[encoding].bits == 8:
        image = image_from_msg(message(encoding, pixels), shape_of(pixels))
    else:
        image = image_from_msg(message(encoding, pixels), shape_of(pixels), (1000, 50_000))
        expected = to_8_bits(expected, (1000, 50_000))
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
@pytest.mark.parametrize("big", [False, True])
def test_padding_and_byte_order_change_no_pixel(encoding, big):
    pixels, value_range = random_pixels(encoding), range_of(encoding)
    plain = image_from_msg(message(encoding, pixels), shape_of(pixels), value_range)
    for pad in (0, 1, 7):  # 1 and 7 leave numbers of two and four bytes at odd places
        msg = message(encoding, pixels, pad, big)
        found = image_from_msg(msg, shape_of(pixels), value_range)
        np.testing.assert_array_equal(found, plain)
        check_image_msg(msg, shape_of(pixels), value_range)
        assert found.flags.c_contiguous and found.dtype == np.uint8
    assert len(np.unique(plain)) > 20
    short = message(encoding, pixels)
    short.data = short.data[:-1]
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError, match="bytes, but height 6 x step"):
            read(short, shape_of(pixels), value_range)


@pytest.mark.parametrize("colour", [(200, 30, 90), (0, 255, 0), (10, 20, 240)])
@pytest.mark.parametrize("layout", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_of_one_colour_becomes_that_colour(layout, colour):
    mosaic = np.array([colour["rgb".index(c)] for c in layout], np.uint8).reshape(2, 2)
    pixels = np.tile(mosaic, (HEIGHT // 2, WIDTH // 2))[..., None]
    image = image_from_msg(message(f"bayer_{layout}8", pixels), (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(image, np.broadcast_to(np.uint8(colour), image.shape))


@pytest.mark.parametrize(("encoding", "order"), [("yuv422", "uyvy"), ("yuv422_yuy2", "yuyv")])
@pytest.mark.parametrize(
    ("yuv", "rgb"), [((81, 90, 240), (255, 0, 0)), ((145, 54, 34), (0, 255, 0)), (
        (235, 128, 128), (255, 255, 255)), ((16, 128, 128), (0, 0, 0))])  # fmt: skip
def test_yuv_of_known_colours(encoding, order, yuv, rgb):
    """Source: ITU-R BT.601, studio range: primaries, white and black."""
    pair = np.array([yuv["yuv".index(c)] for c in order], np.uint8).reshape(1, 2, 2)
    pixels = np.tile(pair, (HEIGHT, WIDTH // 2, 1))
    image = image_from_msg(message(encoding, pixels), (HEIGHT, WIDTH, 3)).astype(int)
    assert np.abs(image - rgb).max() <= 2


def test_numbers_of_a_range_become_grey():
    mm = np.array([[0, 299, 300, 301, 1150, 1999, 2000, 65535]], np.uint16)
    grey = to_8_bits(mm, (300, 2000))
    assert grey.tolist() == [[0, 0, 0, 0, 128, 255, 255, 255]]  # 850 of 1700 is 127.5
    odd = [np.nan, np.inf, -np.inf, -3.4e38, 3.4e38, 0.3, 1.0, 2.0]
    with np.errstate(all="raise"):
        grey = to_8_bits(np.array(odd, np.float32), (0.3, 2.0))
    assert grey.tolist() == [0, 0, 0, 0, 255, 0, 105, 255]
    assert to_8_bits(np.arange(65536, dtype=np.uint16), (0, 65535))[[0, 257, 65535]].tolist() == [
        0, 1, 255]  # fmt: skip


@pytest.mark.parametrize("encoding", DEEP)
def test_more_than_8_bits_take_a_range(encoding):
    msg = message(encoding, random_pixels(encoding))
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError) as error:
            read(msg, (HEIGHT, WIDTH, 3), None, "image.depth")
        text = str(error.value)
        assert text.startswith("image.depth: range: found none, but image encoding")
        assert repr(encoding) in text and "as in range: [" in text


@pytest.mark.parametrize("encoding", sorted(set(ENCODINGS) - set(DEEP)))
def test_8_bits_take_no_range(encoding):
    msg = message(encoding, random_pixels(encoding))
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError, match=r"image.x: range: found \[0, 9\], but .* 8 bits"):
            read(msg, (HEIGHT, WIDTH, 3), (0, 9), "image.x")


@pytest.mark.parametrize("encoding", ["rgb16", "8UC3", "nv21", "RGB8", "32FC2", "bayer_rggb12"])
def test_an_encoding_that_is_not_read_names_those_that_are(encoding):
    msg = message("rgb8", random_pixels("rgb8"))
    msg.encoding = encoding
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError) as error:
            read(msg, (HEIGHT, WIDTH, 3))
        assert all(name in str(error.value) for name in (encoding, *ENCODINGS))


@pytest.mark.parametrize(
    ("encoding", "shape", "words"),
    [
        ("bayer_rggb8", (2, 8, 1), "a mosaic of 8 x 2 pixels, expected at least 3 x 3"),
        ("bayer_grbg8", (8, 2, 1), "a mosaic of 2 x 8 pixels, expected at least 3 x 3"),
        ("yuv422", (4, 5, 2), "yuv422 with an odd width, 5 pixels"),
        ("rgb8", (0, 0, 3), "an image of 0 x 0 pixels"),
        *((name, (0, 4, 2), "an image of 4 x 0 pixels") for name in YUV),
        *((name, (4, 0, 2), "an image of 0 x 4 pixels") for name in YUV),
    ],
)
def test_sizes_that_have_no_colours(encoding, shape, words):
    msg = message(encoding, np.zeros(shape, np.uint8))
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError, match=words):
            read(msg, (*shape[:2], 3))


def test_a_wrong_size_is_refused_before_the_pixels_are_converted():
    def never(*_):
        raise AssertionError("converted")

    msg = message("yuyv", random_pixels("yuyv"))
    with pytest.raises(SelectorError, match=r"shape \(6, 8, 3\), but the contract says \(6, 9"):
        image_from_msg(msg, (6, 9, 3), to_colours=never)


@pytest.mark.parametrize("encoding", YUV)
def test_what_opencv_refuses_is_an_unreadable_message(encoding):
    with pytest.raises(SelectorError, match=f"OpenCV: image encoding '{encoding}': .*cvtColor"):
        opencv_colours(np.zeros((0, 4, 2), np.uint8), ENCODINGS[encoding])


def png(pixels):
    file = io.BytesIO()
    PilImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


MM = np.array([[0, 300, 1150], [2000, 9000, 475]], np.uint16)
GREY = to_8_bits(MM, (300, 2000))
HEAD = struct.pack("<i2f", 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("16UC1; png compressed ", png(MM)),
        ("mono16; png compressed mono16", png(MM)),
        ("png", png(MM)),
        ("16UC1; compressedDepth png", HEAD + png(MM)),
        ("16UC1; compressedDepth", HEAD + png(MM)),
    ],
)
def test_compressed_numbers_become_grey(form, data):
    found = image_from_msg(Msg(format=form, data=data), (2, 3, 3), (300, 2000))
    np.testing.assert_array_equal(found, np.repeat(GREY[..., None], 3, 2))
    check_image_msg(Msg(format=form, data=data), (2, 3, 3), (300, 2000))


def test_compressed_depth_in_metres():
    """As compressed_depth_image_transport writes it; its error is half a step of 16 bits."""
    metres = np.linspace(0.2, 4.0, 6, dtype=np.float32).reshape(2, 3)
    quantum, most = 100.0, 10.0
    a = np.float32(quantum * (quantum + 1))
    b = np.float32(1 - a / most)
    inverse = (a / metres + b).astype(np.uint16)
    inverse[1, 1] = 0  # nothing was measured
    data = struct.pack("<i2f", 0, a, b) + png(inverse)
    msg = Msg(format="32FC1; compressedDepth png", data=data)
    found = image_from_msg(msg, (2, 3, 3), (0.2, 4.0))[..., 0].astype(int)
    expected = to_8_bits(metres, (0.2, 4.0)).astype(int)
    assert found[1, 1] == 0
    expected[1, 1] = 0
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        ("16UC1; compressedDepth png", b"short", "5 bytes as compressedDepth, expected a head"),
        ("16UC1; compressedDepth png", HEAD, "is no readable PNG"),
        ("16UC1; compressedDepth png", HEAD + png(GREY), "a PNG of 8 bits.*expected 16-bit grey"),
        ("16UC1; png", png(GREY), "a PNG of 8 bits.*expected 16-bit grey"),
        ("16UC1; compressedDepth rvl", HEAD + b"0", "'16UC1 as compressedDepth' .* is none of"),
        ("jpeg", png(GREY), r"image.d: range: found \[300, 2000\], but compressed image of 8-bit"),
    ],
)
def test_compressed_numbers_that_are_none(form, data, words):
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError, match=words):
            read(Msg(format=form, data=data), (2, 3, 3), (300, 2000), "image.d")


def test_opencv_is_loaded_when_a_picture_takes_it():
    program = (
        "import sys\nimport roboalign_policy.core.messages.images as images\n"
        "assert 'cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
