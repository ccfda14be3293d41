from __future__ import annotations

import numpy as np
import pytest
import torch

from analysis.input_error import InputError
from predict.augmentation import IntensityChange, Symmetry, symmetries
from predict.boundary_settings import BoundaryTraining
from predict.boundary_targets import boundary_targets
from predict.box import Box
from predict.compute_device import choose_device
from predict.dawmr import DawmrConfig
from predict.dawmr_examples import (
    ExampleSampler,
    ExampleSettings,
    known_targets,
)
from predict.dawmr_features import DawmrFeatures
from predict.folds import split_volume
from predict.image_normalisation import measure_normalisation
from predict.recursion_volume import RecursionVolume, transformed_affinities
from predict.training_volume import TrainingVolume

UNCHANGED = IntensityChange(0, 0, 0, 0, 0, 0)
SHAPE = (40, 64, 72)
SMALL = ExampleSettings(12**3, 4, 200, 5000, 2)
N = SMALL.n_cubes * SMALL.n_examples


def cells(shape: tuple[int, int, int], n_cells: int, seed: int) -> np.ndarray:
    """Return labels of the nearest of some random points, which touch."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, shape, (n_cells, 3))
    voxels = np.argwhere(np.ones(shape, bool))
    nearest = ((voxels[:, None] - points) ** 2).sum(axis=2).argmin(axis=1)
    return nearest.reshape(shape).astype(np.int32) + 1


def recursion_volume(iteration: int, seed: int = 0) -> RecursionVolume:
    labels = cells(SHAPE, 60, seed)
    boundary = boundary_targets(labels, zero_is_membrane=False, in_section=False).target[0]
    rng = np.random.default_rng(seed)
    image = (180 - 90 * boundary + rng.normal(0, 10, SHAPE)).astype(np.uint8)
    volume = TrainingVolume(
        image, labels, measure_normalisation(image), False, split_volume(SHAPE, 1, 0)
    )
    if iteration == 0:
        return RecursionVolume(volume)
    affinities = boundary_targets(labels, zero_is_membrane=False, in_section=False).target[1:]
    errors = np.zeros(SHAPE, np.float16)
    errors[:, :, :36] = 0.5
    return RecursionVolume(volume, affinities, errors, 0.25)


def sampler(iteration: int = 0, *, two_dimensional: bool = False) -> ExampleSampler:
    network = DawmrConfig.for_voxel_size(
        (8, 8, 8), n_iterations=2, atoms=(6, 2), two_dimensional=two_dimensional
    )
    features = DawmrFeatures(network.iterations[iteration])
    rng = np.random.default_rng(1)
    for name, buffer in features.named_buffers():
        buffer.copy_(torch.from_numpy(rng.normal(0, 1, buffer.shape).astype(np.float32)))
        assert name.startswith("filters")
    training = BoundaryTraining((8, 8, 8), steps=20, intensity=UNCHANGED)
    volumes = [recursion_volume(iteration)]
    return ExampleSampler(
        *(network, iteration, features, training, volumes, choose_device("cpu")), examples=SMALL
    )


@pytest.mark.parametrize("symmetry", symmetries((8, 8, 8)))
def test_affinities_turn_as_the_affinities_of_turned_labels(symmetry: Symmetry) -> None:
    labels = cells((9, 10, 11), 12, 3)
    affinities = boundary_targets(labels, zero_is_membrane=False, in_section=False).target[1:]
    box = Box((2, 1, 3), (6, 7, 8))
    behind = affinities[:, 2:7, 1:8, 3:9]
    turned = transformed_affinities(behind, symmetry)
    # The same from labels with a rim of one voxel, turned first.
    around = symmetry.apply(labels[1:7, 0:8, 2:9])
    wanted = boundary_targets(around, zero_is_membrane=False, in_section=False).target[1:]
    np.testing.assert_array_equal(turned, wanted[:, 1:-1, 1:-1, 1:-1])
    assert turned.shape[1:] == symmetry.apply(labels[box.slices]).shape


def test_a_batch_is_a_function_of_its_number() -> None:
    first, again, other = (sampler().examples(batch) for batch in (4, 4, 5))
    for one, two in zip(first[:4], again[:4], strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first.features, other.features)


@pytest.mark.parametrize("iteration", [0, 1])
def test_examples_are_balanced_and_lie_in_their_parts(iteration: int) -> None:
    one = sampler(iteration)
    batch = one.examples(0)
    n_features = one.network.iterations[iteration].n_features
    assert batch.features.shape == (len(batch.target), n_features)
    assert batch.features.dtype == np.float16
    assert len(batch.target) == N
    is_cut = ((batch.target[:, 1:] == 0) & batch.known[:, 1:]).any(axis=1)
    assert abs(is_cut.mean() - 0.5) < 0.1
    assert np.bincount(batch.part).tolist() == [N // 2] * 2


def test_a_whole_cube_has_the_targets_of_its_labels() -> None:
    one = sampler()
    batch = one.whole_cube(3)
    assert batch.labels is not None
    assert batch.labels.shape == one.cube
    assert set(batch.part.tolist()) == {1}
    target, known = boundary_targets(batch.labels, zero_is_membrane=False, in_section=False)
    ours = batch.target.T.reshape(4, *one.cube)
    inner = (slice(None), *(slice(1, -1),) * 3)
    np.testing.assert_array_equal(ours[inner], target[inner])
    assert batch.known.all()
    assert known[inner].all()


def test_whole_sections_are_read_in_every_symmetry() -> None:
    """A section of one voxel along z that is mirrored along z holds its numbers as before."""
    one = sampler(two_dimensional=True)
    assert one.cube[0] == 1
    assert any(symmetry.flips[0] for symmetry in one.symmetries)
    for batch in range(2 * len(one.symmetries)):
        assert np.isfinite(one.whole_cube(batch).features).all()


def test_features_are_those_of_the_place() -> None:
    """Examples of an image that is its own label tell where they were taken."""
    one = sampler()
    batch = one.whole_cube(0)
    dense = batch.features.astype(np.float32)
    # The centre pool of the finest scale responds to membranes, which the targets know.
    boundary = batch.target[:, 0] > 0
    centre = dense[:, :12]
    difference = centre[boundary].mean(axis=0) - centre[~boundary].mean(axis=0)
    assert np.abs(difference).max() > 0.2


def test_more_examples_are_drawn_where_there_are_errors() -> None:
    one = sampler(1)
    x_of = [one._place(0, np.random.default_rng(seed))[1].start[2] for seed in range(200)]
    assert np.mean(np.array(x_of) + one.cube[2] / 2 < 36) > 0.5


def test_targets_of_a_box_look_one_voxel_around_it() -> None:
    one = sampler()
    volume, box = one.volumes[0].volume, Box((5, 6, 7), (15, 20, 19))
    target, known = known_targets(volume, box, one.training, one.network)
    labels = np.asarray(volume.labels)
    whole = boundary_targets(labels, zero_is_membrane=False, in_section=False)
    np.testing.assert_array_equal(target, whole.target[:, *box.slices])
    np.testing.assert_array_equal(known, whole.known[:, *box.slices])


def test_dictionaries_are_learned_from_every_channel() -> None:
    one = sampler(1)
    for channel, n_atoms in enumerate(one.network.iterations[1].atoms):
        filters = one.learn_filters(1, channel)
        assert filters.shape == (n_atoms, 125)
        np.testing.assert_allclose(filters.sum(axis=1), 0, atol=1e-4)
        np.testing.assert_array_equal(filters, one.learn_filters(1, channel))


def test_too_little_labelled_tissue_is_refused() -> None:
    network = DawmrConfig.for_voxel_size((8, 8, 8), n_iterations=1, atoms=(4, 2))
    image = np.random.default_rng(0).integers(0, 255, (6, 20, 40)).astype(np.uint8)
    labels = np.ones((6, 20, 40), np.int32)
    volume = TrainingVolume(
        image, labels, measure_normalisation(image), False, split_volume((6, 20, 40), 1, 0)
    )
    training = BoundaryTraining((8, 8, 8), steps=10)
    small = RecursionVolume(volume)
    sampled = ExampleSampler(
        *(network, 0, DawmrFeatures(network.iterations[0]), training, [small]),
        choose_device("cpu"),
    )
    assert sampled.cube == (4, 4, 4)
    tiny = TrainingVolume(
        image[:3], labels[:3], volume.normalisation, False, split_volume((3, 20, 40), 1, 0)
    )
    with pytest.raises(InputError, match="labels leave pieces of"):
        ExampleSampler(
            *(network, 0, DawmrFeatures(network.iterations[0]), training),
            *([RecursionVolume(tiny)], choose_device("cpu")),
        )
