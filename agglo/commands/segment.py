"""`agglo segment`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from agglo.commands.applied_policy import load_applied
from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.policy_file import Policy
from agglo.progress import console, show_table
from agglo.segmentation import segment_volume
from agglo.volumes import Address, open_volume
from analysis.input_error import InputError


@dataclass(frozen=True)
class Command:
    """Apply a merge policy to a volume; write the segmentation and its merge tree.

    With --blocks the work is done block by block on Ray, with the same result, and needs the volume
    in no one place.

    Example: agglo segment --policy run --image em.h5:raw --boundaries boundaries.zarr
    --superpixels superpixels.zarr --out segmentation.zarr
    """

    policy: str
    """run folder of a trained policy, or its policy.npz"""
    image: str
    """the image"""
    boundaries: str
    """its boundary map"""
    out: str
    """where the segmentation goes; the merge tree goes beside it"""
    superpixels: str | None = None
    """its superpixels; with --blocks they may be left to a watershed of each block, which then goes
    to OUT:superpixels"""
    blocks: Annotated[tuple[int, int, int] | None, tyro.conf.arg(metavar="Z Y X")] = None
    """voxels of a block (z y x), such as 256 256 256; without it everything is done in memory"""
    memory_mb: int | None = None
    """instead of --blocks, what a process may take: blocks are the largest that fit"""
    levels: int = 1
    """with --blocks, resolutions of the segmentation, each half the one before"""
    actors: int | None = None
    """with --blocks, how many processes work; one for each CPU if not given"""
    resume: bool = False
    """with --blocks, go on with what an equal run left that was killed or interrupted"""
    threshold: float | None = None
    """lowest score that is merged, instead of the policy's own threshold; lower merges more"""
    baseline: bool = False
    """apply mean-boundary agglomeration instead, its threshold from the policy's training shards"""
    texture: str | None = None
    """its channels of `agglo texture` or `agglo masks`, if the policy looks at texture"""
    embedding: str | None = None
    """its embedding, of `agglo boundaries predict`, if the policy looks at one"""
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
        policy, channels = load_applied(
            self.policy, baseline=self.baseline, texture=self.texture, embedding=self.embedding
        )
        block_vox = self._block_vox()
        if block_vox is not None:
            results = self._in_blocks(policy, channels, block_vox)
        else:
            results = self._at_once(policy, channels)
        console.out(
            f"{results['n_superpixels']} superpixels became {results['n_segments']} segments "
            f"in {self.out}; merge tree in {results['merge_tree']}"
        )
        if "expected_vi" in results:
            console.out(
                f"expected VI {results['expected_vi']:.2f} bits; decisions to look at first in "
                f"{results['doubts']}"
            )
        if self.json:
            write_json(self.json, results)

    def _block_vox(self) -> tuple[int, int, int] | None:
        """Return the size of a block, if there are to be blocks."""
        if self.memory_mb is None:
            return self.blocks
        if self.blocks is not None:
            raise InputError("--memory-mb and --blocks: one of them says how large a block is.")
        from agglo.blocks.memory_budget import blocks_within

        with open_volume(self.image, argument="--image") as image:
            shape = image.shape
        if len(shape) != 3 or 0 in shape:
            raise InputError(f"--image: {self.image} has shape {shape}, z, y, x is expected.")
        return blocks_within(self.memory_mb, (shape[0], shape[1], shape[2]))

    def _at_once(self, policy: Policy, channels: dict[str, str | None]) -> dict[str, Any]:
        """Segment in this process."""
        for name, is_given in (
            ("resume", self.resume),
            ("actors", self.actors is not None),
            ("levels", self.levels != 1),
        ):
            if is_given:
                raise InputError(f"--{name} goes with --blocks, which was not given.")
        if self.superpixels is None:
            raise InputError("--superpixels is needed, except with --blocks.")
        return segment_volume(
            policy,
            self.image,
            self.boundaries,
            self.superpixels,
            self.out,
            **channels,
            threshold=self.threshold,
            voxel_size_nm=self.voxel_size_nm,
            overwrite=self.overwrite,
        )

    def _in_blocks(
        self, policy: Policy, channels: dict[str, str | None], block_vox: tuple[int, int, int]
    ) -> dict[str, Any]:
        """Segment block by block on Ray, and say what each stage took."""
        from agglo.blocks.segmentation import segment_in_blocks
        from agglo.cluster import ray_session, require_lasting

        require_lasting(Address.parse_output(self.out, argument="--out").file)
        started = time.perf_counter()
        with ray_session():
            results = segment_in_blocks(
                policy,
                self.image,
                self.boundaries,
                self.superpixels,
                self.out,
                block_vox=block_vox,
                **channels,
                threshold=self.threshold,
                voxel_size_nm=self.voxel_size_nm,
                n_levels=self.levels,
                n_actors=self.actors,
                resume=self.resume,
                overwrite=self.overwrite,
            )
        show_table(
            f"{results['n_blocks']} blocks",
            ("stage", "tasks", "seconds", "busy seconds", "CPU seconds", "peak MB"),
            [(name, *(took[key] for key in _SHOWN)) for name, took in results["stages"].items()],
        )
        return results | {"seconds": time.perf_counter() - started}


_SHOWN = ("tasks", "seconds", "busy_seconds", "cpu_seconds", "peak_mb")
"""What of a stage is printed."""
