"""`agglo replay`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agglo.commands.applied_policy import load_applied
from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.progress import console, show_table
from agglo.recording_file import check_recording_output, save_recording
from agglo.replay import record_volumes, summary_of


@dataclass(frozen=True)
class Command:
    """Record an episode of a merge policy over a volume, for notebooks/replay.ipynb.

    Example: agglo replay --policy run --image em.h5:raw --boundaries boundaries.zarr
    --superpixels superpixels.zarr --labels em.h5:neurons --out episode.npz
    """

    policy: str
    """run folder of a trained policy, or its policy.npz"""
    image: str
    """the image"""
    boundaries: str
    """its boundary map"""
    superpixels: str
    """its superpixels"""
    out: Path
    """where the recording goes, a file"""
    labels: str | None = None
    """its neurons, 0 = not known: records what every merge did to the error"""
    section: int | None = None
    """z of the section kept for the pictures; the middle one if not given"""
    threshold: float | None = None
    """merge down to this score instead of the policy's own threshold: more merges below it"""
    baseline: bool = False
    """record mean-boundary agglomeration instead, as `agglo segment --baseline` applies it"""
    texture: str | None = None
    """its channels of `agglo texture` or `agglo masks`, if the policy looks at texture"""
    embedding: str | None = None
    """its embedding, of `agglo boundaries predict`, if the policy looks at one"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    overwrite: bool = False
    """replace a recording that exists"""
    seed: int = 0
    """unused: applying a policy draws nothing"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Record."""
        check_recording_output(self.out, overwrite=self.overwrite)
        policy, channels = load_applied(
            self.policy, baseline=self.baseline, texture=self.texture, embedding=self.embedding
        )
        recording = record_volumes(
            policy,
            self.image,
            self.boundaries,
            self.superpixels,
            self.labels,
            **channels,
            section=self.section,
            threshold=self.threshold,
            voxel_size_nm=self.voxel_size_nm,
        )
        save_recording(self.out, recording, overwrite=self.overwrite)
        results = summary_of(recording)
        show_table("", ("", ""), list(results.items()))
        console.out(f"episode in {self.out}; notebooks/replay.ipynb shows it")
        if self.json:
            write_json(self.json, results)
