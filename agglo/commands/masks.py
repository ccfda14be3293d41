"""`agglo masks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agglo.cluster import ray_session, require_lasting
from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.masks import make_masks
from agglo.progress import console
from predict.object_mask import RADIUS_NM


@dataclass(frozen=True)
class Command:
    """Write channels of masks: how the object of each voxel lies around it.

    Example: agglo masks --objects superpixels.zarr --out masks.zarr
    """

    objects: str
    """a segmentation: superpixels, or what `agglo segment` or `agglo cut` wrote"""
    out: str
    """where the channels (9, z, y, x) go, 8 bits"""
    radius_nm: float = RADIUS_NM
    """how far around a voxel is looked"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the file states none"""
    resume: bool = False
    """go on with an unfinished run"""
    overwrite: bool = False
    """replace an output that exists"""
    seed: int = 0
    """unused: masks draw nothing"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Make the channels."""
        require_lasting(Path(self.out))
        with ray_session():
            results = make_masks(
                self.objects,
                self.out,
                radius_nm=self.radius_nm,
                voxel_size_nm=self.voxel_size_nm,
                resume=self.resume,
                overwrite=self.overwrite,
            )
        console.out(
            f"{results['n_channels']} channels, {results['made_by']}, in {self.out}, "
            f"{results['seconds']:.1f} s"
        )
        if self.json:
            write_json(self.json, results)
