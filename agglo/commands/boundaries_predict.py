"""`agglo boundaries predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agglo.boundaries.prediction import predict_boundaries
from agglo.cluster import ray_session, require_lasting
from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.progress import console


@dataclass(frozen=True)
class Command:
    """Predict a boundary map, with affinities nested in it and the embedding of a model with one.

    Example: agglo boundaries predict --image em.h5:raw --model model --out boundaries.zarr
    """

    image: str
    """the image"""
    model: Path
    """model folder"""
    out: str
    """where the boundary map goes; the affinities are OUT:affinities, an embedding OUT:embedding"""
    affinities: str | None = None
    """where the affinities (3, z, y, x) go instead, to the -z, -y and -x neighbour"""
    out_of_fold: bool = False
    """for a volume the model was trained on: predict each part by the fold that did not see it"""
    views: int = 1
    """mean over the image and its mirror images and turns, so many: fewer gaps at so many times the
    price; 8 are all mirror images"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the file states none"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where to compute; auto takes a GPU where the cluster has one"""
    resume: bool = False
    """go on with an unfinished prediction"""
    overwrite: bool = False
    """replace an output that exists"""
    seed: int = 0
    """unused: prediction draws nothing"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Predict."""
        require_lasting(Path(self.out))
        if self.affinities:
            require_lasting(Path(self.affinities))
        with ray_session():
            results = predict_boundaries(
                self.image,
                self.model,
                self.out,
                affinities=self.affinities,
                out_of_fold=self.out_of_fold,
                n_views=self.views,
                voxel_size_nm=self.voxel_size_nm,
                device=self.device,
                resume=self.resume,
                overwrite=self.overwrite,
            )
        console.print(", ".join(f"{name} {value}" for name, value in results.items()))
        if self.json:
            write_json(self.json, results)
