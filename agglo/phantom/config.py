"""What a phantom is made from: one frozen record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.input_error import InputError

JITTER = 0.2
"""How far a node lies from its lattice point, at most, along each axis, in node spacings.

Two lattice edges without a common node then stay (1 - 2 * JITTER) spacings apart.
"""

MAX_CALIBRE_SPREAD = 0.55
"""Largest difference of two radii in node spacings.

It is below 1 - 2 * JITTER, so every skeleton lies inside its own territory, and below the length
of any edge, so the cone between two nodes is never degenerate.
"""

_RATES = (
    "tortuosity",
    "branching",
    "density",
    "mitochondria",
    "tubules",
    "synapses",
    "faint_membranes",
    "bad_sections",
)


@dataclass(frozen=True, slots=True)
class PhantomConfig:
    """Describe an unbounded phantom.

    Lengths are in nm, triples are z, y, x, rates are probabilities in [0, 1].

    Attributes:
        seed: Root of all hashes, 0 <= seed < 2**63.
        voxel_size_nm: Voxel size; its axes may differ by any factor.
        node_spacing_nm: Distance of the nodes that skeletons are strung on. Sets the calibre of
            everything: a neurite is about one to three spacings thick.
        calibre_spread: Difference between the thickest and the thinnest radius in node spacings,
            0 to 0.55.
        tortuosity: Strength of the domain warp; 1 is the strongest that is sure to be injective.
        branching: Probability that a neurite that finds its way blocked joins the one in front of
            it, as a branch, instead of ending there.
        density: Share of the neurites that are kept, 0.4 to 1; the others leave their room to
            their neighbours, which makes calibres vary.
        membrane_nm: Width of a membrane at half its depth.
        faint_membranes: Share of the pairs of neurites whose common membrane is hard to see.
        mitochondria: Probability that a thick piece of neurite holds a mitochondrion.
        tubules: Probability that a piece of neurite holds a membrane-bound tubule.
        synapses: Probability that two neighbouring nodes of two neurites make a synapse.
        noise: Standard deviation of the shot noise in grey levels.
        section_jitter: Standard deviation of the brightness of sections in grey levels; their
            contrast varies along with it.
        bad_sections: Probability that a section is bad (low contrast, dark band or out of focus).
    """

    seed: int = 0
    voxel_size_nm: tuple[float, float, float] = (8.0, 8.0, 8.0)
    node_spacing_nm: float = 112.0
    calibre_spread: float = 0.42
    tortuosity: float = 0.8
    branching: float = 0.5
    density: float = 0.65
    membrane_nm: float = 22.0
    faint_membranes: float = 0.1
    mitochondria: float = 0.45
    tubules: float = 0.1
    synapses: float = 0.06
    noise: float = 8.0
    section_jitter: float = 2.0
    bad_sections: float = 0.01

    def __post_init__(self) -> None:
        """Refuse values that no phantom can be made from."""
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer):
            raise InputError(f"seed must be an integer, got {self.seed!r}.")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed must lie in 0 to 2**63 - 1, got {self.seed}.")
        try:
            size = tuple(float(v) for v in self.voxel_size_nm)
        except (TypeError, ValueError):
            size = ()
        if len(size) != 3 or not all(0 < v < np.inf for v in size):
            raise InputError(
                f"voxel_size_nm must be three positive numbers z, y, x, got {self.voxel_size_nm!r}."
            )
        object.__setattr__(self, "seed", int(self.seed))
        object.__setattr__(self, "voxel_size_nm", size)
        self._check("node_spacing_nm", max(4.0 * min(size), max(size)), 1e6)
        self._check("calibre_spread", 0.0, MAX_CALIBRE_SPREAD)
        self._check("membrane_nm", 1e-3 * self.node_spacing_nm, 0.5 * self.node_spacing_nm)
        for name in _RATES:
            self._check(name, 0.4 if name == "density" else 0.0, 1.0)
        self._check("noise", 0.0, 128.0)
        self._check("section_jitter", 0.0, 128.0)

    def _check(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        try:
            inside = low <= float(value) <= high
        except (TypeError, ValueError):
            inside = False
        if inside:
            object.__setattr__(self, name, float(value))  # one compiled form for all
        else:
            raise InputError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}.")
