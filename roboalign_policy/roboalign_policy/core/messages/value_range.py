"""Numbers of more than 8 bits to the 8 bits of a picture: depth, heat, raw sensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roboalign_policy.core.contract.path import SelectorError


def to_8_bits(numbers: np.ndarray, value_range: Sequence[float]) -> np.ndarray:
    """Map numbers linearly to 0 .. 255.

    Args:
        numbers: any shape, uint16 or float32, in the unit of the encoding: by convention mm of
            16UC1 and m of 32FC1.
        value_range: (low, high), which become 0 (black) and 255 (white). What lies outside is
            taken for the nearer end.

    Returns:
        uint8 of the same shape, rounded to the nearest. What is no number (NaN, plus or minus
        infinity: a pixel without a measurement) is 0, black.
    """
    low, high = np.float32(value_range[0]), np.float32(value_range[1])
    scaled = numbers.astype(np.float32)  # a copy; uint16 is exact in it
    if numbers.dtype.kind == "f":
        scaled[~np.isfinite(scaled)] = low
    np.clip(scaled, low, high, out=scaled)
    scaled -= low
    scaled *= np.float32(255.0 / (float(high) - float(low)))
    return np.rint(scaled, out=scaled).clip(0, 255).astype(np.uint8)


def check_range(
    value_range: Sequence[float] | None, bits: int, image: str, example: str, where: str
) -> None:
    """Refuse a picture of more than 8 bits without a range, and one of 8 bits with a range.

    Args:
        value_range: of the contract's stream, or None.
        bits: of a number of the picture.
        image: the picture, for the error.
        example: a range as it could be, with its unit.
        where: key of the stream; "" where there is none.

    Raises:
        SelectorError: naming the stream, `range` and an example.
    """
    at = f"{where}: range" if where else "range"
    if bits > 8 and value_range is None:
        raise SelectorError(
            f"{at}: found none, but {image} has {bits} bits a number, expected in the contract's "
            f"image stream the values that become black and white, as in {example}"
        )
    if bits == 8 and value_range is not None:
        raise SelectorError(
            f"{at}: found {list(value_range)}, but {image} has 8 bits a number, expected none: "
            "leave `range` out of the contract, or choose the topic of 16 bits or floats"
        )
