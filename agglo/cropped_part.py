"""Which part of a whole array a volume is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agglo.volumes import Volume
from agglo.volumes.crop import resolve_crop
from analysis.input_error import InputError


def origin_of(volume: Volume) -> tuple[int, ...]:
    """Return the first voxel of a volume in the array that its address crops."""
    return tuple(part.start for part in _window(volume)[1])


def require_same_part(volumes: Mapping[str, Volume]) -> None:
    """Refuse different parts of arrays of one shape: they show different tissue.

    A volume that is whole may be what was made of a part, so only cropped ones are compared.

    Args:
        volumes: by argument.

    Raises:
        InputError: where two are cropped differently out of arrays of one shape.
    """
    cropped = [(name, v, *_window(v)) for name, v in volumes.items() if v.address.crop]
    for name, volume, shape, window in cropped[1:]:
        first, other, other_shape, other_window = cropped[0]
        if shape == other_shape and window != other_window:
            raise InputError(
                f"{name} is {volume.address} and {first} is {other.address}, which are different "
                f"parts of two arrays of the same shape {shape}."
            )


def _window(volume: Volume) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """Return the shape of the whole array and the part of it that a volume is."""
    if not volume.address.crop:
        return volume.shape, tuple(slice(0, size) for size in volume.shape)
    with Volume.open(replace(volume.address, crop=()), volume.argument) as whole:
        shape = whole.shape
    return shape, resolve_crop(
        volume.address.crop, shape, argument=volume.argument, address=volume.address
    )
