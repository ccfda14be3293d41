"""Agglomeration of superpixels as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.dynamics import Dynamics
from envs.generator import Generator, VoronoiGenerator
from envs.human import SimulatedHuman
from envs.information import EpisodeInformation, Information
from envs.observation import CandidateObservation, Observation
from envs.rendering import SectionDrawing
from envs.reward import ErrorReward, Reward

RENDER_MODES = ("ansi", "rgb_array")


class AgglomerationEnv(gym.Env[Any, np.int64]):
    """Turn superpixels into neurons: merge, ask a human, image again, or stop.

    State: the present clusters, the additive statistics of clusters and contacts, a queue of all
    contacts ordered by a scorer (confluent agglomeration, `envs.confluent_rule`), and what asking
    and imaging again have shown. Transitions are deterministic: a simulated human's errors are a
    function of seed and pair. Only `reset` draws, through the generator.

    Observation (`envs.observation.CandidateObservation`), a dictionary; K = number of candidates:
        candidates (K, F + 2) float32: the first K contacts of the queue, best first: features in
            the order of `envs.features.FEATURE_NAMES`, then the scorer's key and the share of the
            smaller region that was imaged again; rows of 0 where there are fewer.
        action_mask (n_actions,) int8: 1 where an action is allowed.
        context (4,) float32: share of the regions left, candidates / K, key of the best
            candidate, logarithm of the number of regions left.

    Action, Discrete(4K + 1): action i · K + k does the i-th kind to candidate k, the last stops:
        0 merge: the two regions become one.
        1 query: a human is asked whether they are one neuron; yes merges them, no forbids the pair
            for good, whatever they are merged into.
        2 reimage: the smaller region is imaged again with less noise, which changes its statistics
            and those of all its contacts.
        3 leave: the contact is put aside unmerged and the window moves on; costs nothing.
        Without a human or a microscope their kinds are missing; without either there is only merge,
        and the space is Discrete(K + 1).
        The mask is in the observation, in `info["action_mask"]`, and returned by `action_masks()`.
        An action that it forbids changes nothing, earns 0 and is told by `info["is_forbidden"]`.

    Reward (`envs.reward.ErrorReward`): fall of the error of the segmentation (bits of variation of
        information unless another objective is chosen) less the price of the action. Undiscounted
        rewards telescope: their sum is error(start) − error(end) − costs, exactly.

    Termination: after stop, or when no contact is left to decide. Never truncated.

    Information: action_mask, is_forbidden, error, n_regions.

    Args:
        generator: makes the instance of each episode; small random tissue if not given.
        dynamics: what actions there are and what they do; by default all, with a human who never
            errs and a microscope. The environment plays on a copy of its own, so that several
            can be given the same.
        observation: what the agent sees.
        reward: what it is paid for.
        information: what else is told.
        render_mode: "ansi" (a line) or "rgb_array" (a section through the two regions of the best
            candidate, coloured, their contact outlined; needs instances with a volume).
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        generator: Generator | None = None,
        *,
        dynamics: Dynamics | None = None,
        observation: Observation | None = None,
        reward: Reward | None = None,
        information: Information | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise ValueError(
                f"render_mode must be one of {', '.join(RENDER_MODES)} or None, not {render_mode!r}"
            )
        self.generator = VoronoiGenerator() if generator is None else generator
        if dynamics is None:
            dynamics = Dynamics(human=SimulatedHuman(), has_microscope=True)
        self.dynamics = dynamics.anew()
        self.observation = CandidateObservation() if observation is None else observation
        self.reward = ErrorReward() if reward is None else reward
        self.information = EpisodeInformation() if information is None else information
        self.render_mode = render_mode
        self._drawing: SectionDrawing | None = None
        self.observation_space = self.observation.space(self.dynamics)
        self.action_space = spaces.Discrete(self.dynamics.n_actions)  # pyright: ignore

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Draw an instance and queue its contacts."""
        super().reset(seed=seed, options=options)
        instance = self.generator(self.np_random)
        self.dynamics.reset(instance, self.reward.objective, self.reward.prices)
        return self.observation(self.dynamics), self.information(self.dynamics, None)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Merge, ask, image again, leave or stop."""
        if self.dynamics.is_over:
            raise gym.error.ResetNeeded("the episode is over or never began: call reset() first")
        transition = self.dynamics.step(int(action))
        reward = 0.0
        if not transition.is_forbidden:
            reward = self.reward(self.dynamics, transition)
        return (
            self.observation(self.dynamics),
            reward,
            self.dynamics.is_over,
            False,
            self.information(self.dynamics, transition),
        )

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return (n_actions,) bool, which actions are allowed; stop always is."""
        return self.dynamics.mask.copy()

    def render(self) -> str | npt.NDArray[np.uint8] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Say in a line where the episode stands, or draw its best candidate."""
        if self.render_mode is None:
            return None
        dynamics = self.dynamics
        if not hasattr(dynamics, "process"):
            raise gym.error.ResetNeeded("no episode ever began: call reset() first")
        if self.render_mode == "rgb_array":
            if self._drawing is None or self._drawing.instance is not dynamics.instance:
                self._drawing = SectionDrawing(dynamics.instance)
            return self._drawing.draw(dynamics)
        merging = dynamics.process.merging
        n_regions = dynamics.instance.graph.n_regions
        best = merging.key[dynamics.candidates[0]] if len(dynamics.candidates) else -np.inf
        return (
            f"{n_regions - dynamics.n_regions_left} merges, {dynamics.n_regions_left} of "
            f"{n_regions} regions left, {self.reward.objective} error "
            f"{dynamics.error:.4f}, {len(dynamics.candidates)} candidates, "
            f"best key {best:.4f}"
        )


def merging_env(generator: Generator | None = None, **pieces: Any) -> AgglomerationEnv:
    """Make the environment in which nobody can be asked: merge a candidate, or stop."""
    return AgglomerationEnv(generator, **{"dynamics": Dynamics(), **pieces})
