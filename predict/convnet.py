"""The classic convolutional network: a handful of valid 3D convolutions and nothing else.

All triples are z, y, x. Without pooling and padding every output voxel is the same function of the
voxels within `halo_vox` of it, so the network may be applied to any box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from analysis.input_error import InputError
from predict.anisotropy import validate_voxel_size
from predict.boundary_network import CHANNELS, BoundaryNetwork
from predict.box import Triple

RADIUS = 2
"""Of the kernels along the finest axis: 5 voxels."""

STATISTICS_MOMENTUM = 0.02
"""The statistics used in evaluation are means over about the last 50 steps."""


@dataclass(frozen=True, slots=True)
class ConvNetConfig:
    """Shape of a classic convolutional network.

    Attributes:
        widths: feature maps of every hidden layer.
        kernels: kernel size of every convolution, one more than `widths`; odd numbers.
        in_channels: channels of the image.
    """

    widths: tuple[int, ...]
    kernels: tuple[Triple, ...]
    in_channels: int = 1

    def __post_init__(self) -> None:
        if not len(self.kernels) == len(self.widths) + 1 > 1:
            raise InputError(
                "kernels must be one more than widths, "
                f"got {len(self.kernels)} and {len(self.widths)}."
            )
        if min(*self.widths, self.in_channels) < 1:
            raise InputError(f"widths must be positive, got {self.widths}.")
        if not all(k > 0 and k % 2 == 1 for kernel in self.kernels for k in kernel):
            raise InputError(f"kernels must be odd along each axis, got {self.kernels}.")

    @classmethod
    def for_voxel_size(
        cls,
        voxel_size_nm: tuple[float, float, float],
        *,
        widths: tuple[int, ...] = (12, 12, 12),
        two_dimensional: bool = False,
    ) -> ConvNetConfig:
        """Return the shape whose field of view is about as long along each axis, in nanometres.

        Along the finest axis every kernel has 5 voxels. Along a coarser one the reach of all layers
        together is shared out from the last layer back, so thick sections are first looked at one
        by one and compared when they have been understood.

        Args:
            voxel_size_nm: z, y, x.
            widths: feature maps of every hidden layer.
            two_dimensional: every section alone.
        """
        size = validate_voxel_size(voxel_size_nm)
        finest = min(size[1:]) if two_dimensional else min(size)
        n_layers = len(widths) + 1
        radii = []
        for axis in range(3):
            left = round(RADIUS * n_layers * finest / size[axis])
            if axis == 0 and two_dimensional:
                left = 0
            along: list[int] = []
            for _ in range(n_layers):
                along.insert(0, min(RADIUS, left))
                left -= along[0]
            radii.append(along)
        kernels = tuple((2 * z + 1, 2 * y + 1, 2 * x + 1) for z, y, x in zip(*radii, strict=True))
        return cls(widths=widths, kernels=kernels)

    @property
    def receptive_fields(self) -> tuple[Triple, ...]:
        """Return how many voxels of the image a voxel of every layer sees, the output last."""
        z, y, x = 1, 1, 1
        fields = []
        for kernel in self.kernels:
            z, y, x = z + kernel[0] - 1, y + kernel[1] - 1, x + kernel[2] - 1
            fields.append((z, y, x))
        return tuple(fields)

    @property
    def two_dimensional(self) -> bool:
        """Tell whether every section is predicted alone."""
        return all(kernel[0] == 1 for kernel in self.kernels)

    @property
    def stride(self) -> Triple:
        """Return 1: every voxel is treated alike."""
        return 1, 1, 1

    @property
    def halo_vox(self) -> Triple:
        """Return half the receptive field."""
        z, y, x = self.receptive_fields[-1]
        return z // 2, y // 2, x // 2

    @property
    def lost_vox(self) -> Triple:
        """Return the halo: convolutions are not padded."""
        return self.halo_vox

    def build(self) -> BoundaryConvNet:
        """Return a network of this shape with random weights."""
        return BoundaryConvNet(self)


class BoundaryConvNet(BoundaryNetwork):
    """Valid convolutions with a nonlinearity between them, and logits of its channels at the end.

    After Jain et al. 2007 ("Supervised learning of image restoration with convolutional networks",
    ICCV) and Turaga et al. 2010 ("Convolutional networks can learn to generate affinity graphs for
    image segmentation", Neural Computation 22). With cubic voxels and the default widths:

        layer   kernel   maps   receptive field
        1       5³       12      5³
        2       5³       12      9³
        3       5³       12     13³
        output  5³       4      17³

    and with voxels of 30 × 6 × 6 nm 1×5², 1×5², 1×5² and 5×5², which see 1×5², 1×9², 1×13² and
    5×17²; `ConvNetConfig.receptive_fields` says it of any other shape. Theirs had logistic units
    and were trained for days; ours have rectified ones and batch normalisation (Ioffe & Szegedy
    2015, arXiv 1502.03167), which in evaluation is a constant.
    """

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        self.config: ConvNetConfig = config
        channels = (config.in_channels, *config.widths)
        self.hidden = nn.ModuleList(
            nn.Conv3d(before, after, kernel, bias=False)
            for before, after, kernel in zip(
                channels[:-1], channels[1:], config.kernels[:-1], strict=True
            )
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm3d(width, momentum=STATISTICS_MOMENTUM) for width in config.widths
        )
        self.output = nn.Conv3d(channels[-1], len(CHANNELS), config.kernels[-1])
        for layer in self.hidden:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # pyright: ignore[reportArgumentType]

    def forward(self, image: torch.Tensor, inner_only: bool = False) -> torch.Tensor:
        """Return the logits of the channels.

        Args:
            image: (n, in_channels, z, y, x) float, normalised, larger than twice `halo_vox`.
            inner_only: makes no difference, the output has no border that anything is felt at.

        Returns:
            (n, 4, z, y, x) logits of the input box without `halo_vox` on every side.
        """
        h = image
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            h = functional.relu(norm(layer(h)), inplace=not torch.is_grad_enabled())
        return self.output(h)
