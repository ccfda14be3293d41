"""`agglo superpixels`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.progress import console
from agglo.superpixels import make_superpixels
from predict.watershed import WatershedConfig


@dataclass(frozen=True)
class Command:
    """Cut a boundary map into superpixels by a seeded watershed.

    Example: agglo superpixels --boundaries boundaries.zarr --out superpixels.zarr
    """

    boundaries: str
    """boundary map, 1 = boundary"""
    out: str
    """where the superpixels go"""
    watershed: WatershedConfig = field(default_factory=WatershedConfig)
    """parameters of the watershed"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the file states none"""
    overwrite: bool = False
    """replace an output that exists"""
    seed: int = 0
    """unused: the watershed draws nothing"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Make and write the superpixels."""
        results = make_superpixels(
            self.boundaries,
            self.out,
            self.watershed,
            voxel_size_nm=self.voxel_size_nm,
            overwrite=self.overwrite,
        )
        console.out(
            f"{results['n_superpixels']} superpixels, median {results['median_size_vox']:.0f} "
            f"voxels, in {self.out}"
        )
        if self.json:
            write_json(self.json, results)
