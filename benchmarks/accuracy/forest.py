"""A random forest of the contacts of superpixels: the learned evidence of a boundary, flat.

It is trained once, on the contacts before any merge, with the features that the policy sees (gala
and NeuroProof without their agglomerative learning). Of contacts it was trained on, its word is
that of the trees that did not see them (out of bag), so that a threshold may be chosen by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.input_error import InputError

N_TREES = 255
"""As NeuroProof has."""


class Contacts(NamedTuple):
    """Contacts whose worth is known.

    Attributes:
        features: (E, F) float32.
        gains: (E,) float64, by how much VI would fall if the two merged; 0 teaches nothing.
    """

    features: npt.NDArray[np.float32]
    gains: npt.NDArray[np.float64]


def fit_forest(parts: Sequence[Contacts], seed: int) -> Any:
    """Fit a forest to whether merging raises VI.

    Args:
        parts: contacts of the training parts.
        seed: of the forest.

    Raises:
        InputError: all contacts are alike.
    """
    from sklearn.ensemble import RandomForestClassifier  # pyright: ignore[reportMissingImports]

    features = np.concatenate([part.features[part.gains != 0] for part in parts])
    is_boundary = np.concatenate([part.gains[part.gains != 0] for part in parts]) < 0
    if is_boundary.all() or not is_boundary.any():
        raise InputError(f"{len(is_boundary)} contacts to train on are all alike")
    forest = RandomForestClassifier(N_TREES, oob_score=True, n_jobs=1, random_state=seed)
    return forest.fit(features, is_boundary)


def boundary_probability(forest: Any, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the probability (E,) float64 that there is a boundary at contacts (E, F)."""
    return forest.predict_proba(features)[:, 1]


def out_of_bag(forest: Any, parts: Sequence[Contacts]) -> list[npt.NDArray[np.float64]]:
    """Return that probability for the parts a forest was trained on.

    What it did not learn from, contacts without a gain, it judges as any other.
    """
    starts = np.cumsum([np.count_nonzero(part.gains) for part in parts])[:-1]
    words = np.split(forest.oob_decision_function_[:, 1], starts)
    found = []
    for part, word in zip(parts, words, strict=True):
        known = boundary_probability(forest, part.features)
        # NaN where every tree drew a contact, which with 255 trees has a chance of 1e-50.
        known[part.gains != 0] = np.where(np.isfinite(word), word, known[part.gains != 0])
        found.append(known)
    return found
