"""`agglo segment`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.policy_file import load_policy
from agglo.progress import console
from agglo.segmentation import segment_volume


@dataclass(frozen=True)
class Command:
    """Apply a merge policy to a volume; write the segmentation and its merge tree.

    Example: agglo segment --policy run --image em.h5:raw --boundaries boundaries.zarr
    --superpixels superpixels.zarr --out segmentation.zarr
    """

    policy: str
    """run folder of a trained policy, or its policy.npz"""
    image: str
    """the image"""
    boundaries: str
    """its boundary map"""
    superpixels: str
    """its superpixels"""
    out: str
    """where the segmentation goes; the merge tree goes beside it"""
    threshold: float | None = None
    """lowest score that is merged, instead of the policy's own threshold; lower merges more"""
    baseline: bool = False
    """apply mean-boundary agglomeration instead, its threshold from the policy's training shards"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    overwrite: bool = False
    """replace outputs that exist"""
    seed: int = 0
    """unused: applying a policy draws nothing"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Segment."""
        policy = load_policy(self.policy)
        results = segment_volume(
            policy.baseline() if self.baseline else policy,
            self.image,
            self.boundaries,
            self.superpixels,
            self.out,
            threshold=self.threshold,
            voxel_size_nm=self.voxel_size_nm,
            overwrite=self.overwrite,
        )
        console.out(
            f"{results['n_superpixels']} superpixels became {results['n_segments']} segments "
            f"in {self.out}; merge tree in {results['merge_tree']}"
        )
        if self.json:
            write_json(self.json, results)
