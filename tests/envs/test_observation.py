from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from envs import statistics as st
from envs.dynamics import Dynamics
from envs.features import FEATURE_NAMES, N_FEATURES, N_SHAPE_FEATURES
from envs.human import SimulatedHuman
from envs.merge_network import MergeNetwork
from envs.merge_state import NODE, SMALLEST
from envs.observation import (
    CANDIDATE_NAMES,
    CONTEXT_NAMES,
    KEY_BOUND,
    CandidateObservation,
    candidate_names,
)
from envs.prices import Prices
from tests.envs.merge_twin import MergeTwin
from tests.envs.random_tissue import SEEDS, Volume, constant_network, random_network, volumes
from tests.envs.test_actions import draw_instance, drawn_instance

modest = settings(max_examples=40, deadline=None)
SEE = CandidateObservation()


def dynamics_of(network: MergeNetwork, n_candidates: int) -> Dynamics:
    return Dynamics(
        network, n_candidates=n_candidates, human=SimulatedHuman(0.5), has_microscope=True
    )


@modest
@given(volumes(max_side=5, max_regions=12), SEEDS, hs.booleans(), hs.integers(1, 6))
def test_candidates_are_seen_as_sets_of_superpixels_are(
    volume: Volume, seed: int, has_shape: bool, n_candidates: int
) -> None:
    """After random merges and second looks, features are those of the twin; all is in its space."""
    network = random_network(seed, n_features=N_SHAPE_FEATURES if has_shape else N_FEATURES)
    instance, dynamics = draw_instance(volume, seed), dynamics_of(network, n_candidates)
    dynamics.reset(instance, "vi", Prices())
    twin = MergeTwin(instance.graph, network, instance.clear)
    space, rng = SEE.space(dynamics), np.random.default_rng(seed)
    while True:
        observation = SEE(dynamics)
        assert space.contains(observation)
        n = len(dynamics.candidates)
        links, places = dynamics.process.merging.links, dynamics.process.merging.places
        assert not observation["candidates"][n:].any()
        for k, edge in enumerate(dynamics.candidates):
            low, high = sorted(places[links[2 * edge : 2 * edge + 2, NODE], SMALLEST].tolist())
            row = observation["candidates"][k]
            np.testing.assert_array_equal(row[:-2], twin.features((low, high)))
            assert row[-2] == dynamics.process.merging.key[edge]
            members = sorted(twin.members[twin.smaller((low, high))])
            sizes = instance.graph.regions[members, st.SIZE]
            seen = sizes[[u in twin.imaged for u in members]].sum()
            assert row[-1] == np.float32(seen / sizes.sum())
        assert observation["context"].tolist() == pytest.approx(
            [
                len(twin.members) / instance.graph.n_regions,
                n / n_candidates,
                observation["candidates"][0, -2],
                np.log(len(twin.members)),
            ]
        )
        np.testing.assert_array_equal(observation["action_mask"], dynamics.mask)
        if not n:
            return
        kinds = [
            k
            for k in range(2 * n_candidates)
            if dynamics.mask[k + n_candidates * (k >= n_candidates)]
        ]
        choice = int(rng.choice(kinds))
        action = choice + n_candidates * (choice >= n_candidates)  # merge or image again
        transition = dynamics.step(action)
        twin.do(transition.pair, "merge" if choice < n_candidates else "look")


def test_the_space_says_what_there_is() -> None:
    dynamics = dynamics_of(random_network(0), 7)
    space = SEE.space(dynamics)
    assert {name: part.shape for name, part in space.items()} == {
        "candidates": (7, N_FEATURES + 2),
        "action_mask": (29,),
        "context": (4,),
    }
    for part in space.values():
        assert np.isfinite(part.low).all()  # pyright: ignore[reportAttributeAccessIssue]
        assert np.isfinite(part.high).all()  # pyright: ignore[reportAttributeAccessIssue]
    assert candidate_names(N_FEATURES) == (*FEATURE_NAMES, *CANDIDATE_NAMES)
    assert len(candidate_names(N_SHAPE_FEATURES)) == N_SHAPE_FEATURES + 2
    assert len(CONTEXT_NAMES) == 4


def test_large_keys_are_clipped() -> None:
    for score in (-1e9, 1e9):
        dynamics = dynamics_of(constant_network(score), 3)
        dynamics.reset(drawn_instance(), "vi", Prices())
        observation = SEE(dynamics)
        assert observation["candidates"][:, -2].tolist() == 3 * [np.sign(score) * KEY_BOUND]
        assert observation["context"][2] == np.sign(score) * KEY_BOUND
        assert SEE.space(dynamics).contains(observation)


def test_observations_share_no_memory_with_the_state_or_each_other() -> None:
    dynamics = dynamics_of(random_network(0), 2)
    dynamics.reset(drawn_instance(), "vi", Prices())
    first, second = SEE(dynamics), SEE(dynamics)
    copies = {name: array.copy() for name, array in first.items()}
    state = [*dynamics.process.merging[:-1], *dynamics.process.merging.queue, dynamics.mask]
    for name, array in first.items():
        assert not any(np.shares_memory(array, other) for other in (*state, *second.values()))
        array[...] = 77  # whatever the agent does to it
        np.testing.assert_array_equal(SEE(dynamics)[name], copies[name])
    dynamics.step(0)
    for name, array in second.items():
        np.testing.assert_array_equal(array, copies[name])
