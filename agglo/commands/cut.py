"""`agglo cut`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.progress import console
from agglo.tree_cut import cut_tree


@dataclass(frozen=True)
class Command:
    """Cut a merge tree at another threshold and write that segmentation, without agglomerating.

    Example: agglo cut --superpixels segmentation.zarr:superpixels
    --merge-tree segmentation.merge_tree.npz --threshold 1.5 --out careful.zarr
    """

    superpixels: str
    """the superpixels that were agglomerated"""
    merge_tree: str
    """the merge tree that agglo segment wrote beside its segmentation, a file or a folder"""
    threshold: float
    """lowest score that is merged; lower merges more"""
    out: str
    """where the segmentation goes"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the file states none"""
    overwrite: bool = False
    """replace an output that exists"""
    seed: int = 0
    """unused: a cut draws nothing"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Cut."""
        results = cut_tree(
            self.superpixels,
            self.merge_tree,
            self.out,
            threshold=self.threshold,
            voxel_size_nm=self.voxel_size_nm,
            overwrite=self.overwrite,
        )
        console.out(
            f"{results['n_superpixels']} superpixels became {results['n_segments']} segments "
            f"in {self.out}"
        )
        if self.json:
            write_json(self.json, results)
