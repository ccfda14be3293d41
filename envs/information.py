"""What is told beside the observation."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from envs.dynamics import Dynamics, Transition


class Information(Protocol):
    """Tells what the observation does not."""

    def __call__(self, dynamics: Dynamics, transition: Transition | None) -> dict[str, Any]:
        """Return the information after a reset (transition None) or a step."""
        ...


class EpisodeInformation:
    """Tell the mask, the error and how many clusters there are.

    action_mask: (n_actions,) int8, as in the observation.
    is_forbidden: whether the last action was one the mask forbids, so that nothing was done.
    error: of the present segmentation under the objective; 0 for those that show only at the end.
    n_regions: clusters left.
    """

    def __call__(self, dynamics: Dynamics, transition: Transition | None) -> dict[str, Any]:
        """Return the information."""
        return {
            "action_mask": dynamics.mask.astype(np.int8),
            "is_forbidden": transition is not None and transition.is_forbidden,
            "error": dynamics.error,
            "n_regions": dynamics.n_regions_left,
        }
