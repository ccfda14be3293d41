"""A compact 3D U-Net for boundaries, nearest-neighbour affinities and dense embeddings.

All triples are z, y, x. In evaluation mode the output at a voxel is a function of that voxel's
receptive field and of the phase of the pooling grid, of nothing else (batch normalisation then uses
the statistics of the training): whoever aligns blocks to multiples of `stride` and reads `halo_vox`
around them gets the same output wherever the blocks are cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from analysis.input_error import InputError
from predict.anisotropy import shrink_pattern
from predict.boundary_network import CHANNELS, BoundaryNetwork
from predict.box import Triple

STATISTICS_MOMENTUM = 0.02
"""The statistics used in evaluation are means over about the last 50 steps.

A step sees few patches; with means over ten steps the validation loss jumped by a fifth from one
evaluation to the next.
"""


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """Shape of a U-Net.

    Attributes:
        widths: channels of every level, finest first.
        shrinks: shrink factor that leads to every level; the first is the stride of the stem, so
            (1, 1, 1) there keeps the finest level at full resolution.
        kernels: kernel size of every level, 1 or 3 along each axis.
        head_width: channels of the full-resolution head.
        in_channels: channels of the image.
        embedding: channels of the embedding that is predicted beside boundary and affinities.
    """

    widths: tuple[int, ...]
    shrinks: tuple[Triple, ...]
    kernels: tuple[Triple, ...]
    head_width: int = 8
    in_channels: int = 1
    embedding: int = 0

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.shrinks) == len(self.kernels) > 0:
            raise InputError(
                "widths, shrinks and kernels must have one entry a level, "
                f"got {len(self.widths)}, {len(self.shrinks)} and {len(self.kernels)}."
            )
        if min(*self.widths, self.head_width, self.in_channels) < 1:
            raise InputError(f"widths must be positive, got {self.widths}, {self.head_width}.")
        if self.embedding < 0:
            raise InputError(f"embedding must not be negative, got {self.embedding}.")
        if not {k for kernel in self.kernels for k in kernel} <= {1, 3}:
            raise InputError(f"kernels must be 1 or 3 along each axis, got {self.kernels}.")
        if not {s for shrink in self.shrinks for s in shrink} <= {1, 2}:
            raise InputError(f"shrinks must be 1 or 2 along each axis, got {self.shrinks}.")

    @classmethod
    def for_voxel_size(
        cls,
        voxel_size_nm: tuple[float, float, float],
        *,
        widths: tuple[int, ...] = (32, 64, 96),
        two_dimensional: bool = False,
        embedding: int = 0,
    ) -> UNetConfig:
        """Return the shape that suits a voxel size; see `anisotropy.shrink_pattern`."""
        shrinks, kernels = shrink_pattern(
            voxel_size_nm, len(widths), two_dimensional=two_dimensional
        )
        return cls(widths=widths, shrinks=shrinks, kernels=kernels, embedding=embedding)

    @property
    def two_dimensional(self) -> bool:
        """Tell whether every section is predicted alone."""
        return self.head_kernel[0] == 1 and all(kernel[0] == 1 for kernel in self.kernels)

    @property
    def head_kernel(self) -> Triple:
        """Return the kernel of the full-resolution head: 3 where the stem shrinks."""
        z, y, x = (3 if factor > 1 else 1 for factor in self.shrinks[0])
        return z, y, x

    @property
    def stride(self) -> Triple:
        """Return the period of the pooling grid."""
        z, y, x = 1, 1, 1
        for shrink in self.shrinks:
            z, y, x = z * shrink[0], y * shrink[1], x * shrink[2]
        return z, y, x

    @property
    def halo_vox(self) -> Triple:
        """Return the width of the rim an input border can reach, a multiple of the stride."""
        z, y, x = (self._halo(axis) for axis in range(3))
        return z, y, x

    @property
    def lost_vox(self) -> Triple:
        """Return 0: convolutions are padded."""
        return 0, 0, 0

    def build(self) -> BoundaryUNet:
        """Return a network of this shape with random weights."""
        return BoundaryUNet(self)

    def _halo(self, axis: int) -> int:
        """Follow an input border through the network along one axis."""
        shrinks = [shrink[axis] for shrink in self.shrinks]
        radii = [kernel[axis] // 2 for kernel in self.kernels]
        reached, skips = 0, []
        for level, radius in enumerate(radii):
            if level > 0:
                reached = -(-reached // shrinks[level])
            reached += 2 * radius
            skips.append(reached)
        for level in range(len(radii) - 2, -1, -1):
            reached = max(reached * shrinks[level + 1], skips[level]) + 2 * radii[level]
        reached = reached * shrinks[0] + self.head_kernel[axis] // 2
        stride = self.stride[axis]
        return -(-reached // stride) * stride

    def crops(self) -> list[Crop]:
        """Return what the decoder may drop at each level when only the inner box is wanted.

        The wanted box is the input without `halo_vox` on every side. Each level keeps what the
        next finer one reads, rounded outwards to its grid.
        """
        inner, final = [], []
        for axis in range(3):
            before = (self.halo_vox[axis] - self.head_kernel[axis] // 2) // self.shrinks[0][axis]
            outputs, inputs = [before], []
            for level in range(len(self.widths) - 1):
                wanted = outputs[level] - 2 * (self.kernels[level][axis] // 2)
                outputs.append(wanted // self.shrinks[level + 1][axis])
                inputs.append(outputs[-1] * self.shrinks[level + 1][axis])
            inputs.append(0)
            inner.append(inputs)
            final.append(outputs)
        return [
            Crop(
                (inner[0][level], inner[1][level], inner[2][level]),
                (final[0][level], final[1][level], final[2][level]),
            )
            for level in range(len(self.widths))
        ]


class Crop(NamedTuple):
    """Voxels dropped at each end of a level: before its decoder block, and after it (in total)."""

    before: Triple
    after: Triple


class ResidualBlock(nn.Module):
    """Two normalised convolutions, the second one added to the result of the first."""

    def __init__(self, in_channels: int, width: int, kernel: Triple) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.first = nn.Conv3d(in_channels, width, kernel, padding=padding, bias=False)
        self.first_norm = nn.BatchNorm3d(width, momentum=STATISTICS_MOMENTUM)
        self.second = nn.Conv3d(width, width, kernel, padding=padding, bias=False)
        self.second_norm = nn.BatchNorm3d(width, momentum=STATISTICS_MOMENTUM)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.second.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, width, z, y, x) features."""
        h = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(h + self.second_norm(self.second(h)))


class BoundaryUNet(BoundaryNetwork):
    """A U-Net with residual blocks, summed skips and an optional shrinking stem.

    Skips are summed, not concatenated, and blocks are residual, after Lee et al. 2017 ("Superhuman
    accuracy on the SNEMI3D connectomics challenge", arXiv 1706.00120, section 3.1). Where the
    stem shrinks, most of the work is done on an eighth of the voxels and a thin head at full
    resolution puts the details back (sub-pixel convolution, Shi et al. 2016, arXiv 1609.05158).
    Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167) is what makes a minute of training
    worth having: AUC 0.944 after 30 s of one core against 0.930 without, on FIB-25.

    An embedding is a linear function of the finest level of the decoder, enlarged where the stem
    shrinks: it is averaged over objects, so no detail of full resolution is put back. Its weights
    are drawn after all others, which are those of the network without it.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config: UNetConfig = config
        self.n_embedding = config.embedding
        n_channels = len(CHANNELS)
        widths, shrinks = config.widths, config.shrinks
        self.stem: nn.Module = nn.Identity()
        first_channels = config.in_channels
        if shrinks[0] != (1, 1, 1):
            self.stem = nn.Conv3d(config.in_channels, widths[0], shrinks[0], stride=shrinks[0])
            first_channels = widths[0]
        self.encoder = nn.ModuleList(
            ResidualBlock(first_channels if level == 0 else widths[level - 1], width, kernel)
            for level, (width, kernel) in enumerate(zip(widths, config.kernels, strict=True))
        )
        self.narrow = nn.ModuleList(
            nn.Conv3d(widths[level + 1], widths[level], 1) for level in range(len(widths) - 1)
        )
        self.decoder = nn.ModuleList(
            ResidualBlock(widths[level], widths[level], config.kernels[level])
            for level in range(len(widths) - 1)
        )
        self.enlarge: nn.Module = nn.Identity()
        if shrinks[0] == (1, 1, 1):
            self.head: nn.Module = nn.Conv3d(widths[0], n_channels, 1)
        else:
            self.enlarge = nn.ConvTranspose3d(
                widths[0], config.head_width, shrinks[0], stride=shrinks[0]
            )
            kernel = config.head_kernel
            self.head = nn.Sequential(
                nn.Conv3d(
                    config.head_width + config.in_channels,
                    2 * config.head_width,
                    kernel,
                    padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2),
                ),
                nn.ReLU(),
                nn.Conv3d(2 * config.head_width, n_channels, 1),
            )
        if config.embedding > 0:
            self.embed = nn.ConvTranspose3d(
                widths[0], config.embedding, shrinks[0], stride=shrinks[0]
            )

    def forward(self, image: torch.Tensor, inner_only: bool = False) -> torch.Tensor:
        """Return the logits of boundary, affinities and embedding.

        Args:
            image: (n, in_channels, z, y, x) float, normalised; extents are multiples of the stride.
            inner_only: return the input box without `halo_vox` on every side, where no input
                border is felt, and spare the decoder the rest.

        Returns:
            (n, 4 + embedding, z, y, x) logits, the first in the order of
            `boundary_network.CHANNELS`.
        """
        config = self.config
        crops = config.crops() if inner_only else None
        shrinks = config.shrinks
        h = self.stem(image)
        skips: list[torch.Tensor] = []
        for level, block in enumerate(self.encoder):
            if level > 0:
                h = functional.max_pool3d(h, shrinks[level], stride=shrinks[level])
            h = block(h)
            skips.append(h)
        offset: Triple = (0, 0, 0)
        for level in range(len(self.decoder) - 1, -1, -1):
            if crops is not None:
                h = _crop(h, crops[level + 1].after, offset)
            h = self.narrow[level](h)
            h = functional.interpolate(h, scale_factor=_floats(shrinks[level + 1]))
            skip = skips[level]
            if crops is not None:
                offset = crops[level].before
                skip = _crop(skip, offset, (0, 0, 0))
            h = self.decoder[level](h + skip if torch.is_grad_enabled() else h.add_(skip))
        if crops is not None:
            h = _crop(h, crops[0].after, offset)
            z, y, x = (c * s for c, s in zip(crops[0].after, shrinks[0], strict=True))
            image = _crop(image, (z, y, x), (0, 0, 0))
            offset = (z, y, x)
        embedded = [self.embed(h)] if config.embedding > 0 else []
        if shrinks[0] == (1, 1, 1):
            logits = self.head(h)
        else:
            h = functional.relu(self.enlarge(h), inplace=not torch.is_grad_enabled())
            both = torch.cat([h, image.to(h.dtype)], dim=1)
            logits = self.head(both.contiguous(memory_format=torch.channels_last_3d))
        if embedded:
            logits = torch.cat([logits, *embedded], dim=1)
        return logits if crops is None else _crop(logits, config.halo_vox, offset)


def _crop(x: torch.Tensor, wanted: Triple, done: Triple) -> torch.Tensor:
    """Drop `wanted` − `done` voxels at each end."""
    z, y, x_ = (want - was for want, was in zip(wanted, done, strict=True))
    depth, height, width = x.shape[-3:]
    return x[..., z : depth - z, y : height - y, x_ : width - x_]


def _floats(factors: Triple) -> list[float]:
    return [float(factor) for factor in factors]
