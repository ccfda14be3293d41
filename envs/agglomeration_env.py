"""Agglomeration of superpixels as a Gymnasium environment."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.generator import Generator, VoronoiGenerator
from envs.merge_network import MergeNetwork, mean_boundary_network
from envs.merge_state import (
    N_REGIONS_LEFT,
    MergeState,
    best_candidates,
    best_edge,
    merge,
    see,
    start_state,
)
from envs.truth_rows import TruthRows, errors_of_rows, join_rows, merge_gains, start_rows

N_CONTEXT = 4

Observation: TypeAlias = dict[str, npt.NDArray]


class AgglomerationEnv(gym.Env[Observation, np.int64]):
    """Merge neighbouring clusters of superpixels, then stop.

    State: the current clusters, their additive statistics and contacts, and a queue of all contacts
    ordered by the scorer (confluent agglomeration, `envs.merge_state`). Transitions are
    deterministic; only `reset` draws, through the generator.

    Observation, a dictionary (K candidates, F features):
        candidates (K, F) float32: features of the first K contacts of the queue, best first, in the
            order of `envs.features.FEATURE_NAMES`; 0 where there are fewer.
        action_mask (K + 1,) int8: 1 where an action is allowed.
        context (4,) float32: share of the regions left, K or fewer candidates / K, key of the best
            candidate under the scorer (0 if none), logarithm of the number of regions left.

    Action, Discrete(K + 1): k < K merges the regions of candidate k; K stops. The mask is in the
        observation, in `info["action_mask"]`, and returned by `action_masks()`. An action that the
        mask forbids changes nothing, earns 0 and is told by `info["is_forbidden"]`.

    Reward: decrease of the error of the segmentation that the merge makes: bits of variation of
        information ("vi") or rise of the Rand index ("rand"), truth 0 dropped. Undiscounted rewards
        telescope: their sum is error(start) − error(end), exactly.

    Termination: after stop, or when no two regions touch any more. Never truncated.

    Taking action 0 while the key of the best candidate is at least the threshold of a policy, with
    that policy as the scorer, is the compiled episode of `envs.rollout.play_episode`.

    Args:
        generator: makes the instance of each episode; small random tissue if not given.
        n_candidates: K.
        scorer: orders the queue; by default the mean boundary value of the contact, lowest first.
        objective: what the reward measures.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(
        self,
        generator: Generator | None = None,
        *,
        n_candidates: int = 16,
        scorer: MergeNetwork | None = None,
        objective: Literal["vi", "rand"] = "vi",
        render_mode: str | None = None,
    ) -> None:
        if n_candidates < 1:
            raise ValueError(f"n_candidates must be positive, not {n_candidates}")
        if objective not in ("vi", "rand"):
            raise ValueError(f"objective must be 'vi' or 'rand', not {objective!r}")
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode must be 'ansi' or None, not {render_mode!r}")
        self.generator = VoronoiGenerator() if generator is None else generator
        self.scorer = mean_boundary_network(0.0) if scorer is None else scorer
        self.n_candidates = n_candidates
        self.objective = objective
        self.render_mode = render_mode
        n_features = self.scorer.n_features
        self.observation_space = spaces.Dict(  # pyright: ignore[reportAttributeAccessIssue]
            {
                "candidates": spaces.Box(-np.inf, np.inf, (n_candidates, n_features), np.float32),
                "action_mask": spaces.Box(0, 1, (n_candidates + 1,), np.int8),
                "context": spaces.Box(-np.inf, np.inf, (N_CONTEXT,), np.float32),
            }
        )
        self.action_space = spaces.Discrete(n_candidates + 1)
        self._state: MergeState
        self._rows: TruthRows
        self._edges = np.zeros(0, np.int32)
        self._scratch = np.zeros(1, np.int32)
        self._n_regions = 0
        self._n_merges = 0
        self._is_over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw an instance and queue its contacts."""
        super().reset(seed=seed, options=options)
        graph, truth, *_ = self.generator(self.np_random)
        self._state = start_state(graph, self.scorer)
        self._rows = start_rows(truth, graph.n_regions)
        self._scratch = np.zeros(graph.n_edges + 1, np.int32)
        self._n_regions = graph.n_regions
        self._n_merges = 0
        self._is_over = False
        self._refill()
        return self._observe(), self._inform(is_forbidden=False)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Merge a candidate or stop."""
        if self._is_over:
            raise gym.error.ResetNeeded("the episode is over or never began: call reset() first")
        choice = int(action)
        reward = 0.0
        is_forbidden = not 0 <= choice <= self.n_candidates or not self.action_masks()[choice]
        if choice == self.n_candidates:
            self._is_over = True
        elif not is_forbidden:
            reward = self._merge(int(self._edges[choice]))
            self._refill()
            self._is_over = len(self._edges) == 0
        return self._observe(), reward, self._is_over, False, self._inform(is_forbidden)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return (K + 1,) bool, which actions are allowed; stop always is."""
        mask = np.zeros(self.n_candidates + 1, np.bool_)
        mask[: len(self._edges)] = True
        mask[-1] = True
        return mask

    def best_key(self) -> float:
        """Return the scorer's key of the best candidate, −inf if there is none."""
        return float(self._state.key[self._edges[0]]) if len(self._edges) else -np.inf

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Say in a line where the episode stands."""
        if self.render_mode is None:
            return None
        if self._n_regions == 0:
            raise gym.error.ResetNeeded("no episode ever began: call reset() first")
        vi, rand = errors_of_rows(self._rows)
        return (
            f"{self._n_merges} merges, {self._n_regions - self._n_merges} of {self._n_regions} "
            f"regions left, VI {vi:.4f} bits, Rand index {rand:.4f}, "
            f"{len(self._edges)} candidates, best key {self.best_key():.4f}"
        )

    def _merge(self, edge: int) -> float:
        """Merge an edge and return its reward."""
        u, v = self._state.node[2 * edge], self._state.node[2 * edge + 1]
        gain_vi, gain_rand = merge_gains(self._rows, u, v)
        kept, gone = merge(self._state, edge)
        join_rows(self._rows, kept, gone)
        self._n_merges += 1
        return float(gain_vi if self.objective == "vi" else gain_rand)

    def _refill(self) -> None:
        """Rescore the top of the queue if it is stale and list the candidates."""
        best_edge(self._state, self.scorer, 0.0, np.uint64(0))
        edges = np.zeros(self.n_candidates, np.int32)
        self._edges = edges[: best_candidates(self._state, edges, self._scratch)]

    def _observe(self) -> Observation:
        """Compute the observation into new arrays."""
        candidates = np.zeros((self.n_candidates, self.scorer.n_features), np.float32)
        for k, edge in enumerate(self._edges):
            see(self._state, edge)
            candidates[k] = self._state.features
        n_left = int(self._state.counters[N_REGIONS_LEFT])
        context = (
            n_left / self._n_regions,
            len(self._edges) / self.n_candidates,
            self.best_key() if len(self._edges) else 0.0,
            np.log(n_left),
        )
        return {
            "candidates": candidates,
            "action_mask": self.action_masks().astype(np.int8),
            "context": np.array(context, np.float32),
        }

    def _inform(self, is_forbidden: bool) -> dict[str, Any]:
        """Tell what the observation does not."""
        vi, rand = errors_of_rows(self._rows)
        return {
            "action_mask": self.action_masks().astype(np.int8),
            "is_forbidden": is_forbidden,
            "vi": vi,
            "rand_index": rand,
            "n_regions": self._n_regions - self._n_merges,
        }
