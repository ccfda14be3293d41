"""What is counted over volumes block by block, so that they need not fit into memory.

All triples are z, y, x.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.evaluation_result import WarpingOptions
from agglo.volumes import Volume, require_volume
from analysis.contingency import Contingency, ContingencyCounter
from analysis.label_borders import drop_borders, interior_mask, membrane_mask
from analysis.warping_clusters import mismatch_clusters
from analysis.warping_error import segmentation_warping_error
from analysis.warping_types import Mismatch, WarpingResult

BLOCK_VOX = (128, 256, 256)
"""What is read at once: whole chunks of 64³, 67 MB of 64-bit labels."""

SECTION_VOX = 1 << 22
"""Voxels of the sections that are warped at once; one section is, however large."""

_PAGED = ("tiff", "slices")
"""Formats that are read by whole sections."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class VolumeCounts:
    """Pairs of segments and truth labels of whole volumes.

    Attributes:
        tables: contingency table of each proposal, by its argument.
        is_labelled: whether the truth has a label anywhere, near a border or not.
    """

    tables: dict[str, Contingency]
    is_labelled: bool


@dataclass(frozen=True, slots=True, eq=False)
class LabelWarping:
    """The warping error of all sections, and everything about the worst.

    Attributes:
        section_errors: (Z,) float64, remaining mismatches / pixels of each section.
        worst: the result in the section with the largest error alone.
        clusters: clusters of mismatches of each type, by its name, summed over the sections
            where they are what was warped.
    """

    section_errors: npt.NDArray[np.float64]
    worst: WarpingResult
    clusters: dict[str, int]

    @property
    def error(self) -> float:
        """Mean over sections."""
        return float(self.section_errors.mean())

    @property
    def worst_section(self) -> int:
        """The first section with the largest error."""
        return int(self.section_errors.argmax())


def count_volumes(
    proposals: Mapping[str, Volume],
    labels: Volume,
    *,
    border_tolerance: int = 0,
    in_plane: bool = False,
    ignore_zero: bool = False,
) -> VolumeCounts:
    """Count the pairs of segments and truth labels, reading every volume once, block by block.

    With a border tolerance the truth is read with a halo of as many voxels around each block,
    which gives the very table of the whole volume.

    Args:
        proposals: segmentations, by argument.
        labels: the truth, 0 = not counted.
        border_tolerance: drop truth voxels within so many voxels of a true border.
        in_plane: measure that within sections only.
        ignore_zero: drop voxels that a proposal leaves 0.

    Raises:
        InputError: a volume holds no labels.
    """
    counters = {
        name: ContingencyCounter(ignore_segmentation_zero=ignore_zero) for name in proposals
    }
    is_labelled = False
    for box in blocks_of([labels, *proposals.values()]):
        truth = _read_truth(labels, box, border_tolerance, in_plane)
        is_labelled = is_labelled or bool(truth.labelled)
        for name, volume in proposals.items():
            counters[name].add(read_labels(volume, box), truth.counted)
    return VolumeCounts({name: c.table() for name, c in counters.items()}, is_labelled)


def warp_labels(segmentation: Volume, labels: Volume, options: WarpingOptions) -> LabelWarping:
    """Warp the truth to a segmentation, in 3D, or a few sections in memory at a time.

    In sections, membranes between touching labels are widened by one pixel on each side; in 3D
    they are the voxels on both sides.

    Args:
        segmentation: the proposal.
        labels: the truth.
        options: how to warp; not `none`.
    """
    errors: list[npt.NDArray[np.float64]] = []
    counts = Counter({kind.name.lower(): 0 for kind in Mismatch if kind})
    worst: WarpingResult | None = None
    is_volume = options.unit == "volume"
    for box in [_whole(labels.shape)] if is_volume else sections_of(labels.shape):
        truth = read_labels(labels, box)
        interior = ~membrane_mask(truth) if is_volume else interior_mask(truth, widen_vox=1)
        result = segmentation_warping_error(
            read_labels(segmentation, box),
            truth,
            widen_vox=0 if is_volume else 1,
            foreground=options.foreground,
            mask=options.mask(interior),
        )
        errors.append(result.section_errors)
        wrong = np.flatnonzero(result.section_errors).tolist()
        for part in [result] if is_volume else (_section_of(result, z) for z in wrong):
            counts.update(mismatch_clusters(part).counts)
        z = int(result.section_errors.argmax())
        if worst is None or result.section_errors[z] > worst.error:
            worst = _section_of(result, z)
    assert worst is not None
    return LabelWarping(np.concatenate(errors), worst, dict(counts))


def sample_labels(
    volume: Volume, voxels: npt.NDArray[np.int64]
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Read a label volume at given voxels; only the blocks that hold one are read.

    Args:
        volume: of labels.
        voxels: (N, 3) int64, z, y, x of voxels inside the volume.

    Returns:
        (N,) uint64.
    """
    found = np.zeros(len(voxels), np.uint64)
    if not len(voxels):
        return found
    edge = (1, *volume.shape[1:]) if volume.address.format in _PAGED else (64, 64, 64)
    cells = voxels // np.array(edge)
    order = np.lexsort(cells.T[::-1])
    starts = np.flatnonzero(np.r_[True, (np.diff(cells[order], axis=0) != 0).any(axis=1)])
    for members in np.split(order, starts[1:]):
        low, high = voxels[members].min(axis=0), voxels[members].max(axis=0) + 1
        box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        found[members] = read_labels(volume, box)[tuple((voxels[members] - low).T)]
    return found


def blocks_of(volumes: Sequence[Volume]) -> Iterator[Box]:
    """Cut volumes of one shape into blocks; into sections where one is stored by sections."""
    shape = volumes[0].shape
    if any(volume.address.format in _PAGED for volume in volumes):
        yield from sections_of(shape)
        return
    starts = [range(0, size, edge) for size, edge in zip(shape, BLOCK_VOX, strict=True)]
    for corner in product(*starts):
        z, y, x = (
            slice(begin, min(begin + edge, size))
            for begin, edge, size in zip(corner, BLOCK_VOX, shape, strict=True)
        )
        yield z, y, x


def sections_of(shape: tuple[int, ...]) -> Iterator[Box]:
    """Cut a volume into slabs of a few whole sections."""
    n_z, n_y, n_x = shape
    thickness = _thickness(n_y, n_x)
    for begin in range(0, n_z, thickness):
        yield slice(begin, min(begin + thickness, n_z)), slice(0, n_y), slice(0, n_x)


def _whole(shape: tuple[int, ...]) -> Box:
    """Return the box that is all of a volume."""
    n_z, n_y, n_x = shape
    return slice(0, n_z), slice(0, n_y), slice(0, n_x)


def _section_of(result: WarpingResult, z: int) -> WarpingResult:
    """Copy one section out of a result, so that the rest need not be kept."""
    part = slice(z, z + 1)
    return WarpingResult(
        float(result.section_errors[z]),
        result.section_errors[part].copy(),
        result.warped[part].copy(),
        result.mismatches[part].copy(),
        result.foreground,
    )


def _thickness(n_y: int, n_x: int) -> int:
    """Return how many sections make a slab."""
    return max(SECTION_VOX // (n_y * n_x), 1)


def read_labels(volume: Volume, box: Box) -> npt.NDArray[np.uint64]:
    """Read a block of labels and check it.

    Raises:
        InputError: the block holds no labels.
    """
    return require_volume(volume[box], f"{volume.argument}: {volume.address}", "labels")


class Sections:
    """A volume as pictures read it, section by section: the slab read last is kept.

    Attributes:
        shape: of the volume.
    """

    def __init__(self, volume: Volume) -> None:
        self.shape = volume.shape
        self._volume = volume
        self._slab: npt.NDArray[Any] = np.empty(0)
        self._range = range(0)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        """Read a section, a part of one, or a few sections."""
        z, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(z, slice):
            return self._volume[key]
        if z not in self._range:
            n_z, n_y, n_x = self.shape
            thickness = _thickness(n_y, n_x)
            begin = int(z) // thickness * thickness
            self._range = range(begin, min(begin + thickness, n_z))
            self._slab = self._volume[begin : self._range.stop]
        return self._slab[(int(z) - self._range.start, *rest)]


def require_labels(volume: Volume) -> None:
    """Check shape and type of a label volume before it is read.

    Raises:
        InputError: they are not those of labels.
    """
    if len(volume.shape) != 3 or 0 in volume.shape or volume.dtype.kind not in "iu":
        require_volume(volume, volume.argument, "labels")


@dataclass(frozen=True, slots=True, eq=False)
class _Truth:
    """A block of the truth: what is counted of it, and whether it had labels before."""

    counted: npt.NDArray[np.unsignedinteger[Any]]
    labelled: bool


def _read_truth(labels: Volume, box: Box, border_tolerance: int, in_plane: bool) -> _Truth:
    """Read a block of the truth without what lies near its borders."""
    if not border_tolerance:
        block = read_labels(labels, box)
        return _Truth(block, bool(block.any()))
    halo = (0 if in_plane else border_tolerance, border_tolerance, border_tolerance)
    outer: list[slice] = []
    inner: list[slice] = []
    for part, width, size in zip(box, halo, labels.shape, strict=True):
        begin = max(part.start - width, 0)
        outer.append(slice(begin, min(part.stop + width, size)))
        inner.append(slice(part.start - begin, part.stop - begin))
    block = read_labels(labels, (outer[0], outer[1], outer[2]))
    within = tuple(inner)
    counted = drop_borders(block, border_tolerance, in_plane=in_plane)[within]
    return _Truth(counted, bool(block[within].any()))
