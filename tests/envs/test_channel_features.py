from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from envs import statistics as st
from envs.channel_sums import with_channels
from envs.channels import Channels
from envs.confluent_rule import start_state
from envs.feature_layout import FeatureLayout, feature_names
from envs.features import N_SHAPE_FEATURES
from envs.merge_network import pack
from envs.merge_state import GONE, MergeState, blank_state, see
from envs.region_graph import RegionGraph
from envs.transitions import merge
from tests.envs.drawn_volume import drawn_volume
from tests.envs.random_tissue import (
    SEEDS,
    Volume,
    random_channels,
    random_network,
    volumes,
)
from tests.envs.statistics_twin import voxels_and_faces

modest = settings(max_examples=40, deadline=None)
LAYOUTS = [
    FeatureLayout(True, 2, True),
    FeatureLayout(True, 2, False),
    FeatureLayout(True, 0, True),
]
NETWORKS = {one: pack(random_network(1, n_features=one.n_features)) for one in LAYOUTS}


def seen(state: MergeState, edge: int) -> dict[str, float]:
    state.features[:] = np.nan
    see(state, edge)
    names = feature_names(len(state.features))
    return dict(zip(names, state.features.tolist(), strict=True))


def start(graph: RegionGraph, layout: FeatureLayout) -> MergeState:
    return start_state(graph, NETWORKS[layout])


def channelled(volume: Volume, channels: Channels) -> RegionGraph:
    return with_channels(volume.graph(), volume.superpixels, volume.boundaries, channels)


def twin_features(
    volume: Volume, channels: Channels, smaller: int, larger: int
) -> dict[str, float]:
    """Work out the features of two superpixels from their voxels and faces."""
    superpixels, _, boundaries = volume
    voxels, faces = voxels_and_faces(volume)
    texture, embedding = (np.moveaxis(one / 255, 0, -1) for one in channels)
    of = {u: tuple(np.array([v.position for v in voxels[u]]).T) for u in (smaller, larger)}
    pairs = []
    for face in faces[min(smaller, larger), max(smaller, larger)]:
        step = np.arange(3) == face.axis
        p = (np.array(face.doubled_position) - step) // 2
        pairs.append([p - step, p, p + step, p + 2 * step])
    line = np.array(pairs).clip(0, np.array(superpixels.shape) - 1)
    before, first, second, after = (tuple(line[:, k].T) for k in range(4))
    features = {}
    for c in range(channels.counts.texture):
        both = (texture[first][:, c] + texture[second][:, c]) / 2
        features[f"texture {c}: contact mean"] = both.mean()
        features[f"texture {c}: smaller mean"] = texture[of[smaller]][:, c].mean()
        features[f"texture {c}: larger mean"] = texture[of[larger]][:, c].mean()
    if channels.counts.embedding:
        means, spreads = {}, {}
        for u in (smaller, larger):
            weights = 256.0 - boundaries[of[u]]
            means[u] = np.average(embedding[of[u]], axis=0, weights=weights)
            squares = ((embedding[of[u]] - means[u]) ** 2).mean(1)
            spreads[u] = np.sqrt(np.average(squares, weights=weights))
        apart = ((means[smaller] - means[larger]) ** 2).mean()
        step = ((embedding[before] - embedding[after]) ** 2).mean()
        features["embedding: distance of means"] = np.sqrt(apart)
        features["embedding: step at the contact"] = np.sqrt(step)
        features["embedding: spread of smaller"] = spreads[smaller]
        features["embedding: spread of larger"] = spreads[larger]
    return features


@modest
@given(volumes(), SEEDS)
def test_features_are_those_of_voxels_and_faces(volume: Volume, seed: int) -> None:
    """Whatever part of the channels is looked at."""
    channels = random_channels(seed, volume.superpixels.shape, 2, 3)
    graph = channelled(volume, channels)
    states = {layout: start(graph, layout) for layout in LAYOUTS}
    for edge, pair in enumerate(graph.edges):
        smaller, larger = sorted(pair, key=lambda u: (graph.regions[u, st.SIZE], u))
        expected = twin_features(volume, channels, int(graph.ids[smaller]), int(graph.ids[larger]))
        for layout, state in states.items():
            values = seen(state, edge)
            names = list(values)[N_SHAPE_FEATURES:]
            n_expected = 6 * (layout.n_texture > 0) + 4 * layout.has_embedding
            assert len(names) == n_expected
            np.testing.assert_allclose(
                [values[name] for name in names],
                [expected[name] for name in names],
                rtol=1e-4,
                atol=2e-4,
            )


@modest
@given(volumes(), SEEDS)
def test_merged_regions_are_seen_as_if_they_had_always_been_one(volume: Volume, seed: int) -> None:
    channels = random_channels(seed, volume.superpixels.shape, 2, 3)
    graph = channelled(volume, channels)
    state = start(graph, LAYOUTS[0])
    rng = np.random.default_rng(seed)
    labels = volume.superpixels.astype(np.uint64)
    name = dict(enumerate(graph.ids.tolist()))
    while (left := np.flatnonzero(state.status != GONE)).size:
        whole = Volume(labels, volume.image, volume.boundaries)
        rebuilt = start(channelled(whole, channels), LAYOUTS[0])
        ids = np.unique(labels[labels > 0])
        ends = {tuple(ids[pair].tolist()): i for i, pair in enumerate(_edges_of(rebuilt))}
        for edge in left:
            pair = sorted(name[int(u)] for u in state.links[2 * edge : 2 * edge + 2, 0])
            see(state, edge)
            see(rebuilt, ends[tuple(pair)])
            sizes = [int((labels == u).sum()) for u in pair]
            if sizes[0] != sizes[1]:  # else which comes first is a matter of names
                np.testing.assert_array_equal(state.features, rebuilt.features)
        kept, gone = merge(state, int(rng.choice(left)))
        labels[labels == name[gone]] = name[kept]


def _edges_of(state: MergeState) -> np.ndarray:
    return np.sort(state.links[:, 0].reshape(-1, 2), axis=1)


def test_networks_of_the_same_opinion_change_nothing() -> None:
    """The embedding of two networks that agree is that of one, coordinate by coordinate twice."""
    volume = drawn_volume()
    once = random_channels(3, (3, 3, 3), 0, 4)
    twice = once._replace(embedding=np.concatenate([once.embedding, once.embedding]))
    one, two = (seen(start(channelled(volume, c), LAYOUTS[2]), 0) for c in (once, twice))
    assert one == pytest.approx(two, rel=1e-6)


def test_features_stay_within_their_bounds() -> None:
    """Black against white, in every channel."""
    superpixels = np.repeat(np.array([1, 2], np.uint64), 4).reshape(2, 2, 2)
    bright = np.broadcast_to((superpixels == 2) * np.uint8(255), (3, 2, 2, 2))
    volume = Volume(superpixels, np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8))
    values = seen(start(channelled(volume, Channels(bright[:2], bright)), LAYOUTS[0]), 0)
    assert list(values.values())[N_SHAPE_FEATURES:] == [0.5, 0, 1, 0.5, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("numbers", "layout", "message"),
    [
        ((3, 1), LAYOUTS[1], "2 channels of texture are looked at, but the graph has 3"),
        ((0, 0), LAYOUTS[1], "2 channels of texture are looked at, but the graph has 0"),
        ((2, 0), LAYOUTS[2], "an embedding is looked at, but the graph has none"),
    ],
)
def test_channels_that_are_not_there_are_missed(
    numbers: tuple[int, int], layout: FeatureLayout, message: str
) -> None:
    graph = channelled(drawn_volume(), random_channels(0, (3, 3, 3), *numbers))
    with pytest.raises(ValueError, match=message):
        start(graph, layout)


def test_a_second_look_has_no_channels() -> None:
    graph = channelled(drawn_volume(), random_channels(0, (3, 3, 3), 2, 1))
    with pytest.raises(ValueError, match="which a second look does not show"):
        blank_state(graph, LAYOUTS[0].n_features, 1, graph)
