"""What the `format` of a CompressedImage says of its picture: colour or grey of 8 bits, or not.

It is told by the kind of encoding, in any case and of any depth: what is refused is refused also
as `BAYER_RGGB12`, `BayerRG12p` or `Mono10Packed`. A mosaic of a Bayer filter in a JPEG decodes to
a grey picture like any other: nothing but this text tells it.
"""

from __future__ import annotations

import re

from roboalign_policy.core.contract.path import SelectorError

ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8")
"""Those that are read. Source: sensor_msgs/image_encodings.hpp."""

# "8UC3" is what OpenCV calls a colour picture.
_EIGHT_BITS = re.compile(r"(?:rgb|bgr)a?8|(?:mono|gr[ae]y|y)8|8uc[134]")
# Of ROS, OpenCV and, without "_", of cameras (GenICam's PFNC): a number of bits, "p" and "packed".
_ENCODING = re.compile(
    r"(?:(?:rgb|bgr)a?|mono|grey|gray|[yz])[0-9]+(?:p|packed|_packed)?|bayer\w*|"
    r"[0-9]+[usf]c[0-9]+|yuv\w*|yuyv|uyvy|yvyu|nv[0-9]+"
)
_BETWEEN = re.compile(r"[;,\s]+")


def check_format(form: str) -> None:
    """Refuse what the `format` of a CompressedImage says is no 8-bit colour or grey picture.

    Source: compressed_image_transport, which writes "ENCODING; jpeg compressed TARGET": what is in
    the file is the target, where there is one, else the encoding of the raw image; other drivers
    write "jpeg", "ENCODING; png" or "ENCODING; compressedDepth".

    Raises:
        SelectorError: naming encoding and format.
    """
    words = [word for word in _BETWEEN.split(form) if word]
    encodings = [word for word in words if _ENCODING.fullmatch(word.lower())]
    if words[-2:-1] and words[-2].lower() == "compressed" and words[-1] in encodings:
        encodings = words[-1:]
    refused = next((e for e in encodings if not _EIGHT_BITS.fullmatch(e.lower())), None)
    if "compresseddepth" in form.lower():
        refused = f"{encodings[0]} as compressedDepth" if encodings else "compressedDepth"
    if refused is not None:
        raise SelectorError(
            f"compressed image encoding {refused!r} (format {form!r}) is none of "
            f"{', '.join(ENCODINGS)}"
        )
