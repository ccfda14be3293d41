from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from analysis.input_error import InputError
from predict.augmentation import IntensityChange
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import boundary_targets
from predict.box import Box, whole
from predict.convnet import ConvNetConfig
from predict.deformation import Deformation
from predict.folds import VolumeSplit, split_volume
from predict.image_normalisation import ImageNormalisation
from predict.training_patches import PatchSampler
from predict.training_volume import TrainingVolume, known_part, require_learnable
from predict.unet import UNetConfig

NETWORK = UNetConfig.for_voxel_size((8, 8, 8), widths=(8, 12))
FLAT = UNetConfig.for_voxel_size((50, 4, 4), widths=(8, 12), two_dimensional=True)
CONVNET = ConvNetConfig.for_voxel_size((8, 8, 8), widths=(4,))
PLAIN = IntensityChange(0, 0, 0, 0, 0, 0)
SETTINGS = BoundaryTraining(
    (8, 8, 8), steps=8, n_evaluations=4, batch_voxels=16**3, patch_voxels=8**3, intensity=PLAIN
)
STILL = Deformation(elastic_patches=0)
ALWAYS = Deformation(elastic_patches=1, misaligned_patches=1, reach_nm=24, spacing_nm=80)
AS_IT_IS = ImageNormalisation(0.0, 1.0)


class Spy:
    """An array that remembers which voxels were read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.read = np.zeros(array.shape, bool)

    def __getitem__(self, key):
        self.read[key] = True
        return self.array[key]


def _cells(shape, n_cells: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, np.int32)
    seeds[tuple(rng.integers(0, extent, n_cells) for extent in shape)] = np.arange(1, n_cells + 1)
    nearest = ndimage.distance_transform_edt(
        seeds == 0, return_distances=False, return_indices=True
    )
    assert isinstance(nearest, np.ndarray)
    return seeds[tuple(nearest)]


def _volume(drawn, image=None, **changes) -> TrainingVolume:
    box = split_volume(drawn.shape, 1, 0).training
    known = {
        "image": drawn.astype(np.float32) if image is None else image,
        "normalisation": AS_IT_IS,
        "zero_is_membrane": False,
        "split": VolumeSplit(box, (), None),
    }
    return TrainingVolume(**{"labels": drawn, **known, **changes})


@pytest.mark.parametrize("network", [NETWORK, FLAT])
def test_targets_of_a_patch_are_those_of_the_whole_volume(network):
    """The labels around a patch decide its border voxels, whatever the symmetry."""
    labels = _cells((12, 40, 40), 30, seed=5)
    index = np.arange(labels.size, dtype=np.float32).reshape(labels.shape)
    flat = network is FLAT
    training = replace(SETTINGS, voxel_size_nm=(50, 4, 4) if flat else (8, 8, 8))
    sampler = PatchSampler(network, training, [_volume(labels, index)], STILL)
    expected = boundary_targets(labels, zero_is_membrane=False, in_section=flat).target[0]
    rng = np.random.default_rng(1)
    for _ in range(30):
        image, target, known, patch_labels = sampler.patch(rng)
        assert image.shape == sampler.patch_shape
        where = np.round(image).astype(int)
        np.testing.assert_array_equal(target[0], expected.ravel()[where])
        np.testing.assert_array_equal(patch_labels, labels.ravel()[where])
        assert known[0].all()
        assert known[1].any() != flat


@pytest.mark.parametrize("size", [(8.0, 8.0, 8.0), (24.0, 4.0, 4.0)])
def test_image_and_labels_of_a_deformed_patch_move_alike(size):
    labels = _cells((30, 60, 60), 30, seed=2)
    training = replace(SETTINGS, voxel_size_nm=size, patch_voxels=16**3)
    network = UNetConfig.for_voxel_size(size, widths=(4, 4))
    thick = size[0] > 8
    deformation = replace(ALWAYS, in_plane=thick)
    sampler = PatchSampler(network, training, [_volume(labels)], deformation)
    window = (1 if thick else 5, 5, 5)
    rng = np.random.default_rng(0)
    n_inner = n_moved = 0
    for _ in range(20):
        image, _, _, found = sampler.patch(rng)
        assert image.shape == found.shape == sampler.patch_shape
        around = [
            extreme(found, window, mode="constant", cval=-1)
            for extreme in (ndimage.minimum_filter, ndimage.maximum_filter)
        ]
        inner = around[0] == around[1]
        n_inner += np.count_nonzero(inner)
        np.testing.assert_allclose(image[inner], found[inner], atol=1e-4)
        n_moved += np.count_nonzero(image != found)
    assert n_inner > 2000
    assert n_moved > 200  # between two cells grey values are interpolated, labels are not


def test_patches_come_with_their_labels():
    sampler = PatchSampler(NETWORK, SETTINGS, [_volume(_cells((24, 40, 32), 40, 3))], ALWAYS)
    rng = np.random.default_rng(0)
    for _ in range(20):
        _, target, known, labels = sampler.patch(rng)
        inside = boundary_targets(labels, zero_is_membrane=False, in_section=False)
        for axis in range(3):
            part = (axis + 1, *(slice(None),) * axis, slice(1, None))
            np.testing.assert_array_equal(target[part], inside.target[part])
            assert known[part].all()


def test_a_deformed_patch_reads_no_label_outside_its_box():
    labels = Spy(_cells((24, 40, 32), 40, 3))
    box = Box((4, 8, 6), (20, 30, 28))
    volume = _volume(labels.array, labels=labels, split=VolumeSplit((box,), (), None))
    sampler = PatchSampler(NETWORK, SETTINGS, [volume], ALWAYS)
    rng = np.random.default_rng(0)
    for _ in range(200):
        sampler.patch(rng)
    expected = np.zeros(labels.shape, bool)
    expected[box.slices] = True
    np.testing.assert_array_equal(labels.read, expected)
    PatchSampler(NETWORK, SETTINGS, [volume], STILL).batch(rng)
    grown = np.zeros(labels.shape, bool)
    grown[3:21, 7:31, 5:29] = True
    assert not labels.read[~grown].any()


def test_the_same_seed_draws_the_same_patches():
    sampler = PatchSampler(
        NETWORK,
        replace(SETTINGS, intensity=IntensityChange()),
        [_volume(_cells((24, 40, 32), 40, 3))],
    )
    first, second, other = (sampler.batch(np.random.default_rng(seed)) for seed in (1, 1, 2))
    for one, same in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("deformation", [STILL, ALWAYS])
@pytest.mark.parametrize("zero_is_membrane", [True, False])
def test_what_the_mask_leaves_out_is_never_asked(deformation, zero_is_membrane):
    labels = _cells((24, 40, 32), 40, 3)
    labels[:, :, 10:12] = 0
    mask = np.random.default_rng(0).uniform(size=labels.shape) < 0.9
    volume = _volume(labels, mask.astype(np.float32), mask=mask, zero_is_membrane=zero_is_membrane)
    sampler = PatchSampler(NETWORK, SETTINGS, [volume], deformation)
    rng = np.random.default_rng(0)
    for _ in range(30):
        seen, target, known, found = sampler.patch(rng)  # the image shows the mask
        if deformation is ALWAYS:
            assert not known[:, seen == 0].any()  # no known voxel in reach
            assert known[0].any()
            continue
        np.testing.assert_array_equal(known[0] & (seen == 0), False)
        for axis in range(3):
            here = (axis + 1, *(slice(None),) * axis, slice(1, None))
            there = (*(slice(None),) * axis, slice(None, -1))
            after = (*(slice(None),) * axis, slice(1, None))
            both = (seen[after] > 0) & (seen[there] > 0)
            if not zero_is_membrane:
                both &= (found[after] > 0) & (found[there] > 0)
            np.testing.assert_array_equal(known[here], both)
        assert not (target[0] > 0)[(seen == 0)].any()


def test_patches_lie_over_what_is_known():
    labels = np.zeros((40, 60, 50), np.int64)
    labels[30:36, 5:40, 30:36] = _cells((6, 35, 6), 10, 0)
    for network in (NETWORK, CONVNET):
        sampler = PatchSampler(network, SETTINGS, [_volume(labels)], STILL)
        rng = np.random.default_rng(0)
        for _ in range(40):
            known = sampler.patch(rng).known
            z, y, x = network.lost_vox
            depth, height, width = known.shape[1:]
            assert known[0, z : depth - z, y : height - y, x : width - x].any()


def test_scattered_labels_are_drawn_for_again_but_not_for_ever():
    labels = np.zeros((40, 60, 50), np.int64)
    labels[0, 0, 0], labels[39, 50, 40] = 1, 2
    sampler = PatchSampler(NETWORK, SETTINGS, [_volume(labels)])
    rng = np.random.default_rng(0)
    found = [bool((sampler.patch(rng).labels > 0).any()) for _ in range(10)]
    assert len(found) == 10


def test_what_is_known_nowhere_is_left_out():
    labels = _cells((24, 40, 32), 40, 3)
    halves = whole(labels.shape).along(1, 0, 18), whole(labels.shape).along(1, 20, 40)
    mask = np.ones(labels.shape, np.uint8)
    mask[halves[0].slices] = 0
    volume = _volume(labels, mask=mask, split=VolumeSplit(halves, (), None))
    sampler = PatchSampler(NETWORK, SETTINGS, [volume])
    assert [box for _, box in sampler.boxes] == [halves[1]]
    with pytest.raises(InputError, match="labels have no labelled voxel in the part to train on"):
        PatchSampler(NETWORK, SETTINGS, [replace(volume, mask=np.zeros(labels.shape, bool))])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 4), st.booleans())
def test_the_known_part_is_the_smallest_box(seed, n_known, as_mask):
    rng = np.random.default_rng(seed)
    known = np.zeros((40, 7, 8), bool)
    known[tuple(rng.integers(0, extent, n_known) for extent in known.shape)] = True
    labels = np.ones(known.shape, int) if as_mask else known.astype(int)
    volume = _volume(labels, mask=known if as_mask else None, zero_is_membrane=as_mask)
    box = Box((2, 1, 0), (39, 7, 6))
    places = np.argwhere(known[box.slices]) + box.start
    if len(places) == 0:
        assert known_part(volume, box) is None
    else:
        expected = (*places.min(0).tolist(),), (*(places.max(0) + 1).tolist(),)
        assert known_part(volume, box) == expected


def test_labels_that_teach_nothing():
    labels = _cells((24, 40, 32), 40, 3)
    split = split_volume(labels.shape, 1, 0)
    volume = _volume(labels, split=split)
    require_learnable([volume], SETTINGS, NETWORK)
    one = replace(volume, labels=np.ones(labels.shape, int))
    require_learnable([one, volume], SETTINGS, NETWORK)
    train, keep = split.training[0].slices, split.validation[0].slices

    def refused(message, value, part, **changes):
        changed = labels.copy()
        changed[part] = value
        with pytest.raises(InputError, match=message):
            require_learnable([replace(volume, labels=changed, **changes)], SETTINGS, NETWORK)

    refused("labels have no boundary in the part to train on", 1, train)
    refused("labels have no labelled voxel in the part to train on", 0, train)
    refused("labels have no boundary in the part kept for validation", 1, keep)
    refused("labels have no labelled voxel in the part kept for validation", 0, keep)
    refused("are boundary everywhere in the part to train on", 0, train, zero_is_membrane=True)
    every_section = np.arange(24)[:, None, None] + np.zeros(labels.shape, int)
    stack = replace(volume, labels=every_section)
    require_learnable([_volume(labels, split=split)], SETTINGS, NETWORK)
    with pytest.raises(InputError, match="labels are boundary everywhere in the part to train on"):
        require_learnable([stack], SETTINGS, NETWORK)
    with pytest.raises(InputError, match="labels have no boundary in the part to train on"):
        require_learnable([stack], SETTINGS, FLAT)


def test_shapes_that_differ():
    labels = np.ones((4, 5, 6), int)
    with pytest.raises(InputError, match=r"image and labels must .* \(4, 5, 6\) and \(4, 5, 5\)"):
        _volume(labels, labels=labels[:, :, 1:])
    with pytest.raises(InputError, match=r"image and mask must .* \(4, 5, 6\) and \(3, 5, 6\)"):
        _volume(labels, mask=labels[1:])
