"""What a second look is worth: learned from episodes in which both looks are known.

A second look pays where it turns a wrong decision into a right one. For every edge that is ready in
a played episode, the policy's decision is held against the truth before and after the smaller
region is imaged again: the rise of being right is −1, 0 or 1, and a small network learns its mean
from what is seen before the look (value of information, Howard 1966, learned instead of derived
from the score). So that mixtures of first and second looks are met, chance images some regions on
the way. Episodes of damage that the policy was not trained on teach more: on what it was trained
on, the policy is right more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from agglo.training.learner import LearnerConfig
from agglo.training.network_fit import fit_regression
from analysis.input_error import InputError
from envs.actions import LEAVE, MERGE, REIMAGE, act, n_to_image
from envs.asking_rollout import start_process
from envs.confluent_rule import best_edge, decision_score, drop_edge
from envs.features import region_row
from envs.instance import Instance
from envs.merge_network import MergeNetwork
from envs.merge_state import chance, ordered_ends, see
from envs.objective import gain_of
from envs.scorers import Policy, score_edge, scorer_of


class Looks(NamedTuple):
    """Edges of which both looks are known.

    Attributes:
        features: (D, F) float32, before the second look.
        rises: (D,) int8, by how much the second look makes the decision right: −1, 0 or 1.
    """

    features: npt.NDArray[np.float32]
    rises: npt.NDArray[np.int8]


def known_looks(
    instance: Instance,
    policy: Policy,
    *,
    threshold: float = 0.0,
    look_share: float = 0.1,
    seed: int = 0,
) -> Looks:
    """Play an episode and record, edge by edge, what a second look would change.

    Args:
        instance: with truth and a clear graph; edges whose merge leaves VI as it is teach nothing.
        policy: what scores and decides.
        threshold: score from which on it merges.
        look_share: share of the edges at which a region is imaged again on the way.
        seed: of that chance.

    Raises:
        InputError: nothing is known of a second look.
    """
    if instance.clear is None:
        raise InputError("instance has no clear graph, so nothing is known of a second look")
    scorer = scorer_of(policy)
    process = start_process(instance, scorer)
    # Every edge is decided once, and every look takes a region that was not imaged whole.
    n_most = instance.graph.n_edges + instance.graph.n_regions
    features = np.zeros((n_most, scorer.n_features), np.float32)
    rises = np.zeros(n_most, np.int8)
    n = _record(
        process,
        scorer,
        float(threshold),
        float(look_share),
        np.uint64(seed % 2**64),
        features,
        rises,
    )
    return Looks(features[:n].copy(), rises[:n].copy())


@njit(cache=True)
def _record(process, scorer, threshold, look_share, seed, out_features, out_rises):
    """Play the episode; return how many edges were recorded."""
    merging = process.merging
    n = 0
    while True:
        edge = best_edge(merging, scorer, 0.0, np.uint64(0))
        if edge < 0:
            return n
        is_merge = decision_score(merging, scorer, edge) >= threshold
        if n_to_image(merging, edge) > 0:
            small, large = ordered_ends(
                merging.links, merging.places, merging.rows, merging.regions, edge
            )
            gain = gain_of(process.objective, small, large)
            if gain != 0.0:
                see(merging, edge)
                out_features[n] = merging.features
                would_merge = _clear_score(merging, scorer, edge, small) >= threshold
                is_right, would_be = is_merge == (gain > 0.0), would_merge == (gain > 0.0)
                out_rises[n] = int(would_be) - int(is_right)
                n += 1
            if chance(merging, seed, edge) < look_share:
                act(process, scorer, REIMAGE, edge)
                continue
        drop_edge(merging, edge)
        act(process, scorer, MERGE if is_merge else LEAVE, edge)


@njit(cache=True)
def _clear_score(merging, scorer, edge, small):
    """Return the score of an edge as if its smaller region were imaged again."""
    contact = merging.contacts[edge].copy()
    merging.contacts[edge] = merging.clear_contacts[edge]
    region_row(merging.clear_regions, small, merging.rows)
    score = score_edge(scorer, merging, edge)
    merging.contacts[edge] = contact
    region_row(merging.regions, small, merging.rows)
    return score


def fit_reveal(
    looks: Sequence[Looks], config: LearnerConfig | None = None, *, seed: int = 0
) -> MergeNetwork:
    """Fit the mean rise of being right by least squares, on one thread.

    Args:
        looks: of one or more episodes.
        config: how to fit.
        seed: initial weights and order of batches.

    Returns:
        The network that takes the place `reveal` of `envs.asking.Asking`.

    Raises:
        InputError: no edge was recorded.
    """
    config = LearnerConfig() if config is None else config
    if not sum(len(part.rises) for part in looks):
        raise InputError(f"looks: no edge was recorded in {len(looks)} episodes")
    return fit_regression(
        np.concatenate([part.features for part in looks]),
        np.concatenate([part.rises for part in looks]).astype(np.float32),
        config,
        seed,
    )
