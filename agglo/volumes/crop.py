"""The part of a volume that an address names: ``[z0:z1,y0:y1,x0:x1]`` at its end."""

from __future__ import annotations

import re
from typing import NamedTuple

from analysis.input_error import InputError

CROPPED = re.compile(r"(?P<rest>.+)\[(?P<crop>[^\[\]]*)\]", re.DOTALL)
"""An address that ends in a crop."""

_RANGE = re.compile(r"\s*(?P<begin>\d*)\s*:\s*(?P<end>\d*)\s*")


class CropRange(NamedTuple):
    """A half-open range of one axis; without an end it reaches to the end of the axis."""

    begin: int
    end: int | None

    def __str__(self) -> str:
        begin = "" if self.begin == 0 else self.begin
        return f"{begin}:{'' if self.end is None else self.end}"


Crop = tuple[CropRange, ...]
"""One range an axis, in the array's own order of axes; axes that are not named are whole."""


def parse_crop(text: str, *, argument: str, address: str) -> Crop:
    """Read the inside of the brackets, such as ``0:80,:,16:``.

    Raises:
        InputError: where a part is not ``begin:end`` with plain non-negative numbers.
    """
    crop: list[CropRange] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise InputError(
                f"{argument}: the crop [{text}] of {address} has the part {part.strip()!r}, "
                f"but each part must be begin:end with numbers counted from 0"
            )
        begin, end = found["begin"], found["end"]
        crop.append(CropRange(int(begin or 0), int(end) if end else None))
    return tuple(crop)


def crop_text(crop: Crop) -> str:
    """Write a crop as it stands at the end of an address; nothing for the whole."""
    return f"[{','.join(map(str, crop))}]" if crop else ""


def resolve_crop(
    crop: Crop, shape: tuple[int, ...], *, argument: str, address: object
) -> tuple[slice, ...]:
    """Turn a crop into one slice an axis of an array of this shape.

    Raises:
        InputError: where the crop has more axes than the array, leaves it, or is empty.
    """
    if len(crop) > len(shape):
        raise InputError(
            f"{argument}: {address} crops {len(crop)} axes of an array of shape {shape}"
        )
    window = [slice(0, size) for size in shape]
    for axis, (begin, stated_end) in enumerate(crop):
        end = shape[axis] if stated_end is None else stated_end
        if end > shape[axis] or begin >= end:
            seen = "is empty" if begin >= end and end <= shape[axis] else "leaves it"
            raise InputError(
                f"{argument}: the crop {begin}:{end} of {address} along axis {axis} {seen}: "
                f"the array has shape {shape}"
            )
        window[axis] = slice(begin, end)
    return tuple(window)
