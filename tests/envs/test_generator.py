from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from analysis.input_error import InputError
from envs import statistics as st
from envs.generator import GivenInstances, VoronoiGenerator, instance_of_volume
from envs.instance import Instance
from envs.merge_network import mean_boundary_network
from envs.rollout import play_episode
from envs.truth_rows import errors_of_rows, start_rows
from tests.envs.random_tissue import cell_instance


def drawn(generator: VoronoiGenerator, seed: int) -> Instance:
    return generator(np.random.default_rng(seed))


def arrays_of(instance: Instance) -> list[np.ndarray]:
    graph, truth, *_ = instance
    assert instance.clear is not None
    assert instance.volume is not None
    clear, volume = instance.clear, instance.volume
    return [
        *(graph.ids, graph.regions, graph.edges, graph.contacts, *truth),
        *(clear.regions, clear.contacts, *volume),
    ]


def test_same_random_state_makes_the_same_instance() -> None:
    generator = VoronoiGenerator()
    for one, two in zip(
        arrays_of(drawn(generator, 1)), arrays_of(drawn(generator, 1)), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    assert (
        drawn(generator, 1).graph.regions.sum(0) != drawn(generator, 2).graph.regions.sum(0)
    ).any()


@pytest.mark.parametrize("seed", range(4))
def test_tissue_fills_the_cube_and_superpixels_lie_inside_neurons(seed: int) -> None:
    graph, truth, *_ = drawn(VoronoiGenerator(side_vox=12, n_superpixels=20, n_neurons=4), seed)
    assert graph.regions[:, st.SIZE].sum() == 12**3
    assert 2 <= graph.n_regions <= 20
    assert nx.is_connected(nx.Graph(graph.edges.tolist()))
    np.testing.assert_array_equal(truth.rows, np.arange(graph.n_regions))
    np.testing.assert_array_equal(truth.counts, graph.regions[:, st.SIZE])
    assert 1 <= len(np.unique(truth.labels)) <= 4


def test_membranes_part_neurons_unless_noise_hides_them() -> None:
    """Without noise mean boundaries find the neurons: no merge between two of them is made."""
    graph, truth, *_ = drawn(VoronoiGenerator(noise=0.0, faint=0.0), 3)
    assert 0 < errors_of_rows(start_rows(truth, graph.n_regions))[0]
    episode = play_episode(graph, mean_boundary_network(0.6), truth=truth)
    assert len(episode.merges) > 20
    assert (episode.gains_rand > 0).all()
    assert episode.vi[1] < episode.vi[0] / 2


def test_a_second_look_finds_the_membranes_that_were_faint() -> None:
    """Neurons run together at first; seen again, they are found."""
    instance = drawn(VoronoiGenerator(noise=0.0, faint=0.5), 3)
    assert instance.clear is not None
    first, again = (
        play_episode(graph, mean_boundary_network(0.6), truth=instance.truth)
        for graph in (instance.graph, instance.clear)
    )
    assert (first.gains_vi < 0).any()
    assert (again.gains_rand > 0).all()
    assert again.vi[1] < first.vi[1]


def test_cells_and_neurons_are_those_of_the_nearest_points() -> None:
    """Search for the nearest of all points, voxel by voxel; draws as the generator does."""
    generator = VoronoiGenerator(side_vox=7, n_superpixels=9, n_neurons=3, noise=0.0)
    instance, rng = drawn(generator, 5), np.random.default_rng(5)
    points, centres = rng.uniform(0, 7, (9, 3)), rng.uniform(0, 7, (3, 3))
    volume = instance.volume
    assert volume is not None
    for voxel in np.ndindex(volume.labels.shape):
        cell = min(range(9), key=lambda k: ((points[k] - voxel) ** 2).sum())
        neuron = min(range(3), key=lambda k: ((centres[k] - points[cell]) ** 2).sum())
        assert volume.superpixels[voxel] == cell + 1
        assert volume.labels[voxel] == neuron + 1


def test_a_second_look_shows_membranes_more_clearly() -> None:
    """Means of contacts between neurons lie further above those within."""
    instance = drawn(VoronoiGenerator(side_vox=32), 2)
    graph, clear = instance.graph, instance.clear
    assert clear is not None
    np.testing.assert_array_equal(clear.edges, graph.edges)
    label = instance.truth.labels
    is_between = label[graph.edges[:, 0]] != label[graph.edges[:, 1]]
    gaps = []
    for seen in (graph, clear):
        mean = seen.contacts[:, st.FACE_MAX] / seen.contacts[:, st.AREA] / 255
        gaps.append(mean[is_between].mean() - mean[~is_between].mean())
    assert gaps[1] > 1.5 * gaps[0] > 0


def test_one_superpixel_is_an_instance() -> None:
    graph, truth, *_ = drawn(VoronoiGenerator(side_vox=4, n_superpixels=1, n_neurons=1), 0)
    assert (graph.n_regions, graph.n_edges) == (1, 0)
    assert truth.counts.tolist() == [64]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"side_vox": 3}, "in a cube of side 3"),
        ({"n_neurons": 0}, "cannot make 0 neurons of 60 superpixels"),
        ({"n_neurons": 61}, "cannot make 61 neurons of 60 superpixels"),
        ({"noise": -0.1}, r"noise must lie in \[0, 1\], not -0.1"),
        ({"noise": float("nan")}, r"noise must lie in \[0, 1\], not nan"),
    ],
)
def test_impossible_tissue_is_told(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VoronoiGenerator(**arguments)


def test_given_instances_are_drawn_uniformly() -> None:
    instances = tuple(cell_instance(seed, side=5, n_cells=3)[1] for seed in range(3))
    rng = np.random.default_rng(0)
    counts = np.zeros(3, int)
    for _ in range(300):
        instance = GivenInstances(instances)(rng)
        counts[[instance is one for one in instances]] += 1
    assert counts.sum() == 300
    assert (counts > 70).all()
    with pytest.raises(ValueError, match="at least one instance"):
        GivenInstances(())


def test_an_instance_of_ones_own_volume() -> None:
    volume, plain = cell_instance(2)
    labels = np.maximum(volume.superpixels // 3, 1)
    other = np.full(volume.superpixels.shape, 128, np.uint8)
    instance = instance_of_volume(
        volume.superpixels,
        volume.image / 255.0,
        volume.boundaries,
        labels,
        clear_boundaries=other,
        voxel_size_nm=(40.0, 8.0, 4.0),
    )
    np.testing.assert_array_equal(instance.graph.contacts, plain.graph.contacts)
    assert instance.graph.voxel_size_nm == (40.0, 8.0, 4.0)
    assert instance.volume is not None
    np.testing.assert_array_equal(instance.volume.image, volume.image)
    label_of = dict(zip(volume.superpixels.ravel().tolist(), labels.ravel().tolist(), strict=True))
    names = np.unique(labels)
    for row, label, count in zip(*instance.truth, strict=True):
        superpixel = int(instance.graph.ids[row])
        assert names[label] == label_of[superpixel]
        assert count == (volume.superpixels == superpixel).sum()
    assert instance.clear is not None
    sums = instance.clear.regions
    np.testing.assert_array_equal(sums[:, st.BOUNDARY], 128 * sums[:, st.SIZE])
    assert instance_of_volume(volume.superpixels, volume.image, other, labels).clear is None
    with pytest.raises(InputError, match="boundaries has shape"):
        instance_of_volume(volume.superpixels, volume.image, other[1:], labels)
    with pytest.raises(InputError, match="boundaries has shape"):
        instance_of_volume(
            volume.superpixels, volume.image, other, labels, clear_boundaries=other[1:]
        )
    with pytest.raises(InputError, match=r"labels of shape .* are 0 wherever"):
        instance_of_volume(volume.superpixels, volume.image, other, np.zeros_like(labels))
