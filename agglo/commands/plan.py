"""`agglo plan`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from agglo.blocks.measured_run import MeasuredRun
from agglo.blocks.plan import PlannedStage, plan_run
from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.progress import console, show_table
from analysis.input_error import InputError
from predict.box import Triple

Voxels = Annotated[tuple[int, int, int] | None, tyro.conf.arg(metavar="Z Y X")]


@dataclass(frozen=True)
class Command:
    """Say what `agglo segment --blocks` will take on a large volume, from a short measured run.

    Example: agglo plan --measured run.json --shape 8192 8192 8192 --workers 64

    (after agglo segment --blocks 256 256 256 --json run.json … on a part), or all at once:

    Example: agglo plan --policy run --image em.zarr --boundaries boundaries.zarr --crop 512 512 512
    --blocks 256 256 256 --workers 64

    Blocks are those of the measured run. Times are those of the machine that measured it.
    """

    measured: Path | None = None
    """results that agglo segment --blocks --json wrote, uninterrupted, with two blocks or more
    along an axis"""
    shape: Voxels = None
    """voxels of the volume (z y x); those of --image if not given"""
    workers: int = 1
    """how many actors will work"""
    policy: str | None = None
    """without --measured: run folder of a trained policy, or its policy.npz"""
    image: str | None = None
    """the image, whose middle is segmented to measure"""
    boundaries: str | None = None
    """its boundary map"""
    superpixels: str | None = None
    """its superpixels, if they are to be taken and not made"""
    texture: str | None = None
    """its channels of `agglo texture` or `agglo masks`, if the policy looks at texture"""
    embedding: str | None = None
    """its embedding, of `agglo boundaries predict`, if the policy looks at one"""
    crop: Voxels = None
    """voxels of the part that is segmented to measure (z y x)"""
    blocks: Voxels = None
    """voxels of a block (z y x)"""
    actors: int | None = None
    """how many processes work on the part; one for each CPU if not given"""
    scratch: Path | None = None
    """folder, seen by all nodes, for what the run over the part writes; it is removed again"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    seed: int = 0
    """unused: planning draws nothing"""
    json: Path | None = None
    """write the results here"""

    def run(self) -> None:
        """Measure where that is asked for, plan, and print the table."""
        if self.workers < 1:
            raise InputError(f"--workers: at least one is needed, {self.workers} asked for.")
        measured, shape = self._measured()
        stages = plan_run(measured, shape, self.workers)
        size, edges = (" × ".join(map(str, t)) for t in (shape, measured.tree.block_vox))
        workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
        show_table(
            f"{size} voxels in blocks of {edges}, {workers}",
            (
                *("stage", "tasks", "core hours", "wall time", "MB a worker"),
                *("GB read", "GB written", "largest graph"),
            ),
            [_row(stage) for stage in stages],
        )
        console.out(
            f"storage {_short(stages[-1].written_bytes / 1e9)} GB until the end, of which "
            f"{_short(_lasting(stages) / 1e9)} GB stay; planned from "
            f"{' × '.join(map(str, measured.tree.shape))} voxels"
        )
        if self.json:
            results = {
                "shape": [*shape],
                "blocks": [*measured.tree.block_vox],
                "workers": self.workers,
                "measured_shape": [*measured.tree.shape],
                "lasting_bytes": _lasting(stages),
                "stages": [asdict(stage) for stage in stages],
            }
            write_json(self.json, results)

    def _measured(self) -> tuple[MeasuredRun, Triple]:
        """Return the measured run, and the shape to plan for."""
        own = {
            "--policy": self.policy,
            "--image": self.image,
            "--boundaries": self.boundaries,
            "--crop": self.crop,
            "--blocks": self.blocks,
        }
        if self.measured is not None:
            others = own | {
                "--superpixels": self.superpixels,
                "--texture": self.texture,
                "--embedding": self.embedding,
                "--actors": self.actors,
                "--scratch": self.scratch,
            }
            for name, value in others.items():
                if value is not None:
                    raise InputError(f"{name} is for a run made here; --measured names one.")
            if self.shape is None:
                raise InputError("--shape is needed with --measured.")
            return MeasuredRun.read(self.measured, argument="--measured"), self.shape
        for name, value in own.items():
            if value is None:
                raise InputError(f"{name} is needed, or --measured, the results of a run.")
        return self._measured_here()

    def _measured_here(self) -> tuple[MeasuredRun, Triple]:
        """Segment the middle of the volume."""
        from agglo.blocks.measured_crop import measure_crop
        from agglo.policy_file import load_policy

        assert self.policy is not None
        assert self.crop is not None
        assert self.blocks is not None
        measured, whole = measure_crop(
            load_policy(self.policy),
            {
                "--image": self.image,
                "--boundaries": self.boundaries,
                "--superpixels": self.superpixels,
                "--texture": self.texture,
                "--embedding": self.embedding,
            },
            self.crop,
            self.blocks,
            voxel_size_nm=self.voxel_size_nm,
            n_actors=self.actors,
            scratch=self.scratch,
        )
        return measured, self.shape or whole


_OUTPUTS = ("superpixels", "segmentation", "pyramid")
"""Stages whose files stay."""


def _row(stage: PlannedStage) -> tuple[object, ...]:
    return (
        *(stage.stage, stage.tasks, stage.core_hours, _duration(stage.wall_seconds)),
        *(round(stage.peak_mb), stage.read_bytes / 1e9, stage.written_bytes / 1e9),
        round(stage.clusters),
    )


def _lasting(stages: list[PlannedStage]) -> float:
    """Return the bytes of the outputs, which are what is not removed at the end."""
    return sum(one.written_bytes for one in stages if one.stage in _OUTPUTS)


def _duration(seconds: float) -> str:
    """Write a time in the largest units that it fills."""
    for name, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.1f} s"


def _short(value: float) -> str:
    return f"{value:.3g}"
