"""A digest by which a volume is known again."""

from __future__ import annotations

import hashlib

import numpy as np

from predict.image_normalisation import Sliceable

FINGERPRINT_SECTIONS = 16
"""So many sections of a volume, at equal distances, go into its fingerprint."""


def fingerprint(volume: Sliceable) -> str:
    """Return a digest of shape, type and some sections of a volume, to know it again.

    Args:
        volume: (z, y, x), anything that can be sliced.
    """
    depth, height, width = volume.shape
    digest = hashlib.sha256(f"{volume.dtype.kind} {depth} {height} {width}".encode())
    sections = np.linspace(0, depth - 1, min(depth, FINGERPRINT_SECTIONS)).round().astype(int)
    for z in sections.tolist():
        section = np.asarray(volume[z : z + 1, 0:height, 0:width])
        digest.update(np.ascontiguousarray(section.astype(section.dtype.newbyteorder("<"))).data)
    return digest.hexdigest()
