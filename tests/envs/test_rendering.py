from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from analysis.input_error import InputError
from envs.dynamics import Dynamics
from envs.generator import VoronoiGenerator, instance_of_volume
from envs.instance import Instance, LabelledVolume
from envs.merge_network import mean_boundary_network
from envs.merge_state import NODE, SMALLEST
from envs.prices import Prices
from envs.rendering import CONTACT_COLOUR, PAIR_COLOURS, SIDE_PX, SectionDrawing
from tests.envs.random_tissue import SEEDS, cell_labels

modest = settings(max_examples=25, deadline=None)


def started(instance: Instance) -> Dynamics:
    dynamics = Dynamics(n_candidates=2)
    dynamics.reset(instance, "vi", Prices())
    return dynamics


def drawn(
    superpixels: npt.NDArray, image: npt.NDArray, voxel_size_nm: tuple[float, float, float]
) -> npt.NDArray[np.uint8]:
    """Draw the first candidate of a volume."""
    boundaries = np.zeros(superpixels.shape, np.uint8)
    instance = instance_of_volume(
        superpixels,
        image,
        boundaries,
        np.ones(superpixels.shape, np.uint8),
        voxel_size_nm=voxel_size_nm,
    )
    return SectionDrawing(instance).draw(started(instance))


def pixel_of(picture: npt.NDArray, shape: tuple[int, int], row: int, column: int) -> list[int]:
    """Return the colour in the middle of a voxel of a section that fills the picture."""
    tall, wide = (SIDE_PX / n for n in shape)
    return picture[int((row + 0.5) * tall), int((column + 0.5) * wide)].tolist()


def tinted(grey: int, colour: npt.NDArray) -> list[int]:
    return np.rint(grey + 0.5 * (colour - grey)).tolist()


def test_drawn_by_hand() -> None:
    """Two superpixels that share two faces in plane x = 1 and in no other plane as many.

    Plane x = 1, rows z and columns y, where 0 is no superpixel:  5 5 9 0
                                                                 5 5 9 9
                                                                 0 0 0 0
                                                                 0 0 0 0
    """
    superpixels = np.zeros((4, 4, 4), np.int32)
    superpixels[:2, :2, 1] = 5
    superpixels[:2, 2, 1] = superpixels[1, 3, 1] = 9
    image = np.full(superpixels.shape, 100, np.uint8)
    image[1, 0, 1], image[3, 3, 1] = 60, 200
    picture = drawn(superpixels, image, (1.0, 1.0, 1.0))
    assert picture.shape == (384, 384, 3)
    assert picture.dtype == np.uint8
    shape = (4, 4)
    assert pixel_of(picture, shape, 0, 0) == tinted(100, PAIR_COLOURS[0])
    assert pixel_of(picture, shape, 1, 0) == tinted(60, PAIR_COLOURS[0])
    assert pixel_of(picture, shape, 0, 2) == tinted(100, PAIR_COLOURS[1])
    assert pixel_of(picture, shape, 1, 3) == tinted(100, PAIR_COLOURS[1])
    assert pixel_of(picture, shape, 0, 3) == [100, 100, 100]
    assert pixel_of(picture, shape, 3, 3) == [200, 200, 200]
    is_contact = (picture == CONTACT_COLOUR).all(2)
    expected = np.zeros((384, 384), np.bool_)
    expected[:192, 192 - 3 : 192 + 3] = True  # between y = 1 and y = 2, where z is 0 or 1
    np.testing.assert_array_equal(is_contact, expected)


def test_a_flat_voxel_is_drawn_flat() -> None:
    """A volume of 2 × 8 × 4 voxels of 40 × 10 × 10 nm, whose contact is seen from above best."""
    superpixels = np.ones((2, 8, 4), np.int32)
    superpixels[1, 4:] = 2
    superpixels[0] = 0
    picture = drawn(superpixels, np.full((2, 8, 4), 100, np.uint8), (40.0, 10.0, 10.0))
    expected = np.zeros((384, 384), np.bool_)
    expected[:, 96:288] = True
    np.testing.assert_array_equal(picture.max(2) > 0, expected)
    superpixels[:] = 0
    superpixels[:, :, 2] = np.array([[1], [2]])  # seen along x: 2 rows of 40 nm, 8 of 10 nm
    picture = drawn(superpixels, np.full((2, 8, 4), 100, np.uint8), (40.0, 10.0, 10.0))
    assert picture.any(2).sum() == 384 * 384


def test_large_volumes_are_shown_around_the_contact() -> None:
    rng = np.random.default_rng(0)
    superpixels = np.ones((3, 300, 200), np.int32)
    superpixels[:, 250:260, 170:180] = 2
    image = rng.integers(0, 256, superpixels.shape, dtype=np.uint8)
    picture = drawn(superpixels, image, (1.0, 1.0, 1.0))
    rows, columns = np.nonzero((picture == CONTACT_COLOUR).all(2))
    assert 0 < rows.min() < rows.max() < SIDE_PX
    assert np.ptp(rows) == np.ptp(columns) == 10 * 4 + 5  # 96 voxels of 4 pixels, outlined by 3


def pair_of(dynamics: Dynamics) -> list[int]:
    merging, edge = dynamics.process.merging, dynamics.candidates[0]
    return sorted(merging.places[merging.links[2 * edge : 2 * edge + 2, NODE], SMALLEST].tolist())


def n_faces_of_planes(clusters: npt.NDArray, pair: list[int]) -> list[list[int]]:
    """Count the faces between two clusters that cross every plane of every axis, one by one."""
    counts = [n * [0] for n in clusters.shape]
    for position in np.ndindex(clusters.shape):
        for normal in range(3):
            ahead = tuple(p + (a == normal) for a, p in enumerate(position))
            if ahead[normal] < clusters.shape[normal]:
                if sorted((int(clusters[position]), int(clusters[ahead]))) == pair:
                    for axis in range(3):
                        if axis != normal:
                            counts[axis][position[axis]] += 1
    return counts


@modest
@given(SEEDS, hs.integers(0, 6))
def test_the_plane_with_most_faces_is_shown(seed: int, n_merges: int) -> None:
    rng = np.random.default_rng(seed)
    superpixels = cell_labels(rng, 6, 9)
    superpixels[rng.random(superpixels.shape) < 0.2] = 0
    values = rng.integers(0, 250, (2, *superpixels.shape), dtype=np.uint8)  # nothing white
    instance = instance_of_volume(superpixels, values[0], values[1], np.ones_like(superpixels))
    dynamics, drawing = started(instance), SectionDrawing(instance)
    for _ in range(n_merges):
        if not dynamics.is_over:
            dynamics.step(0)
    picture = drawing.draw(dynamics)
    assert picture.shape == (SIDE_PX, SIDE_PX, 3)
    np.testing.assert_array_equal(picture, SectionDrawing(instance).draw(dynamics))
    if not len(dynamics.candidates):
        return
    index = np.searchsorted(instance.graph.ids, superpixels)
    clusters = np.where(superpixels == 0, -1, dynamics.clusters()[index % len(instance.graph.ids)])
    pair = pair_of(dynamics)
    counts = n_faces_of_planes(clusters, pair)
    axis, plane = max(
        ((a, i) for a in range(3) for i in range(6)), key=lambda at: (counts[at[0]][at[1]], -at[0])
    )
    section = np.moveaxis(clusters, axis, 0)[plane]
    grey = np.moveaxis(values[0], axis, 0)[plane]
    is_white = (picture == CONTACT_COLOUR).all(2)
    for row, column in np.ndindex(section.shape):
        cluster, value = section[row, column], int(grey[row, column])
        expected = 3 * [value]
        if cluster in pair:
            expected = tinted(value, PAIR_COLOURS[pair.index(cluster)])
        assert pixel_of(picture, section.shape, row, column) == expected
    n_seen = sum(
        is_white[int((row + 0.5) * 64), 64 * (column + 1)]
        for row in range(6)
        for column in range(5)
    ) + sum(
        is_white[64 * (row + 1), int((column + 0.5) * 64)]
        for row in range(5)
        for column in range(6)
    )
    assert n_seen == counts[axis][plane]


def test_without_a_candidate_all_clusters_are_coloured_where_the_eye_was() -> None:
    """Two neurons, parted by a membrane that the policy left."""
    rng = np.random.default_rng(1)
    instance = VoronoiGenerator(side_vox=12, n_superpixels=9, n_neurons=2)(rng)
    dynamics = Dynamics(mean_boundary_network(0.5), n_candidates=1)
    dynamics.reset(instance, "vi", Prices())
    drawing = SectionDrawing(instance)
    while dynamics.n_regions_left > 2:
        dynamics.step(0)
    before = drawing.draw(dynamics)
    dynamics.step(0)
    assert len(dynamics.candidates) == 0
    after = drawing.draw(dynamics)
    assert (after != before).any()
    colours = after.reshape(-1, 3).astype(float)
    assert np.ptp(colours, axis=1).min() > 5  # no grey pixel: all is in the one cluster
    np.testing.assert_array_equal(drawing.draw(dynamics), after)
    assert (SectionDrawing(instance).draw(dynamics) != 0).any()  # of one never drawn before


def test_what_cannot_be_drawn_is_told() -> None:
    instance = VoronoiGenerator(side_vox=5, n_superpixels=3, n_neurons=2)(np.random.default_rng(0))
    with pytest.raises(InputError, match="rgb_array rendering needs instances with a volume, but"):
        SectionDrawing(instance._replace(volume=None))
    few = np.ones((2, 2, 2), np.int64)
    other = instance._replace(volume=LabelledVolume(few, few.astype(np.uint8), few))
    with pytest.raises(InputError, match="superpixels hold 1 ids that are not the 3 of the graph"):
        SectionDrawing(other)
