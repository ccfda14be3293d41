"""The pairs of label volumes that numbers are compared on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer]

DATA = Path(__file__).parents[2].parent / "shared" / "data"
"""Where the data sets lie, unless said otherwise."""

PAIRS: tuple[tuple[str, str, str], ...] = (
    # file, truth, proposal; a proposal that is the truth is cut up and merged by `spoiled`
    ("fib25_medulla/train.h5", "gt", "superpixels"),
    ("fib25_medulla/train.h5", "gt", "superpixels_merged"),
    ("fib25_medulla/train.h5", "gt", "ffn"),
    ("gala_fib/train.h5", "gt", "superpixels"),
    ("gala_fib/tinyfib.h5", "gt", "superpixels"),
    ("gala_fib/tinyfib.h5", "gt", "superpixels2d"),
    ("snemi_mini/train.h5", "gt", "superpixels2d"),
    ("isbi2012_membrane/train.h5", "segments2d", "segments2d"),
    ("vnc_sstem/train.h5", "segments2d", "segments2d"),
    ("vnc_sstem/train.h5", "synapse_instances", "synapse_instances"),
    ("pinky40_labels/labels_train.h5", "labels", "labels"),
)


def pairs(data: Path) -> Iterator[tuple[str, Labels, Labels]]:
    """Read every pair that is there; yield its name, the proposal and the truth."""
    for file, truth, proposal in PAIRS:
        path = data / file
        if not path.exists():
            continue
        with h5py.File(path) as volume:
            labels = np.asarray(volume[truth])
            segmentation = np.asarray(volume[proposal])
        if proposal == truth:
            segmentation = spoiled(labels)
        yield f"{file}: {truth}, {proposal}", segmentation, labels


def spoiled(labels: Labels) -> Labels:
    """Make a proposal of a truth: cut along x, joined where labels are equal modulo a prime."""
    n_x = labels.shape[-1]
    side = (np.arange(n_x) > n_x // 2).astype(labels.dtype)
    return np.where(labels == 0, labels, 1 + labels % 97 + 97 * side).astype(labels.dtype)


def tiled(labels: Labels, edge: int) -> Labels:
    """Repeat a volume into a cube; labels of different tiles are different."""
    counts = [-(-edge // n) for n in labels.shape]
    largest = int(labels.max()) + 1
    cube = np.empty((edge, edge, edge), np.int32)
    n_y, n_x = counts[1], counts[2]
    for z, y, x in np.ndindex(*counts):
        begin = [i * n for i, n in zip((z, y, x), labels.shape, strict=True)]
        part = tuple(slice(b, min(b + n, edge)) for b, n in zip(begin, labels.shape, strict=True))
        size = tuple(slice(0, p.stop - p.start) for p in part)
        shift = largest * ((z * n_y + y) * n_x + x)
        tile = labels[size]
        cube[part] = np.where(tile == 0, 0, tile + shift)
    return cube
