"""A digest by which a volume is known again."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from predict.image_normalisation import Sliceable

FINGERPRINT_SECTIONS = 16
"""So many sections of a volume, at equal distances, go into its fingerprint."""


def fingerprint(volume: Sliceable) -> str:
    """Return a digest of shape, type and some sections of a volume, to know it again.

    Args:
        volume: (z, y, x) or (c, z, y, x), anything that can be sliced.
    """
    *before, depth, height, width = volume.shape
    extents = " ".join(map(str, volume.shape))
    digest = hashlib.sha256(f"{volume.dtype.kind} {extents}".encode())
    sections = np.linspace(0, depth - 1, min(depth, FINGERPRINT_SECTIONS)).round().astype(int)
    for z in sections.tolist():
        channels = [slice(0, extent) for extent in before]
        box: Any = (*channels, slice(z, z + 1), slice(0, height), slice(0, width))
        section = np.asarray(volume[box])
        digest.update(np.ascontiguousarray(section.astype(section.dtype.newbyteorder("<"))).data)
    return digest.hexdigest()
