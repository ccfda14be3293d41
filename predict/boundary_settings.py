"""Settings of the training of a boundary network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from analysis.input_error import InputError
from predict.anisotropy import Spacing, validate_voxel_size
from predict.augmentation import IntensityChange

Loss = Literal["bce", "malis", "blotc"]

LOSSES: tuple[Loss, ...] = get_args(Loss)
"""Losses that a network can be trained with."""


@dataclass(frozen=True, slots=True)
class BoundaryTraining:
    """Settings of a training run.

    Attributes:
        voxel_size_nm: z, y, x.
        minutes: wall time of training, evaluations included; None if `steps` is given.
        steps: number of steps, for runs that can be repeated exactly; None if `minutes` is given.
        seed: root of every random number.
        n_evaluations: the run is cut into so many intervals, each ending in an evaluation.
        patience: stop after so many evaluations without a higher `boundary_training.merit`. The
            last intervals, in which the rate falls to 0, are the best: of two equal runs on ISBI
            2012 one that went to its end had a V-Rand of 0.896, and 0.823 one that had stopped
            after 7 of 10 intervals because the last five were no better.
        batch_voxels: about so many voxels a step, as as many patches as fit.
        patch_voxels: about so many voxels a patch.
        learning_rate: highest rate, reached after `warm_up`, then down to 0 along a cosine.
        warm_up: share of the run in which the rate rises.
        weight_decay: of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
        balance: 1 weighs both classes of a channel equally, 0 leaves them as frequent as they
            are; in between the weights are 1 / frequency^balance. A balanced map rates a faint
            membrane higher, so its mean over a contact orders merges better: mean linkage of an
            out-of-fold FIB-25 map (z 0 to 79, published superpixels, best threshold) had VI 1.51,
            and 1.56 with the logits shifted to frequencies as they are.
        intensity: changes of the grey values.
        loss: `bce` is class-balanced cross-entropy; `malis` adds constrained MALIS on the
            affinities (`predict.malis`); `blotc` warps the labels towards the prediction at every
            step (`predict.blotc`).
        structured_start: share of the run that goes by before a loss other than `bce` begins. The
            edges that decide many pairs are of use only once most edges are right, and so is a
            prediction that labels follow.
        malis_weight: factor of MALIS.
        malis_most: an edge counts for at most this share of the pairs (`malis_loss`). Without such
            a bound the gradient of a patch sits on a few edges and drowns the cross-entropy: on
            FIB-25 (U-Net 16/32/64, 4,000 steps, MALIS from step 2,000 on, one seed; sections 84 to
            119) the least VI over all thresholds was 1.440 by cross-entropy alone, 1.452, 1.471 and
            1.798 with weights 0.03, 0.2 and 1 and all pairs, and with at most 0.003 it was 1.299
            with weight 3 and 1.662 with weight 10. In two further seeds weight 3 had 1.487 and
            1.926, cross-entropy 1.565 and 1.412: a bound helps, and whether MALIS does is open.
        blotc_reach_vox: see `LabelWarp`.
        embedding_weight: factor of the loss of the embedding (`predict.embedding_loss`), where the
            network has one. It costs the boundary map steps: on FIB-25 (z 0 to 59, first half) its
            validation AP after 1,000 steps was 0.720, and 0.726 without an embedding.
        embedding_within: voxels are pulled to so near their object's mean. There the AUC of the
            distance between touching superpixels of 1,000 voxels and more for being of two neurons
            was 0.69, and 0.53 with 0.05: what is left free within a neuron is as large as what
            parts neurons.
        embedding_apart: means of objects of two labels are pushed so far apart.
        averaging: the weights that are evaluated and kept are a running mean, of which a step
            leaves this share, less in the first steps; 0 keeps those of the last step. On FIB-25 (z
            0 to 69, 500 steps) average precision on z 70 to 79 was 0.523 after 200 steps, 0.203
            without, and 0.679 and 0.678 at the end; on ISBI 2012 0.8817 and 0.8812.
    """

    voxel_size_nm: Spacing
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    n_evaluations: int = 10
    patience: int = 10
    batch_voxels: int = 48**3
    patch_voxels: int = 48**3
    learning_rate: float = 8e-3
    warm_up: float = 0.1
    weight_decay: float = 1e-2
    balance: float = 1.0
    intensity: IntensityChange = field(default_factory=IntensityChange)
    loss: Loss = "bce"
    structured_start: float = 0.5
    malis_weight: float = 3.0
    malis_most: float = 0.003
    blotc_reach_vox: float = 2.0
    embedding_weight: float = 0.3
    embedding_within: float = 0.0
    embedding_apart: float = 0.5
    averaging: float = 0.99

    def __post_init__(self) -> None:
        validate_voxel_size(self.voxel_size_nm)
        if (self.minutes is None) == (self.steps is None):
            raise InputError(
                f"give either minutes or steps, got {self.minutes} minutes and {self.steps} steps."
            )
        if self.minutes is not None and not (math.isfinite(self.minutes) and self.minutes > 0):
            raise InputError(f"minutes must be positive, got {self.minutes}.")
        if self.steps is not None and self.steps < self.n_evaluations:
            raise InputError(
                f"steps must be at least n_evaluations ({self.n_evaluations}), got {self.steps}."
            )
        if self.loss not in LOSSES:
            raise InputError(f"loss must be bce, malis or blotc, got {self.loss!r}.")
        for name in ("structured_start", "averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in 0..1, below 1, got {getattr(self, name)}.")
        if not (math.isfinite(self.malis_weight) and self.malis_weight > 0):
            raise InputError(f"malis_weight must be positive, got {self.malis_weight}.")
        if not (math.isfinite(self.embedding_weight) and self.embedding_weight > 0):
            raise InputError(f"embedding_weight must be positive, got {self.embedding_weight}.")
        for name in ("embedding_within", "embedding_apart"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in 0..1, got {getattr(self, name)}.")
        if not 0 < self.malis_most <= 1:
            raise InputError(f"malis_most must be in 0..1, above 0, got {self.malis_most}.")
        if not 1 <= self.blotc_reach_vox < math.inf:
            raise InputError(f"blotc_reach_vox must be at least 1, got {self.blotc_reach_vox}.")
        for name in ("n_evaluations", "patience", "batch_voxels", "patch_voxels"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")
