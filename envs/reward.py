"""What the agent is paid for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from envs.dynamics import Dynamics, Transition
from envs.objective import OBJECTIVES, ObjectiveName, terminal_gain
from envs.prices import Prices, checked_prices


class Reward(Protocol):
    """Pays for a step."""

    @property
    def objective(self) -> ObjectiveName:
        """The error whose fall the process measures."""
        ...

    @property
    def prices(self) -> Prices:
        """What actions cost."""
        ...

    def __call__(self, dynamics: Dynamics, transition: Transition) -> float:
        """Return the reward of a step."""
        ...


@dataclass(frozen=True, slots=True)
class ErrorReward:
    """Pay the fall of the error of the segmentation less the price of the action.

    Undiscounted rewards telescope: their sum is error(start) − error(end) − costs, exactly.

    Attributes:
        objective: which error, see `envs.objective`.
        prices: what actions cost, in its units.
    """

    objective: ObjectiveName = "vi"
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(
                f"objective must be one of {', '.join(OBJECTIVES)}, not {self.objective!r}"
            )
        checked_prices(self.prices)

    def __call__(self, dynamics: Dynamics, transition: Transition) -> float:
        """Return the reward of a step; an error that shows only at the end is paid then."""
        reward = transition.gain - transition.cost
        if dynamics.is_over:
            reward += terminal_gain(self.objective, dynamics.instance, dynamics.clusters())
        return reward
