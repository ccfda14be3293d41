"""Features of a DAWMR stage: dictionary responses at several scales, pooled around every voxel.

All triples are z, y, x. After Huang & Jain 2013 ("Deep and wide multiscale recursive networks for
robust image labeling", arXiv 1310.0354). Scales are made by averaging the cells of a grid that
starts at the input's origin, and a coarse feature belongs to all voxels of its cell, so a feature
is a function of the voxels around its position and of the phase of the grid, of nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from analysis.input_error import InputError
from predict.box import Triple
from predict.dawmr_shape import FeatureConfig


class DawmrFeatures(nn.Module):
    """Pooled, thresholded responses to dictionaries of contrast-normalised patches.

    The response of a filter is its product with the patch around a voxel, divided by
    sqrt(variance of the patch + floor); a soft threshold splits it by sign into two features
    (Coates & Ng 2011, "The importance of encoding versus training with sparse coding and vector
    quantization", ICML). What the normalisation takes away, mean and deviation of the patch, are
    two more features: membranes are dark, and without them the cut edges of FIB-25 were found with
    an average precision of 0.368 in place of 0.404. All features are averaged over boxes of growing
    radius around the voxel, the centre alone among them: full resolution in the middle and context
    around it (foveated pooling). A feature vector is ordered by scale, pool and channel; a channel
    has the positive parts of its atoms, the negative ones, mean and deviation.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config: FeatureConfig = config
        for index, scale in enumerate(config.scales):
            for channel, n_atoms in enumerate(config.atoms):
                self.register_buffer(
                    f"filters_{index}_{channel}", torch.zeros(n_atoms, 1, *scale.patch)
                )

    def set_filters(self, scale: int, channel: int, filters: npt.NDArray[np.float32]) -> None:
        """Set the dictionary of one channel at one scale.

        Args:
            scale: index into the configuration's scales.
            channel: of the input.
            filters: (atoms, voxels of a patch) or (atoms, z, y, x) float32, zero-mean.
        """
        buffer = self.filters(scale, channel)
        n_atoms, n_voxels = len(buffer), buffer[0].numel()
        if filters.shape not in ((n_atoms, n_voxels), (n_atoms, *buffer.shape[2:])):
            raise InputError(
                f"filters of scale {scale} and channel {channel} must have shape "
                f"{(n_atoms, n_voxels)}, got {filters.shape}."
            )
        buffer.copy_(torch.from_numpy(np.array(filters, np.float32)).reshape(buffer.shape))

    def filters(self, scale: int, channel: int) -> torch.Tensor:
        """Return the dictionary of a channel at a scale, (atoms, 1, z, y, x)."""
        return self.get_buffer(f"filters_{scale}_{channel}")

    def encode(self, channels: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps before pooling, for every scale where patches fit in.

        Args:
            channels: (n, C, z, y, x) float, extents multiples of the stride.

        Returns:
            for every scale (n, n_maps, z', y', x'), channels-last in memory.
        """
        self.require(channels, inner=False)
        return [
            self.encode_scale(index, channels).permute(0, 4, 1, 2, 3)
            for index in range(len(self.config.scales))
        ]

    def encode_scale(self, index: int, channels: torch.Tensor) -> torch.Tensor:
        """Return the feature maps of one scale, (n, z', y', x', n_maps); see `encode`."""
        config = self.config
        scale = config.scales[index]
        if scale.factor != (1, 1, 1):
            channels = functional.avg_pool3d(channels.float(), scale.factor)
        parts = []
        for channel in range(len(config.atoms)):
            source = channels[:, channel]
            products = _products(source, self.filters(index, channel))
            mean, variance = _moments(source, scale.patch)
            gain = (variance + config.contrast_floor).rsqrt()
            response = products * gain.to(products.dtype)
            parts += [
                functional.relu(response - config.threshold),
                functional.relu(-config.threshold - response),
                mean.to(products.dtype),
                variance.sqrt().to(products.dtype),
            ]
        return torch.cat(parts, dim=4)

    def at(self, channels: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the features of some voxels.

        Args:
            channels: (n, C, z, y, x) float, extents multiples of the stride.
            positions: (m, 4) int64: index of the input and z, y, x in its inner box, which is the
                input without `halo_vox` on every side.

        Returns:
            (m, n_features) float32.
        """
        self.require(channels)
        config = self.config
        n, _, *extents = channels.shape
        limits = [n, *(extent - 2 * h for extent, h in zip(extents, config.halo_vox, strict=True))]
        if bool(((positions < 0) | (positions >= positions.new_tensor(limits))).any()):
            raise InputError(f"positions must lie in the inner box, 0 to less than {limits}.")
        width = config.n_maps
        features = channels.new_empty((len(positions), config.n_features), dtype=torch.float32)
        for which in range(n):  # one at a time stays in the cache
            (rows,) = torch.nonzero(positions[:, 0] == which, as_tuple=True)
            column = 0
            for index, scale in enumerate(config.scales):
                factor = torch.tensor(scale.factor, device=positions.device)
                z, y, x = (positions[rows, 1:] // factor).unbind(1)
                maps = self.encode_scale(index, self.around(index, channels[which : which + 1]))
                for pool in scale.pools:
                    part = self.within(index, maps, pool)
                    sums = _window_sum(_window_sum(part, 1, 2 * pool[0] + 1), 2, 2 * pool[1] + 1)
                    total = torch.zeros(len(rows), width, device=maps.device)
                    for offset in range(2 * pool[2] + 1):  # only where asked along the last axis
                        total += sums[0, z, y, x + offset]
                    features[rows, column : column + width] = total / box_voxels(pool)
                    column += width
        return features

    def dense(self, channels: torch.Tensor) -> torch.Tensor:
        """Return the features of every voxel of the inner box, for small inputs.

        Args:
            channels: (n, C, z, y, x) float, extents multiples of the stride.

        Returns:
            (n, n_features, z, y, x) float32 of the input without `halo_vox` on every side.
        """
        halo = self.config.halo_vox
        n, _, *extents = channels.shape
        inner = [max(0, extent - 2 * h) for extent, h in zip(extents, halo, strict=True)]
        grid = [torch.arange(extent, device=channels.device) for extent in (n, *inner)]
        positions = torch.cartesian_prod(*grid)
        return self.at(channels, positions).view(n, *inner, -1).permute(0, 4, 1, 2, 3)

    def around(self, index: int, channels: torch.Tensor) -> torch.Tensor:
        """Cut away what a scale does not need for the inner box of the input."""
        scale = self.config.scales[index]
        drop = [
            halo - margin * factor
            for halo, margin, factor in zip(
                self.config.halo_vox, scale.margin, scale.factor, strict=True
            )
        ]
        return cropped(channels, drop)

    def within(self, index: int, maps: torch.Tensor, pool: Triple) -> torch.Tensor:
        """Cut away what a pool does not need of the maps made of `around`, (n, z, y, x, c)."""
        scale = self.config.scales[index]
        z, y, x = (
            margin - extent // 2 - radius
            for margin, extent, radius in zip(scale.margin, scale.patch, pool, strict=True)
        )
        depth, height, width = maps.shape[1:4]
        return maps[:, z : depth - z, y : height - y, x : width - x]

    def require(self, channels: torch.Tensor, *, inner: bool = True) -> None:
        """Refuse an input that is not on the grid or, if wanted, has no inner box."""
        config = self.config
        halo = config.halo_vox if inner else (0, 0, 0)
        if channels.ndim != 5 or channels.shape[1] != len(config.atoms):
            raise InputError(
                f"channels must be (n, {len(config.atoms)}, z, y, x), "
                f"got shape {tuple(channels.shape)}."
            )
        for extent, stride, h in zip(channels.shape[2:], config.stride, halo, strict=True):
            if extent % stride or extent <= 2 * h:
                raise InputError(
                    f"channels must have extents that are multiples of {config.stride} and more "
                    f"than twice {halo}, got {tuple(channels.shape[2:])}."
                )


def box_sum(maps: torch.Tensor, radius: Triple) -> torch.Tensor:
    """Sum channels-last maps over boxes, where these fit in.

    Args:
        maps: (n, z, y, x, c) float.
        radius: of the box; it has 2 r + 1 voxels along an axis.

    Returns:
        (n, z − 2 r, y − 2 r, x − 2 r, c) of the same type.
    """
    for axis in range(3):
        maps = _window_sum(maps, axis + 1, 2 * radius[axis] + 1)
    return maps


def _window_sum(maps: torch.Tensor, axis: int, length: int) -> torch.Tensor:
    """Sum over windows of odd length along one axis, made of windows of 2, 4, 8, … voxels."""
    extent = maps.shape[axis] - length + 1
    total = maps.narrow(axis, 0, extent)  # an odd window: its first voxel and powers of 2
    offset, power, size = 1, maps, 1
    while offset < length:
        valid = power.shape[axis] - size
        power = power.narrow(axis, 0, valid) + power.narrow(axis, size, valid)
        size *= 2
        if length & size:
            total = total + power.narrow(axis, offset, extent)
            offset += size
    return total


def box_voxels(radius: Triple) -> int:
    """Return the number of voxels of a box."""
    return math.prod(2 * r + 1 for r in radius)


def cropped(channels: torch.Tensor, drop: Sequence[int]) -> torch.Tensor:
    """Drop voxels at each end of the last three axes."""
    z, y, x = drop
    depth, height, width = channels.shape[-3:]
    return channels[..., z : depth - z, y : height - y, x : width - x]


def _products(source: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Return the products of filters with the patches that fit in, (n, z', y', x', atoms).

    The windows along x are laid out as channels first: a convolution of one channel leaves most
    of the CPU's matrix units idle and took three times as long.

    Args:
        source: (n, z, y, x) float.
        filters: (atoms, 1, z, y, x) float.
    """
    device = source.device.type
    low = device != "meta" and torch.is_autocast_enabled(device)
    source = source.to(torch.get_autocast_dtype(device) if low else filters.dtype)
    windows = source.unfold(3, filters.shape[4], 1).contiguous().permute(0, 4, 1, 2, 3)
    kernels = filters.permute(0, 4, 2, 3, 1).contiguous(memory_format=torch.channels_last_3d)
    return functional.conv3d(windows, kernels).permute(0, 2, 3, 4, 1)


def _moments(source: torch.Tensor, patch: Triple) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of every patch that fits in, each (n, z', y', x', 1) float32.

    In float64, because the variance is a difference of two means.
    """
    values = source[..., None].double()
    radius = (patch[0] // 2, patch[1] // 2, patch[2] // 2)
    n_voxels = math.prod(patch)
    mean = box_sum(values, radius) / n_voxels
    variance = box_sum(values * values, radius) / n_voxels - mean * mean
    return mean.float(), variance.clamp_min(0).float()
