"""What a DAWMR training works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agglo.run_folder import RunFolder
from agglo.volumes import Volume
from predict import compute_device
from predict.boundary_settings import BoundaryTraining
from predict.box import Triple
from predict.dawmr import DawmrConfig
from predict.dawmr_examples import ExampleSettings
from predict.image_normalisation import ImageNormalisation


@dataclass(frozen=True, slots=True)
class DawmrRun:
    """What a DAWMR training works on.

    Attributes:
        run: folder for checkpoints, records and the affinities between iterations.
        network: shape of all iterations.
        training: settings of an iteration; `minutes` or `steps` are those of one iteration of one
            fold.
        n_folds: models trained.
        given: image, labels and mask of every volume.
        described: normalisation of each, and whether its label 0 is membrane.
        device: where heads are trained.
        examples: how many are taken, and from where.
    """

    run: RunFolder
    network: DawmrConfig
    training: BoundaryTraining
    n_folds: int
    given: Sequence[tuple[Volume, Volume, Volume | None]]
    described: Sequence[tuple[ImageNormalisation, bool]]
    device: compute_device.DeviceName
    examples: ExampleSettings

    @property
    def shapes(self) -> list[Triple]:
        """Return the extents of every volume."""
        return [(z, y, x) for z, y, x in (image.shape for image, _, _ in self.given)]

    @property
    def folder(self) -> Path:
        """Return where affinities lie while the run needs them."""
        return self.run.path / "iterations"

    def affinities_of(self, fold: int, index: int) -> tuple[str, ...]:
        """Return the addresses of the affinities that an iteration leaves for the next one."""
        return tuple(
            str(self.folder / f"fold_{fold}_iteration_{index}_volume_{volume}.zarr")
            for volume in range(len(self.given))
        )
