"""Image messages to rgb arrays: encodings, padding, compression, damage."""

from __future__ import annotations

import array
import io
import re
import struct
import zlib
from types import SimpleNamespace as Msg

import numpy as np
import pytest
from PIL import Image as PilImage

from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.images import check_image_msg, image_from_msg

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def image(encoding, pixels, pad=0):
    rows = pixels.reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, pad)), constant_values=99)
    return Msg(
        encoding=encoding,
        height=pixels.shape[0],
        width=pixels.shape[1],
        step=padded.shape[1],
        data=array.array("B", padded.tobytes()),
    )


ALPHA = np.full((2, 3, 1), 7, np.uint8)


@pytest.mark.parametrize("pad", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], 2)),
        ("bgra8", np.concatenate([RGB[..., ::-1], ALPHA], 2)),
    ],
)
def test_image_encodings_become_rgb(encoding, pixels, pad):
    result = image_from_msg(image(encoding, pixels, pad), (2, 3, 3))
    np.testing.assert_array_equal(result, RGB)
    assert result.dtype == np.uint8 and result.flags.c_contiguous


def test_mono_is_repeated():
    result = image_from_msg(image("mono8", RGB[..., :1], 1), (2, 3, 3))
    np.testing.assert_array_equal(result, np.repeat(RGB[..., :1], 3, 2))


def test_rgb8_is_a_view_of_the_message():
    msg = image("rgb8", RGB)
    assert np.shares_memory(image_from_msg(msg, (2, 3, 3)), np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "8UC3"}, "'8UC3' is none of rgb8, bgr8"),
        ({"step": 8}, "step 8 is less than a row of 3 pixels of 3 bytes"),
        ({"data": b"123"}, "3 bytes, but height 2 x step 9 is 18"),
        ({"height": 1, "step": 18}, r"shape \(1, 3, 3\), but the contract says \(2, 3, 3\)"),
    ],
)
def test_image_that_does_not_fit(changes, words):
    msg = image("rgb8", RGB)
    vars(msg).update(changes)
    with pytest.raises(SelectorError, match=words):
        image_from_msg(msg, (2, 3, 3))


def png(pixels):
    file = io.BytesIO()
    PilImage.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def png16(shape):
    """A PNG of 16 bits a channel, written by hand: Pillow writes none of colours."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, channels = shape
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = (b"\0" + bytes(range(2 * channels)) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + (
        chunk(b"IEND", b""))  # fmt: skip


GREY = np.arange(6, dtype=np.uint8).reshape(2, 3)
DEPTH = np.full((2, 3), 1500, np.uint16)


@pytest.mark.parametrize(
    ("form", "data", "encoding"),
    [
        ("16UC1; jpeg compressed ", png(GREY), "'16UC1'"),
        ("16UC1; jpeg", png(GREY), "'16UC1'"),
        ("bayer_rggb8; jpeg compressed ", png(GREY), "'bayer_rggb8'"),
        ("bayer_gbrg16; png compressed bayer_gbrg16", png(GREY), "'bayer_gbrg16'"),
        ("rgb16; png compressed rgb16", png(RGB), "'rgb16'"),
        ("bayer_rggb12; jpeg", png(GREY), "'bayer_rggb12'"),
        ("BAYER_RGGB8; jpeg compressed ", png(GREY), "'BAYER_RGGB8'"),
        ("rgb8; jpeg compressed bayer_grbg10", png(GREY), "'bayer_grbg10'"),
        ("bayer_bggr8 png", png(GREY), "'bayer_bggr8'"),
        ("jpeg; Bayer_GBRG8", png(GREY), "'Bayer_GBRG8'"),
        ("BayerRG12p; jpeg", png(GREY), "'BayerRG12p'"),
        ("bayer; jpeg", png(GREY), "'bayer'"),
        ("MONO16; png", png(GREY), "'MONO16'"),
        ("Mono10Packed; png", png(GREY), "'Mono10Packed'"),
        ("mono12; png compressed ", png(GREY), "'mono12'"),
        ("RGB10; png", png(RGB), "'RGB10'"),
        ("16uc3; png", png(RGB), "'16uc3'"),
        ("Y16; png", png(GREY), "'Y16'"),
        ("YUV422_YUY2; jpeg", png(RGB), "'YUV422_YUY2'"),
        ("32FC1; compressedDepth rvl", b"0123456789ab", "'32FC1 as compressedDepth'"),
        ("16UC1; compressedDepth rvl", b"0123456789ab", "'16UC1 as compressedDepth'"),
        ("mono8; compressedDepth png", b"0123456789ab", "'mono8 as compressedDepth'"),
        ("compressedDepth", png(DEPTH), "'compressedDepth'"),
        ("yuv422_yuy2; png", png(GREY), "'yuv422_yuy2'"),
        ("16SC1", png(GREY), "'16SC1'"),
    ],
)
def test_compressed_images_of_other_encodings_are_refused_as_raw_ones_are(form, data, encoding):
    msg = Msg(format=form, data=data)
    words = rf"encoding {re.escape(encoding)} \(format {re.escape(repr(form))}\) is none of rgb8"
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError, match=words):
            read(msg, (2, 3, 3))


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("16UC1; png compressed ", png(DEPTH)),
        ("mono16; png compressed mono16", png(DEPTH)),
        ("32FC1; compressedDepth", b"0123456789ab" + png(DEPTH)),
        ("16UC1; compressedDepth png", b"0123456789ab" + png(DEPTH)),
    ],
)
def test_compressed_images_of_more_than_8_bits_take_a_range(form, data):
    msg = Msg(format=form, data=data)
    words = rf"image.depth: range: found none.*format {re.escape(repr(form))}.*as in range: \["
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError, match=words):
            read(msg, (2, 3, 3), None, "image.depth")


@pytest.mark.parametrize("data", [png(DEPTH), *(png16((2, 3, n)) for n in (1, 2, 3, 4))])
@pytest.mark.parametrize("form", ["png", "", "rgb8; png compressed bgr8"])
def test_a_png_of_16_bits_is_refused_whatever_its_format_says(data, form):
    for read in (image_from_msg, check_image_msg):
        with pytest.raises(SelectorError, match="a PNG of 16 bits a channel, expected 8-bit"):
            read(Msg(format=form, data=data), (2, 3, 3))


@pytest.mark.parametrize(
    "form",
    [
        *("", "png", "PNG", "jpeg", "image/png", "rgb8; jpeg compressed bgr8", "mono8; png"),
        *("rgb8; png compressed ", "bgra8;png compressed", "8UC3; jpeg compressed ", "camera 1"),
        # What the publisher has brought to 8-bit colour is a picture, whatever it was before.
        *("rgb16; jpeg compressed bgr8", "bayer_rggb8; jpeg compressed bgr8"),
        *("BAYER_RGGB12; JPEG compressed BGR8", "RGB8; jpeg", "Mono8; png", "8uc3; png"),
        *("gray8; png", "GREY8; jpeg compressed gray8", "y8; jpeg", "Y8; png"),
    ],
)
def test_8_bit_pictures_are_read_whatever_their_format_is_called(form):
    msg = Msg(format=form, data=png(RGB))
    np.testing.assert_array_equal(image_from_msg(msg, (2, 3, 3)), RGB)
    check_image_msg(msg, (2, 3, 3))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "LA"])
def test_compressed_png(mode):
    file = io.BytesIO()
    PilImage.fromarray(RGB).convert(mode).save(file, "PNG")
    result = image_from_msg(Msg(format="png", data=file.getvalue()), (2, 3, 3))
    expected = np.asarray(PilImage.fromarray(RGB).convert(mode).convert("RGB"))
    np.testing.assert_array_equal(result, expected)
    assert result.flags.c_contiguous and result.dtype == np.uint8


def test_compressed_jpeg_is_close():
    picture = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    file = io.BytesIO()
    PilImage.fromarray(picture).save(file, "JPEG", quality=95)
    data = array.array("B", file.getvalue())
    result = image_from_msg(Msg(format="jpeg", data=data), (16, 16, 3))
    assert np.abs(result.astype(int) - picture).max() < 6


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"0" * 30])
def test_compressed_image_that_is_damaged(data):
    with pytest.raises(SelectorError, match=f"{len(data)} bytes is no readable JPEG or PNG"):
        image_from_msg(Msg(format="png", data=data), (2, 3, 3))


def test_truncated_jpeg_is_refused():
    file = io.BytesIO()
    PilImage.effect_noise((64, 64), 50).convert("RGB").save(file, "JPEG")
    with pytest.raises(SelectorError, match="no readable JPEG"):
        image_from_msg(Msg(format="jpeg", data=file.getvalue()[:-400]), (64, 64, 3))
