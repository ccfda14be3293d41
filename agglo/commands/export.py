"""`agglo export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.precomputed import export_precomputed
from agglo.progress import console


@dataclass(frozen=True)
class Command:
    """Write a volume in Neuroglancer's precomputed format, at all resolutions that it has.

    Needs the extra precomputed (pip install 'agglo[precomputed]').

    Example: agglo export --volume segmentation.zarr --out segmentation.precomputed
    """

    volume: str
    """segmentation, image or boundary map"""
    out: str
    """the folder, to be copied to a web server or an object store"""
    content: Literal["segmentation", "image"] | None = None
    """what the volume is; if not given, integers of 32 bits and more are a segmentation"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the file states none"""
    overwrite: bool = False
    """replace a precomputed volume that exists"""
    seed: int = 0
    """unused: an export draws nothing"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Export."""
        results = export_precomputed(
            self.volume,
            self.out,
            content=self.content,
            voxel_size_nm=self.voxel_size_nm,
            overwrite=self.overwrite,
        )
        console.out(
            f"{results['content']} ({results['data_type']}) in {self.out}; resolutions: "
            f"{len(results['scales'])}"
        )
        if self.json:
            write_json(self.json, results)
