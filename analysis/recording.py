"""The recording of an episode of merges: what was merged when, what it did, how it looks.

All triples are z, y, x. Merges are counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError

VoxelSize = tuple[float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A rectangle of one section of the volume.

    Attributes:
        section: z of the section.
        corner_vox: (y, x) of the first pixel in the section.
        image: (y, x), any real dtype.
        boundaries: (y, x) float32 in [0, 1], 1 = boundary.
        superpixels: (y, x) int32, index of the superpixel among the recording's ids, −1 = none.
        truth: (y, x) uint64, 0 = not known; None where no truth was given.
    """

    section: int
    corner_vox: tuple[int, int]
    image: npt.NDArray[np.number]
    boundaries: npt.NDArray[np.float32]
    superpixels: npt.NDArray[np.int32]
    truth: npt.NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        arrays = {"image": (self.image, "biuf"), "boundaries": (self.boundaries, "f")}
        arrays |= {"superpixels": (self.superpixels, "i")}
        if self.truth is not None:
            arrays["truth"] = (self.truth, "u")
        for name, (array, kinds) in arrays.items():
            if array.ndim != 2 or array.size == 0 or array.shape != self.image.shape:
                raise InputError(
                    f"the {name} of a view must be (y, x) like its image of shape "
                    f"{self.image.shape}, but its shape is {array.shape}."
                )
            if array.dtype.kind not in kinds:
                raise InputError(f"the {name} of a view must not be of dtype {array.dtype}.")
        low, high = self.boundaries.min(), self.boundaries.max()
        if not 0 <= low <= high <= 1:
            raise InputError(
                f"the boundaries of a view must lie in [0, 1], but reach from {low} to {high}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Gains:
    """What the merges of an episode did to the error.

    Voxels without a truth label or without a superpixel are not counted.

    Attributes:
        vi: (M,) float64, bits by which variation of information fell at each merge.
        rand: (M,) float64, by which the Rand index rose.
        counted_vox: (R,) int64, counted voxels of every superpixel.
        start_vi_split: H(superpixels | truth) in bits.
        start_vi_merge: H(truth | superpixels) in bits.
        start_rand_index: Rand index of the superpixels.
    """

    vi: npt.NDArray[np.float64]
    rand: npt.NDArray[np.float64]
    counted_vox: npt.NDArray[np.int64]
    start_vi_split: float
    start_vi_merge: float
    start_rand_index: float

    def __post_init__(self) -> None:
        if self.vi.ndim != 1 or self.vi.shape != self.rand.shape:
            raise InputError(
                f"gains of VI and Rand index must be as many, but have the shapes "
                f"{self.vi.shape} and {self.rand.shape}."
            )
        starts = (self.start_vi_split, self.start_vi_merge, self.start_rand_index)
        if not (np.isfinite(self.vi).all() and np.isfinite([*self.rand, *starts]).all()):
            raise InputError("gains and start errors must be finite, but are not.")
        if self.counted_vox.ndim != 1 or (self.counted_vox < 0).any() or not self.counted_vox.any():
            raise InputError("counted_vox must be (R,) numbers of voxels, not all of them 0.")


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """An episode: every merge until nothing touches, and where the policy would have stopped.

    Attributes:
        policy: what chose the merges, for titles.
        ids: (R,) uint64, superpixel ids, ascending.
        sizes_vox: (R,) int64, their voxels.
        merges: (M, 2) int32, smallest member (index into `ids`) of each of the two clusters merged,
            the smaller one first.
        heights: (M,) float64, keys at which they merged, never increasing.
        threshold: key below which the policy does not merge.
        places_vox: (M, 3) float64, where each merge lies: the centre of the largest contact of two
            superpixels between the clusters.
        contact_faces: (M,) int64, voxel faces between the two clusters.
        view: a whole section.
        close_ups: views around single merges, by the number of the merge.
        gains: what the merges did to the error; None where no truth was given.
        voxel_size_nm: edges of a voxel, None where not known.
    """

    policy: str
    ids: npt.NDArray[np.uint64]
    sizes_vox: npt.NDArray[np.int64]
    merges: npt.NDArray[np.int32]
    heights: npt.NDArray[np.float64]
    threshold: float
    places_vox: npt.NDArray[np.float64]
    contact_faces: npt.NDArray[np.int64]
    view: View
    close_ups: Mapping[int, View]
    gains: Gains | None
    voxel_size_nm: VoxelSize | None

    def __post_init__(self) -> None:
        n_regions, n_merges = len(self.ids), len(self.merges)
        expected: dict[str, tuple[tuple[int, ...], str]] = {
            "ids": ((n_regions,), "u"),
            "sizes_vox": ((n_regions,), "i"),
            "merges": ((n_merges, 2), "i"),
            "heights": ((n_merges,), "f"),
            "places_vox": ((n_merges, 3), "f"),
            "contact_faces": ((n_merges,), "i"),
        }
        for name, (shape, kind) in expected.items():
            seen = getattr(self, name)
            if seen.shape != shape or seen.dtype.kind != kind:
                raise InputError(
                    f"{name} must have the shape {shape} and kind of dtype {kind!r}, but has "
                    f"{seen.shape} and {seen.dtype}."
                )
        if n_regions == 0 or (self.ids[1:] <= self.ids[:-1]).any() or self.ids[0] == 0:
            raise InputError("ids must be positive and ascend without repetition, but do not.")
        if not all(np.isfinite(a).all() for a in (self.heights, self.threshold, self.places_vox)):
            raise InputError("heights, threshold and places_vox must be finite, but are not.")
        if (np.diff(self.heights) > 0).any():
            raise InputError("heights must never increase along the merges, but do.")
        if not _is_tree(self.merges, n_regions):
            raise InputError(
                f"merges must join two present clusters of {n_regions} each, named by their "
                f"smallest members, but do not."
            )
        for view in (self.view, *self.close_ups.values()):
            if view.superpixels.min() < -1 or view.superpixels.max() >= n_regions:
                raise InputError(f"superpixels of a view must be indices of {n_regions} ids.")
            if (view.truth is None) != (self.gains is None):
                raise InputError("views must have truth just where the episode has gains.")
        if not all(0 <= merge < n_merges for merge in self.close_ups):
            raise InputError(f"close_ups must be of the merges 0 … {n_merges - 1}, but are not.")
        if self.gains is not None and (
            len(self.gains.vi) != n_merges or len(self.gains.counted_vox) != n_regions
        ):
            raise InputError(
                f"gains must be of {n_merges} merges and {n_regions} superpixels, but are of "
                f"{len(self.gains.vi)} and {len(self.gains.counted_vox)}."
            )

    @property
    def n_merges(self) -> int:
        """Return how many merges there are down to the last contact."""
        return len(self.merges)

    @property
    def n_policy_merges(self) -> int:
        """Return how many merges the policy makes before it stops."""
        return self.n_merges_at(self.threshold)

    def n_merges_at(self, threshold: float) -> int:
        """Return how many merges have a key of at least a threshold."""
        return int(np.searchsorted(-self.heights, -threshold, side="right"))


def _is_tree(merges: npt.NDArray[np.int32], n_regions: int) -> bool:
    """Tell whether every merge joins two smallest members that are still smallest members."""
    u, v = merges.T.astype(np.int64)
    if (u < 0).any() or (u >= v).any() or (v >= n_regions).any():
        return False
    gone_at = np.full(n_regions, len(merges))
    gone_at[v] = np.arange(len(merges))
    return bool(np.unique(v).size == v.size and (gone_at[u] > np.arange(len(merges))).all())
