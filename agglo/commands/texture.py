"""`agglo texture`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agglo.cluster import ray_session, require_lasting
from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.progress import console
from agglo.texture import make_texture


@dataclass(frozen=True)
class Command:
    """Write channels of texture: responses to a dictionary learned without labels.

    Example: agglo texture --image em.h5:raw --boundaries boundaries.zarr
    --dictionary dictionary.npz --out texture.zarr --learn
    """

    image: str
    """the image"""
    boundaries: str
    """its boundary map, 1 = boundary"""
    dictionary: Path
    """file of the dictionary; read, or with --learn written"""
    out: str
    """where the channels (2 · atoms, z, y, x) go, 8 bits"""
    learn: bool = False
    """learn the dictionary from this volume"""
    atoms: int = 4
    """of a dictionary that is learned; each makes two channels, one for either sign"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    resume: bool = False
    """go on with an unfinished run"""
    overwrite: bool = False
    """replace an output that exists, and with --learn a dictionary"""
    seed: int = 0
    """draws the patches that a dictionary is learned from"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Make the channels."""
        require_lasting(Path(self.out))
        if self.learn:
            require_lasting(self.dictionary, argument="--dictionary")
        with ray_session():
            results = make_texture(
                self.image,
                self.boundaries,
                self.dictionary,
                self.out,
                learn=self.learn,
                n_atoms=self.atoms,
                seed=self.seed,
                voxel_size_nm=self.voxel_size_nm,
                resume=self.resume,
                overwrite=self.overwrite,
            )
        console.out(
            f"{results['n_channels']} channels of {self.dictionary} in {self.out}, "
            f"{results['seconds']:.1f} s"
        )
        if self.json:
            write_json(self.json, results)
