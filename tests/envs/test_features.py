from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as hs

from envs import statistics as st
from envs.confluent_rule import start_state
from envs.features import (
    FEATURE_NAMES,
    N_FEATURES,
    N_SHAPE_FEATURES,
    SHAPE_FEATURE_NAMES,
)
from envs.merge_network import pack
from envs.merge_state import GONE, see
from envs.region_graph import RegionGraph
from envs.transitions import merge
from tests.envs.drawn_volume import drawn_volume
from tests.envs.features_twin import twin_features
from tests.envs.random_tissue import SEEDS, Volume, random_network, volumes

modest = settings(max_examples=60, deadline=None)

NETWORKS = {n: pack(random_network(0, n_features=n)) for n in (N_FEATURES, N_SHAPE_FEATURES)}


def features_of(
    graph: RegionGraph, edge: int, n_features: int = N_SHAPE_FEATURES
) -> npt.NDArray[np.float32]:
    state = start_state(graph, NETWORKS[n_features])
    see(state, edge)
    return state.features


def test_names_and_numbers_agree() -> None:
    assert len(FEATURE_NAMES) == N_FEATURES == 41
    assert len(SHAPE_FEATURE_NAMES) == N_SHAPE_FEATURES == 57
    assert len(set(SHAPE_FEATURE_NAMES)) == N_SHAPE_FEATURES
    assert SHAPE_FEATURE_NAMES[:N_FEATURES] == FEATURE_NAMES


def test_drawn_contact_has_the_features_worked_out_on_paper() -> None:
    features = dict(
        zip(SHAPE_FEATURE_NAMES, features_of(drawn_volume().graph(), 0).tolist(), strict=True)
    )
    # Both have three voxels, so 3, the smaller id, comes first; see `drawn_volume`.
    expected = {
        "contact: face maximum, mean": 307 / 3 / 255,
        "contact: face maximum, sd": np.sqrt(35369 / 3 - (307 / 3) ** 2) / 255,
        "contact: face mean": 371 / 6 / 255,
        "contact: path maximum, mean": 481 / 3 / 255,
        "contact: share of face maximum >= 0.05": 1,
        "contact: share of face maximum >= 0.20": 1,
        "contact: share of face maximum >= 0.30": 2 / 3,
        "contact: share of face maximum >= 0.50": 2 / 3,
        "contact: share of face maximum >= 0.70": 0,
        "contact: log area": np.log(3),
        "contact: contact grey mean": 35 / 255,
        "contact: contact grey sd": np.std([30, 40, 35]) / 255,
        "contact: grey step": 70 / 3 / 255,
        "contact: share of z faces": 1 / 3,
        "smaller: log size": np.log(3),
        "smaller: boundary mean": 409 / 3 / 255,
        "smaller: share of boundary >= 0.2": 1,
        "smaller: share of boundary >= 0.5": 2 / 3,
        "smaller: grey mean": 50 / 255,
        "smaller: surface / size^(2/3)": 4 / 3 ** (2 / 3),
        "larger: boundary mean": 17 / 255,
        "larger: share of boundary >= 0.1": 1 / 3,
        "larger: share of boundary >= 0.2": 0,
        "larger: grey sd": np.std([10, 20, 30]) / 255,
        "relation: area / surface of smaller": 3 / 4,
        "relation: area / surface of larger": 1,
        "relation: area / size of smaller^(2/3)": 3 ** (1 / 3),
        "relation: grey mean difference": 30 / 255,
        "relation: grey sd difference": 0,
        "relation: face maximum − boundary mean of smaller": (307 - 409) / 3 / 255,
        "relation: face maximum − boundary mean of larger": (307 - 51) / 3 / 255,
        # Centroids (2/3, 0, 5/3) and (1/3, 0, 1/3), squared gyration radii 4/9 each.
        "shape: centroid distance / sum of gyration radii": np.sqrt(17 / 9) / (2 * 2 / 3 + 1),
        "shape: gyration radius / radius of smaller": 2 / 3 / 3 ** (1 / 3),
        # Faces at (0, 0, 1.5), (1, 0, 0.5) and (0.5, 0, 1).
        "shape: gyration radius / radius of contact": np.sqrt(1 / 3) / np.sqrt(3),
    }
    for name, value in expected.items():
        assert features[name] == pytest.approx(value, rel=1e-6, abs=1e-7), name


@modest
@given(volumes(), hs.tuples(*3 * [hs.floats(0.5, 60.0)]))
def test_features_are_those_of_voxels_and_faces(
    volume: Volume, voxel_size_nm: tuple[float, float, float]
) -> None:
    graph = volume.graph(voxel_size_nm=voxel_size_nm)
    for edge, pair in enumerate(graph.edges):
        smaller, larger = sorted(pair, key=lambda u: (graph.regions[u, st.SIZE], u))
        expected = twin_features(
            volume, int(graph.ids[smaller]), int(graph.ids[larger]), voxel_size_nm
        )
        assert tuple(expected) == SHAPE_FEATURE_NAMES
        seen = features_of(graph, edge)
        np.testing.assert_allclose(seen, list(expected.values()), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(features_of(graph, edge, N_FEATURES), seen[:N_FEATURES])


@modest
@given(volumes(), SEEDS)
def test_features_are_finite_in_every_reachable_state(volume: Volume, seed: int) -> None:
    state = start_state(volume.graph(), NETWORKS[N_SHAPE_FEATURES])
    rng = np.random.default_rng(seed)
    while (left := np.flatnonzero(state.status != GONE)).size:
        for edge in left:
            state.features[:] = np.nan
            see(state, edge)
            assert np.isfinite(state.features).all()
        merge(state, int(rng.choice(left)))


@modest
@given(volumes())
def test_order_of_arguments_does_not_matter(volume: Volume) -> None:
    graph = volume.graph()
    turned = RegionGraph(
        graph.ids[::-1],
        graph.regions[::-1],
        graph.n_regions - 1 - graph.edges[:, ::-1],
        graph.contacts,
    )
    sizes = graph.regions[:, st.SIZE]
    for n_features in NETWORKS:
        for edge, (u, v) in enumerate(graph.edges):
            if sizes[u] == sizes[v]:
                continue
            first, second = (
                features_of(graph, edge, n_features),
                features_of(turned, edge, n_features),
            )
            np.testing.assert_array_equal(first, second)
            log_sizes = [
                FEATURE_NAMES.index(f"{which}: log size") for which in ("smaller", "larger")
            ]
            assert first[log_sizes[0]] < first[log_sizes[1]]


@modest
@given(volumes(), hs.permutations(range(3)), hs.sampled_from([1, -1]))
def test_axes_but_z_are_alike_and_directions_do_not_matter(
    volume: Volume, axes: list[int], step: int
) -> None:
    """Turn and mirror the volume; without shape, only the share of z faces knows of it."""
    size = (40.0, 4.0, 7.0)
    turned = Volume(*(a.transpose(axes)[::step, ::-1] for a in volume))
    assume(volume.graph().n_edges > 0)
    graph = volume.graph(voxel_size_nm=size)
    other = turned.graph(voxel_size_nm=(size[axes[0]], size[axes[1]], size[axes[2]]))
    np.testing.assert_array_equal(other.edges, graph.edges)
    z_share = SHAPE_FEATURE_NAMES.index("contact: share of z faces")
    for edge in range(graph.n_edges):
        first, second = features_of(graph, edge), features_of(other, edge)
        if axes[0] != 0:
            first[z_share] = second[z_share] = 0
        np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-5)


def test_place_in_the_volume_does_not_matter() -> None:
    graph = drawn_volume().graph()
    far = drawn_volume().graph(origin_vox=(20_000, 30_000, 100_000))
    for edge in range(graph.n_edges):
        np.testing.assert_allclose(
            features_of(far, edge), features_of(graph, edge), rtol=1e-4, atol=1e-4
        )
