"""What the agent sees of the process."""

from __future__ import annotations

from functools import lru_cache
from math import log
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from numba import njit

from envs import statistics as st
from envs.dynamics import Dynamics
from envs.feature_layout import feature_bounds, feature_names
from envs.merge_state import ordered_ends, see

CANDIDATE_NAMES = ("key", "share of smaller imaged again")
"""What is seen of a candidate after its features."""

CONTEXT_NAMES = (
    "share of the regions left",
    "candidates / K",
    "key of the best candidate",
    "log of the number of regions left",
)

KEY_BOUND = 1e6
"""Keys are shown clipped to ± this."""


class Observation(Protocol):
    """Turns the state of the process into what an agent sees."""

    def space(self, dynamics: Dynamics) -> spaces.Space[Any]:
        """Return the space that all observations lie in."""
        ...

    def __call__(self, dynamics: Dynamics) -> Any:
        """Return an observation that shares no memory with any other."""
        ...


class CandidateObservation:
    """See the window on the queue: `Dict(candidates, action_mask, context)`.

    candidates: (K, F + 2) float32, the features of `envs.features` and `CANDIDATE_NAMES`; 0 where
        there are fewer candidates.
    action_mask: (n_actions,) int8, 1 where an action is allowed.
    context: (4,) float32, `CONTEXT_NAMES`.
    """

    def space(self, dynamics: Dynamics) -> spaces.Dict:
        """Return the space, bounded everywhere."""
        low, high = _candidate_bounds(dynamics.n_features)
        k = dynamics.n_candidates
        return spaces.Dict(
            {
                "candidates": spaces.Box(
                    np.tile(low, (k, 1)), np.tile(high, (k, 1)), dtype=np.float32
                ),
                "action_mask": spaces.Box(0, 1, (dynamics.n_actions,), np.int8),
                "context": spaces.Box(
                    np.array([0, 0, -KEY_BOUND, 0], np.float32),
                    np.array([1, 1, KEY_BOUND, 44], np.float32),
                    dtype=np.float32,
                ),
            }
        )

    def __call__(self, dynamics: Dynamics) -> dict[str, npt.NDArray]:
        """Compute an observation into new arrays."""
        edges, n_features = dynamics.candidates, dynamics.n_features
        low, high = _candidate_bounds(n_features)
        candidates = np.zeros((dynamics.n_candidates, n_features + 2), np.float32)
        _see_candidates(dynamics.held, edges, low, high, candidates)
        n_left = dynamics.n_regions_left
        context = (
            n_left / dynamics.instance.graph.n_regions,
            len(edges) / dynamics.n_candidates,
            candidates[0, n_features],
            log(n_left),
        )
        return {
            "candidates": candidates,
            "action_mask": dynamics.mask.astype(np.int8),
            "context": np.array(context, np.float32),
        }


def candidate_names(n_features: int) -> tuple[str, ...]:
    """Return the names of the columns of `candidates`."""
    return (*feature_names(n_features), *CANDIDATE_NAMES)


@lru_cache
def _candidate_bounds(n_features: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return lower and upper bounds of what is seen of a candidate, (F + 2,) float32 each."""
    low, high = feature_bounds(n_features)
    return (
        np.concatenate([low, [-KEY_BOUND, 0]], dtype=np.float32),
        np.concatenate([high, [KEY_BOUND, 1]], dtype=np.float32),
    )


@njit(cache=True)
def _see_candidates(held, edges, low, high, out_candidates):
    """Write a row for every candidate, clipped to its bounds."""
    merging = held.process.merging
    features = merging.features
    n = len(features)
    for k in range(len(edges)):
        edge, row = edges[k], out_candidates[k]
        see(merging, edge)
        small, _ = ordered_ends(merging.links, merging.places, merging.rows, merging.regions, edge)
        row[:n] = features
        row[n] = merging.key[edge]
        row[n + 1] = merging.n_clear[small] / merging.regions[small, st.SIZE]
        for i in range(n + 2):
            row[i] = min(max(row[i], low[i]), high[i])
