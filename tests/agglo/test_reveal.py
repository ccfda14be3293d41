from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agglo.training.learner import LearnerConfig
from agglo.training.reveal import Looks, fit_reveal, known_looks
from analysis.input_error import InputError
from envs.actions import REIMAGE
from envs.asking import Asking
from envs.asking_rollout import play_asking_episode
from envs.features import FEATURE_NAMES, N_FEATURES
from envs.instance import Instance
from envs.merge_network import MergeNetwork, logit, mean_boundary_network, pack
from envs.prices import Prices
from envs.region_graph import build_region_graph
from envs.rollout import play_episode
from envs.truth_rows import truth_table
from tests.envs.random_tissue import SEEDS, cell_instance, constant_network, random_network


def two_regions(first: float, second: float, *, is_one_neuron: bool) -> Instance:
    """Make two regions that meet at a face, which either look shows with a boundary value."""
    superpixels = np.array([[[1, 1, 1, 2, 2]]])
    labels = np.array([[[1, 1, 1, 1, 1]]] if is_one_neuron else [[[1, 1, 1, 2, 2]]])
    graph, clear = (
        build_region_graph(superpixels, np.zeros((1, 1, 5), np.uint8), np.full((1, 1, 5), value))
        for value in (first, second)
    )
    return Instance(graph, truth_table(graph.ids, superpixels, labels), clear)


@pytest.mark.parametrize(
    ("first", "second", "is_one_neuron", "rise"),
    [
        (0.8, 0.2, True, 1),
        (0.2, 0.8, False, 1),
        (0.2, 0.1, True, 0),
        (0.8, 0.9, True, 0),
        (0.2, 0.8, True, -1),
        (0.8, 0.2, False, -1),
    ],
)
def test_the_rise_says_whether_the_second_look_makes_the_decision_right(
    first: float, second: float, is_one_neuron: bool, rise: int
) -> None:
    instance = two_regions(first, second, is_one_neuron=is_one_neuron)
    looks = known_looks(instance, mean_boundary_network(0.5), look_share=0.0)
    assert looks.rises.tolist() == [rise]
    column = FEATURE_NAMES.index("contact: face maximum, mean")
    assert looks.features[0, column] == pytest.approx(first, abs=1 / 255)


def with_second_look(seed: int) -> Instance:
    volume, instance = cell_instance(seed)
    other = np.random.default_rng(seed + 1).integers(0, 256, volume.boundaries.shape, np.uint8)
    clear = build_region_graph(volume.superpixels, volume.image, other)
    return instance._replace(clear=clear)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.floats(-1, 1))
def test_without_looks_on_the_way_what_is_recorded_is_what_the_episode_decides(
    seed: int, threshold: float
) -> None:
    instance, network = with_second_look(seed), random_network(seed)
    looks = known_looks(instance, network, threshold=threshold, look_share=0.0)
    episode = play_episode(
        instance.graph,
        network,
        truth=instance.truth,
        threshold=threshold,
        record_floor=-np.inf,
    )
    assert (looks.features == episode.decisions[episode.decision_gains[:, 0] != 0]).all()
    assert np.isin(looks.rises, (-1, 0, 1)).all()


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.floats(0, 1))
def test_a_second_look_that_shows_the_same_changes_no_decision(seed: int, share: float) -> None:
    _, instance = cell_instance(seed)
    looks = known_looks(
        instance._replace(clear=instance.graph),
        mean_boundary_network(0.5),  # its score never rises by merging, so key and score are equal
        look_share=share,
        seed=seed,
    )
    assert len(looks.rises)
    assert not looks.rises.any()


def test_chance_images_regions_on_the_way_by_its_seed() -> None:
    instance, network = with_second_look(4), random_network(4)
    found = [
        known_looks(instance, network, look_share=share, seed=seed)
        for share, seed in ((0.5, 1), (0.5, 1), (0.5, 2), (0.0, 1))
    ]
    assert (found[0].features == found[1].features).all()
    for other in found[2:]:
        assert not np.array_equal(found[0].features, other.features)


def drawn_looks(n: int = 2000) -> Looks:
    """Draw edges that a look helps where feature 0 is high, and harms where feature 1 is."""
    features = np.random.default_rng(0).random((n, N_FEATURES)).astype(np.float32)
    rises = (features[:, 0] > 0.7).astype(np.int8) - (features[:, 1] > 0.8).astype(np.int8)
    return Looks(features, rises)


def predicted(network: MergeNetwork, features: np.ndarray) -> np.ndarray:
    packed = pack(network)
    scratch = np.zeros(packed.n_scratch, np.float32)
    return np.array([logit(packed, row, scratch) for row in features])


def test_the_worth_of_a_look_is_learned_and_repeats_bit_for_bit() -> None:
    looks = drawn_looks()
    halves = [Looks(looks.features[k::2], looks.rises[k::2]) for k in (0, 1)]
    state, n_threads = torch.random.get_rng_state(), torch.get_num_threads()
    network = fit_reveal(halves, LearnerConfig(epochs=20), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == n_threads
    found = predicted(network, looks.features)
    assert np.mean((found - looks.rises) ** 2) < 0.4 * looks.rises.var()
    again, other = (fit_reveal(halves, LearnerConfig(epochs=20), seed=s) for s in (3, 4))
    assert all((a == b).all() for a, b in zip(network, again, strict=True))
    assert (network.w1 != other.w1).any()


def test_the_network_decides_what_is_imaged_again() -> None:
    instance, policy = with_second_look(5), random_network(5)

    def n_looks(worth: float, price: float) -> int:
        episode = play_asking_episode(
            instance,
            policy,
            asking=Asking(reimage="value", reveal=constant_network(worth)),
            prices=Prices(reimage=price),
        )
        return int((episode.kinds == REIMAGE).sum())

    assert n_looks(-0.1, 0.0) == 0
    assert n_looks(0.5, 1e9) == 0
    assert n_looks(0.5, 0.0) > 3


def test_nothing_to_learn_from_is_refused() -> None:
    _, instance = cell_instance(0)
    with pytest.raises(InputError, match="no clear graph"):
        known_looks(instance, random_network(0))
    with pytest.raises(InputError, match="no edge was recorded in 0 episodes"):
        fit_reveal([])
