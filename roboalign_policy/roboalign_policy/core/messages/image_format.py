"""What the `format` of a CompressedImage says of its picture.

It is told by the kind of encoding, in any case and of any depth: what is refused is refused also
as `BAYER_RGGB12`, `BayerRG12p` or `Mono10Packed`. A mosaic of a Bayer filter in a JPEG decodes to
a grey picture like any other: nothing but this text tells it.
"""

from __future__ import annotations

import re
from enum import Enum

from roboalign_policy.core.contract.path import SelectorError

EIGHT_BITS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
"""Encodings of a JPEG or PNG of 8 bits. Source: sensor_msgs/image_encodings.hpp."""


class Content(Enum):
    """What is in the data of a CompressedImage."""

    COLOURS = "8-bit colour or grey"  # or not said: the file tells
    DEEP = "16-bit grey"  # a PNG of mono16 or 16UC1
    DEPTH_MM = "16UC1 as compressedDepth"
    DEPTH_M = "32FC1 as compressedDepth"


# "8UC3" is what OpenCV calls a colour picture.
_EIGHT_BITS = re.compile(r"(?:rgb|bgr)a?8|(?:mono|gr[ae]y|y)8|8uc[134]")
# Of ROS, OpenCV and, without "_", of cameras (GenICam's PFNC): a number of bits, "p" and "packed".
_ENCODING = re.compile(
    r"(?:(?:rgb|bgr)a?|mono|grey|gray|[yz])[0-9]+(?:p|packed|_packed)?|bayer\w*|"
    r"[0-9]+[usf]c[0-9]+|yuv\w*|yuyv|uyvy|yvyu|nv[0-9]+"
)
_BETWEEN = re.compile(r"[;,\s]+")
_DEPTH = "compresseddepth"
_DEPTHS = {"16UC1": Content.DEPTH_MM, "32FC1": Content.DEPTH_M}
_DEEP = ("mono16", "16UC1")


def content_of(form: str) -> Content:
    """Return what the `format` of a CompressedImage says is in it.

    Source: compressed_image_transport, which writes "ENCODING; jpeg compressed TARGET": what is in
    the file is the target, where there is one, else the encoding of the raw image; other drivers
    write "jpeg" or "ENCODING; png". compressed_depth_image_transport writes
    "ENCODING; compressedDepth CODEC", in older versions without the codec, which is PNG then.

    Raises:
        SelectorError: it is none of `Content`; names encoding and format.
    """
    words = [word for word in _BETWEEN.split(form) if word]
    lower = [word.lower() for word in words]
    encodings = [word for word in words if _ENCODING.fullmatch(word.lower())]
    if words[-2:-1] and lower[-2] == "compressed" and words[-1] in encodings:
        encodings = words[-1:]
    if _DEPTH in form.lower():
        codec = lower[lower.index(_DEPTH) + 1 :] if _DEPTH in lower else ["?"]
        if encodings[:1] and encodings[0] in _DEPTHS and codec in ([], ["png"]):
            return _DEPTHS[encodings[0]]
        refused = f"{encodings[0]} as compressedDepth" if encodings else "compressedDepth"
        expected = f"{', '.join(EIGHT_BITS)}, 16UC1 or 32FC1 as compressedDepth png"
        raise SelectorError(
            f"compressed image encoding {refused!r} (format {form!r}) is none of {expected}"
        )
    others = [e for e in encodings if not _EIGHT_BITS.fullmatch(e.lower())]
    if others and others[0] in _DEEP and not {"jpeg", "jpg"} & set(lower):
        return Content.DEEP
    if others:
        raise SelectorError(
            f"compressed image encoding {others[0]!r} (format {form!r}) is none of "
            f"{', '.join(EIGHT_BITS)}; as PNG {', '.join(_DEEP)}"
        )
    return Content.COLOURS
