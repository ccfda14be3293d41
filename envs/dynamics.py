"""What the environment's actions do: the decision process, one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from envs.actions import (
    LEAVE,
    MERGE,
    QUERY,
    REIMAGE,
    STOP,
    Outcome,
    Process,
    act,
    can_query,
    n_to_image,
)
from envs.asking_rollout import NOBODY, is_nobody, start_process
from envs.confluent_rule import best_candidates, best_edge
from envs.features import N_FEATURES
from envs.held_process import hold
from envs.human import Human
from envs.instance import Instance
from envs.merge_state import NODE, SMALLEST
from envs.merge_tree import joined_regions
from envs.objective import ObjectiveName, error_of
from envs.prices import Prices
from envs.scorers import MeanBoundary, Oracle, Policy, Scorer, scorer_of


class Transition(NamedTuple):
    """One step.

    Attributes:
        kind: MERGE, QUERY, REIMAGE, LEAVE or STOP of `envs.actions`.
        pair: smallest members of the two regions of the candidate, smaller first; (−1, −1) for
            stop.
        gain: fall of the error; 0 for an error that shows only at the end.
        cost: price of the action.
        is_forbidden: whether the mask forbade the action, so that nothing was done.
    """

    kind: int
    pair: tuple[int, int]
    gain: float
    cost: float
    is_forbidden: bool


class Dynamics:
    """Clusters, a window on the queue of their contacts, and the actions on that window.

    Actions are numbered kind by kind: action i · K + k does the i-th of `kinds` to candidate k;
    the last action stops. A copy (`copy.deepcopy`) goes its own way from there, for planning.

    Args:
        policy: orders the queue; by default the mean boundary value of the contact, lowest first.
            A function makes one for each instance, such as `Oracle.of`.
        n_candidates: K, how many contacts an action can choose from.
        human: who can be asked; `NOBODY` takes queries out of the actions.
        has_microscope: whether regions can be imaged again; False takes that out of the actions.

    Attributes:
        kinds: what can be done to a candidate, of `envs.actions`.
        n_actions: length of the mask.
        n_features: how many features of a candidate the policy looks at.
        instance: what is agglomerated.
        scorer: what the policy is in this episode.
        process: the state, see `envs.actions`.
        held: the same for compiled code, see `envs.held_process`.
        candidates: (≤ K,) int32 edges in the window, best first.
        mask: (n_actions,) bool, which actions are allowed.
        merges: smallest members of the regions that were merged, smaller first, in order.
        error: of the present segmentation; 0 throughout for one that shows only at the end.
        is_over: whether no episode is under way.
    """

    def __init__(
        self,
        policy: Policy | Callable[[Instance], Policy] | None = None,
        *,
        n_candidates: int = 16,
        human: Human = NOBODY,
        has_microscope: bool = False,
    ) -> None:
        if n_candidates < 1:
            raise ValueError(f"n_candidates must be positive, not {n_candidates}")
        if isinstance(policy, Oracle):
            raise ValueError("policy must be Oracle.of, not an Oracle, which is for one episode")
        self.policy = MeanBoundary(0.0) if policy is None else policy
        self.n_candidates = n_candidates
        self.human = human
        self.has_microscope = has_microscope
        asks = not is_nobody(human)
        self.kinds = (
            MERGE,
            *([QUERY] if asks else []),
            *([REIMAGE] if has_microscope else []),
            *([LEAVE] if asks or has_microscope else []),
        )
        self.n_actions = len(self.kinds) * n_candidates + 1
        self.n_features = N_FEATURES if callable(self.policy) else self.policy.n_features
        self.instance: Instance
        self.scorer: Scorer
        self.process: Process
        self.held: Any = None
        self.candidates = np.zeros(0, np.int32)
        self.mask = np.zeros(self.n_actions, np.bool_)
        self.merges: list[tuple[int, int]] = []
        self.error = 0.0
        self.is_over = True
        self._scratch = np.zeros(1, np.int32)
        self._kinds = np.array(self.kinds, np.int64)

    def anew(self) -> Dynamics:
        """Return dynamics of the same settings and without an episode."""
        return Dynamics(
            self.policy,
            n_candidates=self.n_candidates,
            human=self.human,
            has_microscope=self.has_microscope,
        )

    @property
    def n_regions_left(self) -> int:
        """Return how many clusters there are."""
        return self.instance.graph.n_regions - len(self.merges)

    def reset(self, instance: Instance, objective: ObjectiveName, prices: Prices) -> None:
        """Begin an episode.

        Args:
            instance: what is agglomerated.
            objective: the error that falls and rises.
            prices: what actions cost.

        Raises:
            ValueError: there is a microscope but the instance has no second look, or the policy
                made for it looks at other features than the observation shows.
        """
        if self.has_microscope and instance.clear is None:
            raise ValueError("has_microscope needs instances with a clear graph, but this has none")
        self.scorer = scorer_of(self.policy(instance) if callable(self.policy) else self.policy)
        if self.scorer.n_features != self.n_features:
            raise ValueError(
                f"a policy made for an instance must look at {self.n_features} features, not "
                f"{self.scorer.n_features}"
            )
        self.instance = instance
        self.process = start_process(
            instance if self.has_microscope else instance._replace(clear=None),
            self.scorer,
            human=self.human,
            objective=objective,
            prices=prices,
        )
        self.held = hold(self.process, self.scorer)
        self._scratch = np.zeros(instance.graph.n_edges + 1, np.int32)
        self.merges = []
        self.error = float(error_of(self.process.objective))
        self.is_over = False
        self._advance(-1, -1)

    def step(self, action: int) -> Transition:
        """Do what an action says; what the mask forbids changes nothing."""
        if not 0 <= action < self.n_actions or not self.mask[action]:
            return Transition(STOP, (-1, -1), 0.0, 0.0, True)
        if action == self.n_actions - 1:
            self.is_over = True
            return Transition(STOP, (-1, -1), 0.0, self.process.prices.stop, False)
        kind = self.kinds[action // self.n_candidates]
        edge = self.candidates[action % self.n_candidates]
        pair, gain, cost, has_merged = self._advance(kind, edge)
        if has_merged:
            self.merges.append(pair)
            self.error -= gain
        self.is_over = not len(self.candidates)
        return Transition(kind, pair, gain, cost, False)

    def clusters(self) -> npt.NDArray[np.int64]:
        """Return (R,) the smallest member of every region's cluster."""
        merges = np.array(self.merges, np.int32).reshape(-1, 2)
        return joined_regions(self.instance.graph.n_regions, merges)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what compiled code holds."""
        return {**self.__dict__, "held": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if hasattr(self, "process"):
            self.held = hold(self.process, self.scorer)

    def _advance(self, kind: int, edge: int) -> tuple[tuple[int, int], float, float, bool]:
        """Act on an edge (on none if kind is −1), then move the window to the best edges.

        Returns:
            What `Transition` has of pair, gain and cost, and whether two regions merged.
        """
        edges = np.empty(self.n_candidates, np.int32)
        mask = np.zeros(self.n_actions, np.bool_)
        n, pair, gain, cost, has_merged = _advance(
            self.held, kind, edge, self._kinds, edges, mask, self._scratch
        )
        self.candidates, self.mask = edges[:n], mask
        return pair, gain, cost, has_merged  # pyright: ignore[reportReturnType]


@njit(cache=True)
def _advance(held, kind, edge, kinds, out_edges, out_mask, scratch):
    """Act, list the candidates and what may be done to them; their number comes back first."""
    process, scorer = held.process, held.scorer
    merging = process.merging
    low, high = np.int32(-1), np.int32(-1)
    outcome = Outcome(0.0, 0.0, -1, -1)
    if kind >= 0:
        a = merging.places[merging.links[2 * edge, NODE], SMALLEST]
        b = merging.places[merging.links[2 * edge + 1, NODE], SMALLEST]
        low, high = min(a, b), max(a, b)
        outcome = act(process, scorer, kind, edge)
    best_edge(merging, scorer, 0.0, np.uint64(0))
    n = best_candidates(merging, out_edges, scratch)
    for i in range(len(kinds)):
        for k in range(n):
            is_allowed = True
            if kinds[i] == QUERY:
                is_allowed = can_query(process, out_edges[k])
            elif kinds[i] == REIMAGE:
                is_allowed = n_to_image(merging, out_edges[k]) > 0
            out_mask[i * len(out_edges) + k] = is_allowed
    out_mask[len(out_mask) - 1] = True
    return n, (low, high), outcome.gain, outcome.cost, outcome.kept >= 0
