"""DAWMR: deep and wide multiscale recursive networks, from an image to boundary and affinities.

All triples are z, y, x. An iteration is a stage of unsupervised features and a small perceptron on
top; the next one looks at the image and at the affinities that this one predicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from analysis.input_error import InputError
from predict.boundary_network import CHANNELS, BoundaryNetwork
from predict.box import Box, Triple
from predict.dawmr_features import DawmrFeatures, box_sum, box_voxels, cropped
from predict.dawmr_shape import FeatureConfig, field_of_view

N_AFFINITIES = 3
"""What an iteration passes on: the affinities to the −z, −y and −x neighbour."""

TILE = (16, 32, 32)
"""Voxels computed at a time: the maps of a tile stay in the cache and no others exist.

Tiles eight times as large took twice the time.
"""


@dataclass(frozen=True, slots=True)
class DawmrConfig:
    """Shape of a DAWMR network.

    Attributes:
        iterations: features of every iteration. The first sees the image, the others also the
            affinities of the one before, as probabilities in the order −z, −y, −x.
        hidden: hidden units of every iteration's perceptron; 0 for a linear classifier.
        in_channels: channels of the image.
        dropout: share of the hidden units left out in training.
    """

    iterations: tuple[FeatureConfig, ...]
    hidden: int
    in_channels: int = 1
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not self.iterations:
            raise InputError("iterations must not be empty.")
        if self.hidden < 0:
            raise InputError(f"hidden must be at least 0, got {self.hidden}.")
        if self.in_channels < 1:
            raise InputError(f"in_channels must be positive, got {self.in_channels}.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and less than 1, got {self.dropout}.")
        for k, features in enumerate(self.iterations):
            wanted = self.in_channels + (N_AFFINITIES if k > 0 else 0)
            if len(features.atoms) != wanted:
                raise InputError(
                    f"iteration {k} must have dictionaries for {wanted} channels, "
                    f"got {len(features.atoms)}."
                )
        if len({features.stride for features in self.iterations}) > 1:
            raise InputError(
                "all iterations must have the same stride, "
                f"got {[features.stride for features in self.iterations]}."
            )

    @classmethod
    def for_voxel_size(
        cls,
        voxel_size_nm: tuple[float, float, float],
        *,
        n_iterations: int = 3,
        atoms: tuple[int, int] = (128, 48),
        hidden: int = 200,
        two_dimensional: bool = False,
    ) -> DawmrConfig:
        """Return the shape that suits a voxel size; see `FeatureConfig.for_voxel_size`.

        The first iteration is wide. With cubic voxels one iteration sees 28³ voxels, two 44³ and
        three 60³ (54³ in the paper).

        Args:
            voxel_size_nm: z, y, x.
            n_iterations: at least 1.
            atoms: of the image's dictionaries and of those of each affinity.
            hidden: hidden units; 0 for a linear classifier.
            two_dimensional: every section alone.
        """
        iterations = tuple(
            FeatureConfig.for_voxel_size(
                voxel_size_nm,
                (atoms[0], *(atoms[1:] * N_AFFINITIES if k > 0 else ())),
                two_dimensional=two_dimensional,
                wide=k == 0,
            )
            for k in range(n_iterations)
        )
        return cls(iterations, hidden)

    @property
    def stride(self) -> Triple:
        """Return the period of the grid that coarse scales are made on."""
        return self.iterations[0].stride

    @property
    def halo_vox(self) -> Triple:
        """Return the sum of the iterations' halos."""
        z, y, x = (sum(f.halo_vox[axis] for f in self.iterations) for axis in range(3))
        return z, y, x

    @property
    def lost_vox(self) -> Triple:
        """Return the halo: nothing is padded."""
        return self.halo_vox

    @property
    def two_dimensional(self) -> bool:
        """Tell whether every section is predicted alone."""
        return all(features.two_dimensional for features in self.iterations)

    @property
    def field_vox(self) -> Triple:
        """Return how many voxels of the image an output voxel sees along each axis."""
        return field_of_view(self.iterations)

    def build_stage(self, iteration: int) -> DawmrStage:
        """Return one iteration with a random head and empty dictionaries."""
        return DawmrStage(self.iterations[iteration], self.hidden, self.dropout)

    def build(self) -> BoundaryDawmr:
        """Return a network of this shape with random heads and empty dictionaries."""
        return BoundaryDawmr(self)


class DawmrStage(nn.Module):
    """One iteration: features, their standardisation, and a perceptron.

    Only the perceptron has parameters; dictionaries and the standardisation, by which features
    become (feature − `shift`) / `scale`, are buffers.
    """

    shift: torch.Tensor  # (n_features,)
    scale: torch.Tensor  # (n_features,)

    def __init__(self, config: FeatureConfig, hidden: int, dropout: float) -> None:
        super().__init__()
        self.features = DawmrFeatures(config)
        self.register_buffer("shift", torch.zeros(config.n_features))
        self.register_buffer("scale", torch.ones(config.n_features))
        self.first = nn.Linear(config.n_features, hidden or len(CHANNELS))
        self.last: nn.Module = nn.Identity()
        if hidden:
            self.last = nn.Sequential(
                nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, len(CHANNELS))
            )

    def head(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of some voxels.

        Args:
            features: (m, n_features) float, as `DawmrFeatures.at` returns them.

        Returns:
            (m, 4) logits of the channels.
        """
        weight = self.first.weight / self.scale
        bias = self.first.bias - weight @ self.shift
        return self.last(functional.linear(features, weight, bias))

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Return the logits of every voxel of the inner box.

        Pooling and upsampling are linear, so feature maps are first multiplied by the weights of
        the first layer and then pooled: the same as `head` of all features up to rounding, with
        a map for every hidden unit in place of one for every feature.

        Args:
            channels: (n, C, z, y, x) float, extents multiples of the stride.

        Returns:
            (n, 4, z, y, x) float32 logits of the input without `halo_vox` on every side.
        """
        self.features.require(channels)
        halo = self.features.config.halo_vox
        n, _, *extents = channels.shape
        inner = [extent - 2 * h for extent, h in zip(extents, halo, strict=True)]
        weights, bias = self._folded()
        logits = channels.new_empty((n, *inner, len(CHANNELS)), dtype=torch.float32)
        for tile in _tiles(inner, self.features.config.stride):
            z, y, x = (
                slice(start, stop + 2 * h) for start, stop, h in zip(*tile, halo, strict=True)
            )
            units = self._first_layer(channels[:, :, z, y, x], weights)
            logits[:, *tile.slices] = self.last(units.add_(bias)).float()
        return logits.permute(0, 4, 1, 2, 3)

    def _folded(self) -> tuple[list[list[torch.Tensor]], torch.Tensor]:
        """Return the first layer for sums of unstandardised features.

        Returns:
            weights: for every scale and pool (units, n_maps).
            bias: (units,)
        """
        config = self.features.config
        weight = self.first.weight / self.scale
        bias = self.first.bias - weight @ self.shift
        blocks = iter(weight.split(config.n_maps, dim=1))
        weights = [[next(blocks) / box_voxels(pool) for pool in s.pools] for s in config.scales]
        return weights, bias

    def _first_layer(
        self, channels: torch.Tensor, weights: list[list[torch.Tensor]]
    ) -> torch.Tensor:
        """Return the first layer's units without their bias, (n, z, y, x, units)."""
        features = self.features
        coarse, coarse_factor = None, features.config.stride
        for index in range(len(weights) - 1, -1, -1):
            scale = features.config.scales[index]
            maps = features.encode_scale(index, features.around(index, channels))
            total = None
            for pool, weight in zip(scale.pools, weights[index], strict=True):
                part = features.within(index, maps, pool)
                # one product of two matrices; of a cut array torch makes one per row
                units = functional.linear(part.reshape(-1, part.shape[4]), weight)
                units = box_sum(units.view(*part.shape[:4], -1), pool)
                total = units if total is None else total.add_(units)
            assert total is not None
            if coarse is not None:
                ratio = [c // f for c, f in zip(coarse_factor, scale.factor, strict=True)]
                _add_enlarged(total, coarse, ratio)
            coarse, coarse_factor = total, scale.factor
        assert coarse is not None
        if coarse_factor != (1, 1, 1):
            n, z, y, x, units = coarse.shape
            fz, fy, fx = coarse_factor
            enlarged = coarse.new_zeros((n, z * fz, y * fy, x * fx, units))
            _add_enlarged(enlarged, coarse, coarse_factor)
            return enlarged
        return coarse


class BoundaryDawmr(BoundaryNetwork):
    """Deep and wide multiscale recursive network (Huang & Jain 2013, arXiv 1310.0354).

    Every iteration has dictionaries of contrast-normalised patches for each input channel at
    scales 1, 2 and 4, thousands of features by foveated pooling, and a perceptron with one hidden
    layer that predicts the boundary map and affinities. From the second on its input is the image
    and the affinities of the iteration before. A two-dimensional network passes on 0 for the
    affinity along z, which it knows nothing of.
    """

    def __init__(self, config: DawmrConfig) -> None:
        super().__init__()
        self.config: DawmrConfig = config
        self.stages = nn.ModuleList(
            config.build_stage(iteration) for iteration in range(len(config.iterations))
        )

    def forward(self, image: torch.Tensor, inner_only: bool = False) -> torch.Tensor:
        """Return the logits of the channels.

        Args:
            image: (n, in_channels, z, y, x) float, normalised; extents are multiples of the stride
                and larger than twice `halo_vox`.
            inner_only: makes no difference, the output has no border that anything is felt at.

        Returns:
            (n, 4, z, y, x) float32 logits of the input box without `halo_vox` on every side.
        """
        channels = image.float()
        logits = None
        for stage, features in zip(self.stages, self.config.iterations, strict=True):
            if logits is not None:
                channels = torch.cat([image, self.passed_on(logits)], dim=1)
            logits = stage(channels)
            image = cropped(image, features.halo_vox).float()
        assert logits is not None
        return logits

    def passed_on(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the affinities that the next iteration sees, (n, 3, z, y, x) probabilities."""
        probabilities = torch.sigmoid(logits[:, -N_AFFINITIES:])
        if self.config.two_dimensional:
            return functional.pad(probabilities[:, 1:], (0, 0, 0, 0, 0, 0, 1, 0))
        return probabilities


def _add_enlarged(fine: torch.Tensor, coarse: torch.Tensor, ratio: Sequence[int]) -> None:
    """Add to every voxel, in place, the value of its coarse cell; both are (n, z, y, x, units)."""
    n, z, y, x, units = coarse.shape
    cells = fine.view(n, z, ratio[0], y, ratio[1], x, ratio[2], units)
    cells += coarse[:, :, None, :, None, :, None]


def _tiles(extents: list[int], stride: Triple) -> Iterator[Box]:
    """Cut the inner box into tiles of about `TILE` that start on the grid."""
    step = [-(-size // s) * s for size, s in zip(TILE, stride, strict=True)]
    for z in range(0, extents[0], step[0]):
        for y in range(0, extents[1], step[1]):
            for x in range(0, extents[2], step[2]):
                stop = [min(a + s, e) for a, s, e in zip((z, y, x), step, extents, strict=True)]
                yield Box((z, y, x), (stop[0], stop[1], stop[2]))
