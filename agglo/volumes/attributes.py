"""What is written beside an array: numbers, strings and lists of them, the same in every format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from agglo.volumes.ome_metadata import OME_KEYS

CHANNELS_OF = "channels_of"
"""Attribute of channels that names what made them: the digest of a dictionary or of a model."""

_RESERVED = (*OME_KEYS, "voxel_size_nm", "resolution", "element_size_um")


def name_of_maker(made_by: str) -> str:
    """Return the value of `CHANNELS_OF` for a sentence: of a digest the first twelve digits."""
    is_digest = re.fullmatch("[0-9a-f]{32,}", made_by) is not None
    return made_by[:12] if is_digest else made_by


def plain_value(value: object) -> object:
    """Return a stored attribute as plain Python: numbers, strings and lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Check attributes that are to be written, and return them as plain Python.

    Raises:
        ValueError: where a value is not a number, a string or a list of one of the two, or a
            name has a meaning of its own in a volume.
    """
    plain = {name: plain_value(value) for name, value in attributes.items()}
    for name, value in plain.items():
        parts = value if isinstance(value, list | tuple) else [value]
        is_text = {isinstance(part, str) for part in parts}
        if len(is_text) > 1 or not all(isinstance(p, bool | int | float | str) for p in parts):
            raise ValueError(f"attribute {name} = {value!r} is no number, string or list of them")
        if name in _RESERVED:
            raise ValueError(f"attribute {name} has a meaning of its own in a volume")
    return plain
