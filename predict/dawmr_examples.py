"""Examples for the heads of a DAWMR iteration: features of sampled voxels and their true edges.

All triples are z, y, x. A batch is a function of the sampler's settings and the batch's number
alone, so it does not matter who makes it, when, or how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from analysis.input_error import InputError
from predict.augmentation import Symmetry, symmetries
from predict.blockwise import read_reflected
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import BoundaryTargets
from predict.box import Box, Triple, whole
from predict.compute_device import ComputeDevice
from predict.cross_fitting import N_PARTS, cut_training_boxes, examples_of
from predict.dawmr import DawmrConfig
from predict.dawmr_features import DawmrFeatures
from predict.patch_dictionary import contrast_normalised, learn_dictionary
from predict.recursion_volume import ChannelsLast, RecursionVolume, transformed_affinities
from predict.training_volume import TrainingVolume, targets_in

N_CANDIDATES = 4
"""Places looked at for a cube, of which one is taken by the density of errors there."""

UNIFORM_SHARE = 0.5
"""Share of a voxel's chance to be an example that does not depend on errors nearby."""

PATCHES_A_BOX = 1000
"""About so many of them come from one place."""


@dataclass(frozen=True, slots=True)
class ExampleSettings:
    """How many examples are taken, and from where.

    Attributes:
        cube_voxels: about so many voxels lie in a cube of examples.
        n_cubes: cubes in a batch.
        n_examples: voxels taken from each cube.
        n_patches: patches that a dictionary is learned from.
        n_measured: batches that features are standardised by.
    """

    cube_voxels: int = 24**3
    n_cubes: int = 4
    n_examples: int = 2048
    n_patches: int = 100_000
    n_measured: int = 8

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")


class Examples(NamedTuple):
    """A batch of m voxels, all of one cube in raster order if `labels` are given."""

    features: npt.NDArray[np.float16]  # (m, n_features)
    target: npt.NDArray[np.float32]  # (m, 4), boundary and affinities, 0 or 1
    known: npt.NDArray[np.bool_]  # (m, 4)
    part: npt.NDArray[np.uint8]  # (m,) index of the piece of `cross_fitting`
    labels: npt.NDArray[np.int64] | None  # (z, y, x)


class ExampleSampler:
    """Draws batches of examples from the training boxes of all volumes."""

    def __init__(
        self,
        network: DawmrConfig,
        iteration: int,
        features: DawmrFeatures,
        training: BoundaryTraining,
        volumes: Sequence[RecursionVolume],
        device: ComputeDevice,
        *,
        fold: int = 0,
        examples: ExampleSettings | None = None,
    ) -> None:
        """Take the dictionaries of the iteration and what it sees of every volume."""
        self.network, self.iteration, self.features = network, iteration, features
        self.training, self.volumes, self.device = training, volumes, device
        self.settings = ExampleSettings() if examples is None else examples
        self.seeds = (training.seed, fold, iteration)
        self.symmetries = symmetries(
            training.voxel_size_nm, two_dimensional=network.two_dimensional
        )
        self.parts: list[list[tuple[RecursionVolume, Box]]] = [[] for _ in range(N_PARTS)]
        for one in volumes:
            for part, boxes in zip(self.parts, _pieces(one.volume), strict=True):
                part += [(one, box) for box in boxes]
        self.cube = cube_shape(
            *(network, training, [one.volume for one in volumes], self.settings.cube_voxels)
        )

    def learn_filters(self, scale: int, channel: int) -> npt.NDArray[np.float32]:
        """Learn the dictionary of one channel at one scale from patches of the training boxes.

        Returns:
            (atoms, voxels of a patch) float32, see `patch_dictionary.learn_dictionary`.
        """
        rng = self._rng(0, scale, channel)
        config = self.network.iterations[self.iteration]
        factor, patch = config.scales[scale].factor, config.scales[scale].patch
        places = [place for part in self.parts for place in part]
        sizes = np.array([box.n_voxels for _, box in places], float)
        found, n_found = [], 0
        while n_found < self.settings.n_patches:
            one, box = places[int(rng.choice(len(places), p=sizes / sizes.sum()))]
            centre = _random_box(box, (1, 1, 1), rng).start  # the image around a box is no label
            shape = [(extent + 11) * f for extent, f in zip(patch, factor, strict=True)]
            z, y, x = (c - extent // 2 for c, extent in zip(centre, shape, strict=True))
            inside = Box((z, y, x), (z + shape[0], y + shape[1], x + shape[2]))
            if channel == 0:
                values = one.volume.normalisation.apply(read_reflected(one.volume.image, inside))
            else:
                assert one.affinities is not None
                values = read_reflected(ChannelsLast(one.affinities), inside)[..., channel - 1]
            coarse = _average_cells(np.asarray(values, np.float32), factor)
            windows = np.lib.stride_tricks.sliding_window_view(coarse, patch)
            flat = windows.reshape(-1, int(np.prod(patch)))
            taken = rng.permutation(len(flat))[:PATCHES_A_BOX]
            found.append(flat[taken])
            n_found += len(taken)
        patches = contrast_normalised(
            np.concatenate(found)[: self.settings.n_patches], config.contrast_floor
        )
        return learn_dictionary(patches, config.atoms[channel], rng)

    def examples(self, batch: int) -> Examples:
        """Return voxels of several cubes, half of them beside a cut edge."""
        rng = self._rng(1, batch)
        channels, chosen, targets, parts = [], [], [], []
        for cube in range(self.settings.n_cubes):
            part = (batch * self.settings.n_cubes + cube) % len(self.parts)
            one, place, symmetry = self._place(part, rng)
            channels.append(self._channels(one, place, symmetry, rng))
            target, known, _ = self._targets(one, place, symmetry)
            voxels = self._choose(one, place, symmetry, target, known, rng)
            chosen.append(np.column_stack([np.full(len(voxels), cube), voxels]))
            at = tuple(voxels.T)
            targets.append((target[:, *at].T, known[:, *at].T))
            parts.append(np.full(len(voxels), part, np.uint8))
        features = self._features(np.stack(channels), np.concatenate(chosen))
        target, known = (np.concatenate(arrays) for arrays in zip(*targets, strict=True))
        return Examples(features, target, known, np.concatenate(parts), None)

    def whole_cube(self, batch: int) -> Examples:
        """Return all voxels of one cube, for losses that look at more than one voxel."""
        rng = self._rng(2, batch)
        part = batch % len(self.parts)
        one, place, symmetry = self._place(part, rng)
        channels = self._channels(one, place, symmetry, rng)
        target, known, labels = self._targets(one, place, symmetry)
        voxels = np.argwhere(np.ones(self.cube, bool))
        features = self._features(channels[None], np.insert(voxels, 0, 0, axis=1))
        return Examples(
            features,
            np.ascontiguousarray(target.reshape(4, -1).T),
            np.ascontiguousarray(known.reshape(4, -1).T),
            np.full(len(voxels), part, np.uint8),
            labels,
        )

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence([*self.seeds, *key]))

    def _place(self, part: int, rng: np.random.Generator) -> tuple[RecursionVolume, Box, Symmetry]:
        """Draw a cube of a part; of some candidates one by how much is wrong there."""
        places = self.parts[part]
        symmetry = self.symmetries[int(rng.integers(len(self.symmetries)))]
        shape = symmetry.source_shape(self.cube)
        room = np.array([_placements(box, shape) for _, box in places], float)
        drawn = rng.choice(len(places), N_CANDIDATES, p=room / room.sum())
        candidates = [(places[i][0], _random_box(places[i][1], shape, rng)) for i in drawn]
        chances = np.array([float(_weights(one, place).mean()) for one, place in candidates])
        one, place = candidates[int(rng.choice(N_CANDIDATES, p=chances / chances.sum()))]
        return one, place, symmetry

    def _channels(
        self, one: RecursionVolume, place: Box, symmetry: Symmetry, rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Read image and affinities with their halo, (C, z, y, x) float32."""
        halo = symmetry.source_shape(self.network.iterations[self.iteration].halo_vox)
        box = _widened(place, halo, halo)
        image = one.volume.normalisation.apply(read_reflected(one.volume.image, box))
        image = symmetry.apply(self.training.intensity.apply(image, rng))
        if one.affinities is None:
            return image[None].copy()  # a mirrored axis of one voxel counts as contiguous as it is
        behind = _widened(box, (0, 0, 0), (1, 1, 1))
        affinities = np.moveaxis(read_reflected(ChannelsLast(one.affinities), behind), -1, 0)
        return np.concatenate([image[None], transformed_affinities(affinities, symmetry)])

    def _targets(
        self, one: RecursionVolume, place: Box, symmetry: Symmetry
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Derive the targets of a cube from its labels and those one voxel around it."""
        volume = one.volume
        inside = _widened(place, (1, 1, 1), (1, 1, 1)).intersect(whole(volume.labels.shape))
        around = symmetry.apply(np.asarray(volume.labels[inside.slices]))
        mask = volume.mask_in(inside)
        target, known = targets_in(
            around,
            volume,
            self.training,
            self.network,
            None if mask is None else symmetry.apply(mask),
        )
        cut = []
        for axis, origin in enumerate(symmetry.order):
            before = place.start[origin] - inside.start[origin]
            after = inside.stop[origin] - place.stop[origin]
            first = after if symmetry.flips[axis] else before
            cut.append(slice(first, first + self.cube[axis]))
        return target[:, *cut], known[:, *cut], around[tuple(cut)].astype(np.int64)

    def _choose(
        self,
        one: RecursionVolume,
        place: Box,
        symmetry: Symmetry,
        target: npt.NDArray[np.float32],
        known: npt.NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> npt.NDArray[np.int64]:
        """Draw voxels of a cube, half of them with a cut edge, by the density of errors; (m, 3)."""
        weights = symmetry.apply(_weights(one, place)) * known[1:].any(axis=0)
        is_cut = ((target[1:] == 0) & known[1:]).any(axis=0)
        chances = np.zeros(self.cube)
        for kind in (is_cut, ~is_cut):
            total = float(weights[kind].sum())
            if total > 0:
                chances[kind] = weights[kind] / total
        n_possible = int(np.count_nonzero(chances))
        if n_possible == 0:
            return np.zeros((0, 3), np.int64)
        drawn = rng.choice(
            chances.size,
            min(self.settings.n_examples, n_possible),
            replace=False,
            p=chances.ravel() / chances.sum(),
        )
        return np.column_stack(np.unravel_index(np.sort(drawn), self.cube))

    def _features(
        self, channels: npt.NDArray[np.float32], positions: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float16]:
        """Return the features of some voxels, (m, n_features)."""
        source = torch.from_numpy(channels).to(self.device.torch_device)
        at = torch.from_numpy(positions).to(self.device.torch_device)
        with torch.inference_mode(), self.device.autocast():
            features = self.features.at(source, at)
        return features.half().cpu().numpy()


def cube_shape(
    network: DawmrConfig,
    training: BoundaryTraining,
    volumes: Sequence[TrainingVolume],
    cube_voxels: int,
) -> Triple:
    """Return the shape of a cube of examples: whole cells of the grid, equal in nanometres.

    Axes that a symmetry exchanges get the same extent.

    Args:
        network: its stride.
        training: voxel size.
        volumes: every piece of each has to hold a cube.
        cube_voxels: about so many are wanted.

    Raises:
        InputError: a piece is too small.
    """
    size, stride = np.array(training.voxel_size_nm), np.array(network.stride)
    wanted = np.cbrt(cube_voxels * size.prod()) / size
    if network.two_dimensional:
        wanted = np.sqrt(cube_voxels * size[1:].prod()) / size
        wanted[0] = 1
    parts = [part for volume in volumes for part in _pieces(volume)]
    boxes = [box.shape for part in parts for box in part]
    room = np.array(boxes).min(axis=0) if all(parts) else np.zeros(3, int)
    flat = network.two_dimensional
    for symmetry in symmetries(training.voxel_size_nm, two_dimensional=flat):
        room = np.minimum(room, room[list(symmetry.order)])
        wanted = np.minimum(wanted, wanted[list(symmetry.order)])
    extents = np.minimum(np.maximum(wanted.round(), stride), room) // stride * stride
    if (extents < 1).any():
        raise InputError(
            f"labels leave pieces of {tuple(map(int, room))} voxels to train on, but a "
            f"network of this kind needs at least {network.stride}."
        )
    z, y, x = extents.astype(int).tolist()
    return z, y, x


def known_targets(
    volume: TrainingVolume, box: Box, training: BoundaryTraining, network: DawmrConfig
) -> BoundaryTargets:
    """Return the targets of a box, with the labels one voxel around it looked at, (4, z, y, x)."""
    inside = _widened(box, (1, 1, 1), (1, 1, 1)).intersect(whole(volume.labels.shape))
    labels = np.asarray(volume.labels[inside.slices])
    target, known = targets_in(labels, volume, training, network, volume.mask_in(inside))
    cut = box.slices_in(inside)
    return BoundaryTargets(target[:, *cut], known[:, *cut])


def _pieces(volume: TrainingVolume) -> tuple[tuple[Box, ...], ...]:
    return examples_of(cut_training_boxes(volume.split.training))


def _weights(one: RecursionVolume, place: Box) -> npt.NDArray[np.float64]:
    """Return how much more than others the voxels of a box are looked at, of mean about 1."""
    if one.errors is None or one.mean_error == 0:
        return np.ones(place.shape)
    errors = np.asarray(one.errors[place.slices], np.float64)
    return UNIFORM_SHARE + (1 - UNIFORM_SHARE) * errors / one.mean_error


def _random_box(box: Box, shape: Sequence[int], rng: np.random.Generator) -> Box:
    """Return a box of a shape anywhere in another one."""
    z, y, x = (
        int(rng.integers(start, stop - extent + 1))
        for start, stop, extent in zip(box.start, box.stop, shape, strict=True)
    )
    return Box((z, y, x), (z + shape[0], y + shape[1], x + shape[2]))


def _placements(box: Box, shape: Triple) -> int:
    z, y, x = (extent - length + 1 for extent, length in zip(box.shape, shape, strict=True))
    return z * y * x


def _widened(box: Box, before: Triple, behind: Triple) -> Box:
    z0, y0, x0 = (a - b for a, b in zip(box.start, before, strict=True))
    z1, y1, x1 = (a + b for a, b in zip(box.stop, behind, strict=True))
    return Box((z0, y0, x0), (z1, y1, x1))


def _average_cells(values: npt.NDArray[np.float32], factor: Triple) -> npt.NDArray[np.float32]:
    """Return the means of the cells of a grid, (z / f, y / f, x / f)."""
    (fz, fy, fx), (z, y, x) = factor, values.shape
    return values.reshape(z // fz, fz, y // fy, fy, x // fx, fx).mean(axis=(1, 3, 5))
