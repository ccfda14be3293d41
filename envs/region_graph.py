"""The region adjacency graph of a superpixel volume and its additive statistics.

All triples are z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError
from envs import statistics as st
from envs.quantise import quantise_boundaries, quantise_image
from envs.voxel_sums import BIN_OF_VALUE, sum_contacts, sum_regions


@dataclass(frozen=True, slots=True)
class RegionGraph:
    """Regions, their contacts, and the sums that describe both.

    Attributes:
        ids: (R,) uint64, superpixel id of each region, ascending; never 0.
        regions: (R, N_REGION_STATISTICS) int64, columns of `envs.statistics`.
        edges: (E, 2) int32, indices into `ids`, u < v, in lexicographic order. Their order is the
            strict order of ties of the merge rule.
        contacts: (E, N_CONTACT_STATISTICS) int64, columns of `envs.statistics`.
        voxel_size_nm: edge lengths of a voxel.
    """

    ids: npt.NDArray[np.uint64]
    regions: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int32]
    contacts: npt.NDArray[np.int64]
    voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.regions.shape != (len(self.ids), st.N_REGION_STATISTICS):
            raise ValueError(f"regions has shape {self.regions.shape} for {len(self.ids)} ids")
        if self.contacts.shape != (len(self.edges), st.N_CONTACT_STATISTICS):
            raise ValueError(f"contacts has shape {self.contacts.shape}, edges {self.edges.shape}")
        if len(self.edges) and not (
            (self.edges[:, 0] < self.edges[:, 1]).all()
            and self.edges.min() >= 0
            and self.edges.max() < len(self.ids)
        ):
            raise ValueError("edges must be pairs u < v of region indices")

    @property
    def n_regions(self) -> int:
        """Return the number of regions."""
        return len(self.ids)

    @property
    def n_edges(self) -> int:
        """Return the number of contacts."""
        return len(self.edges)


def dense_labels(
    labels: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """Number the non-zero ids of a label volume 0, 1, … in ascending order.

    Args:
        labels: any shape, integer, 0 = none.

    Returns:
        ids (R,) uint64, and for every voxel the index of its id, −1 where the label is 0.
    """
    flat = labels.reshape(-1)
    if flat.size == 0:
        return np.empty(0, np.uint64), np.empty(labels.shape, np.int32)
    if labels.dtype.kind == "i" and flat.min() < 0:
        raise InputError(f"superpixels must not be negative; seen {flat.min()}")
    highest = int(flat.max())
    if highest < 8 * flat.size + 1024:
        present = np.zeros(highest + 1, np.bool_)
        present[flat] = True
        present[0] = False
        ids = np.flatnonzero(present)
        index = np.full(highest + 1, -1, np.int32)
        index[ids] = np.arange(len(ids), dtype=np.int32)
        return ids.astype(np.uint64), index[flat].reshape(labels.shape)
    ids, inverse = np.unique(flat, return_inverse=True)
    dense = inverse.astype(np.int32)
    if ids[0] == 0:
        return ids[1:].astype(np.uint64), (dense - 1).reshape(labels.shape)
    return ids.astype(np.uint64), dense.reshape(labels.shape)


def build_region_graph(
    superpixels: npt.NDArray[np.integer],
    image: npt.NDArray,
    boundaries: npt.NDArray,
    *,
    voxel_size_nm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    origin_vox: tuple[int, int, int] = (0, 0, 0),
) -> RegionGraph:
    """Build the region adjacency graph over voxel faces, with all statistics.

    Args:
        superpixels: (z, y, x) integer, 0 = none (such voxels touch nothing).
        image: (z, y, x) grey values, see `envs.quantise.quantise_image`.
        boundaries: (z, y, x) boundary map, see `envs.quantise.quantise_boundaries`.
        voxel_size_nm: edge lengths of a voxel.
        origin_vox: position of the array's first voxel, added to all positions.

    Raises:
        InputError: where shapes differ, superpixels are not integer, or nothing is labelled.
    """
    if superpixels.dtype.kind not in "ui":
        raise InputError(f"superpixels must be integer labels, not {superpixels.dtype}")
    for name, array in (("image", image), ("boundaries", boundaries)):
        if array.shape != superpixels.shape:
            raise InputError(
                f"{name} has shape {array.shape} but superpixels has shape {superpixels.shape}"
            )
    ids, dense = dense_labels(superpixels)
    if len(ids) == 0:
        raise InputError(f"superpixels of shape {superpixels.shape} hold no region, only label 0")
    dense = _read_only(dense)
    grey, probability = (
        _read_only(quantise_image(image)),
        _read_only(quantise_boundaries(boundaries)),
    )
    origin = np.array(origin_vox, np.int64)
    regions = np.zeros((len(ids), st.N_REGION_STATISTICS), np.int64)
    sum_regions(dense, grey, probability, origin, BIN_OF_VALUE, regions)
    keys, contacts = sum_contacts(dense, grey, probability, origin, BIN_OF_VALUE, len(ids))
    order = np.argsort(keys)
    keys, contacts = keys[order], contacts[order]
    edges = np.stack([keys // len(ids), keys % len(ids)], axis=1).astype(np.int32)
    for end in (0, 1):
        np.add.at(regions[:, st.SURFACE], edges[:, end], contacts[:, st.AREA])
    return RegionGraph(ids, regions, edges, contacts, voxel_size_nm)


def _read_only(array: npt.NDArray) -> npt.NDArray:
    """Return a contiguous view that the kernels compile for once, wherever it comes from."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
