"""The methods that are compared, one line each in `METHODS`.

Whatever has a threshold, a bias or a setting chooses it on the training side. What is timed is from
the region graph, which all share, to the clusters of superpixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from benchmarks.accuracy.committee import Committee
from benchmarks.accuracy.evidence import forest, mean_boundary
from benchmarks.accuracy.learned import Trained
from benchmarks.accuracy.peer_methods import Linkage, Partition, Quantile
from benchmarks.accuracy.references import greedy_oracle, majority, nothing
from benchmarks.accuracy.signed_graphs import (
    GASP_SETTINGS,
    MULTICUT_SETTINGS,
    gasp_average,
    multicut,
)
from benchmarks.accuracy.small_by_truth import SmallByTruth
from benchmarks.accuracy.trial import Numbers, Trial

Kind = Literal["reference", "peer", "ours"]
"""A reference does nothing or knows the truth of the test part; ours is held against peers."""


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table.

    Attributes:
        title: in table and figure.
        work: returns the numbers of the test part.
        kind: what it is compared as.
        has_seeds: whether chance plays a part.
        needs: modules that have to be installed.
    """

    title: str
    work: Callable[[Trial], Numbers]
    kind: Kind = "peer"
    has_seeds: bool = False
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """Say what is not installed in a sentence, nothing if all is there."""
        missing = [name for name in self.needs if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed (extra `baselines`)." if missing else ""


_WATERZ, _CPP, _SKLEARN = ("waterz",), ("bioimage_cpp",), ("sklearn",)

ONE_SCALE = ("--scales", "1")
"""Published learners saw every shard at one size."""


def learner(name: str) -> Trained:
    """Return a learner of `agglo train` as it was published."""
    return Trained(name, ("--learner", name, *ONE_SCALE))


DEFAULT = Trained("on-policy")
SINGLE = Trained("on-policy-single", ONE_SCALE)
GALA_SCALES = Trained("gala-scales", ("--learner", "gala"))

METHODS: dict[str, Method] = {
    "superpixels": Method("superpixels", nothing, "reference"),
    "floor": Method("floor: majority labels", majority, "reference"),
    "greedy-oracle": Method("greedy oracle of ΔVI", greedy_oracle, "reference"),
    "mean-boundary": Method("mean boundary", Linkage(mean_boundary)),
    "waterz-50": Method("waterz quantile 50", Quantile(50), needs=_WATERZ),
    "waterz-75": Method("waterz quantile 75", Quantile(75), needs=_WATERZ),
    "waterz-85": Method("waterz quantile 85", Quantile(85), needs=_WATERZ),
    "waterz-max-50": Method("waterz 50 of maxima", Quantile(50, True), needs=_WATERZ),
    "waterz-max-75": Method("waterz 75 of maxima", Quantile(75, True), needs=_WATERZ),
    "waterz-max-85": Method("waterz 85 of maxima", Quantile(85, True), needs=_WATERZ),
    "multicut": Method(
        "multicut, boundary", Partition(mean_boundary, multicut, MULTICUT_SETTINGS), needs=_CPP
    ),
    "gasp": Method(
        "GASP, boundary", Partition(mean_boundary, gasp_average, GASP_SETTINGS), needs=_CPP
    ),
    "forest-linkage": Method("linkage, forest", Linkage(forest), "peer", True, _SKLEARN),
    "forest-multicut": Method(
        "multicut, forest",
        Partition(forest, multicut, MULTICUT_SETTINGS),
        has_seeds=True,
        needs=_CPP + _SKLEARN,
    ),
    "forest-gasp": Method(
        "GASP, forest",
        Partition(forest, gasp_average, GASP_SETTINGS),
        has_seeds=True,
        needs=_CPP + _SKLEARN,
    ),
    "flat": Method("flat network", learner("flat"), has_seeds=True),
    "lash": Method("LASH", learner("lash"), has_seeds=True),
    "gala": Method("gala strategy", learner("gala"), has_seeds=True),
    "fitted-q": Method("fitted Q", learner("fitted-q"), has_seeds=True),
    "policy-gradient": Method("policy gradient", learner("policy-gradient"), has_seeds=True),
    "gala-scales": Method(
        "gala strategy, three scales",
        GALA_SCALES,
        "ours",
        has_seeds=True,
    ),
    "on-policy-copies": Method(
        "on-policy, one scale, copies",
        Trained("on-policy-copies", (*ONE_SCALE, "--degraded-copies", "1")),
        "ours",
        has_seeds=True,
    ),
    "on-policy-single": Method(
        "on-policy, one scale",
        SINGLE,
        "ours",
        has_seeds=True,
    ),
    "on-policy-expert": Method(
        "on-policy, with an expert",
        Trained("on-policy-expert", ("--strict-episodes", "1")),
        "ours",
        has_seeds=True,
    ),
    "on-policy": Method("on-policy network", DEFAULT, "ours", has_seeds=True),
    "committee": Method(
        "committee of four policies",
        Committee("committee", (DEFAULT, SINGLE, learner("gala"), GALA_SCALES)),
        "ours",
        has_seeds=True,
    ),
    "small-by-truth": Method(
        "on-policy, small superpixels by truth",
        SmallByTruth(DEFAULT, 0.002),
        "reference",
        has_seeds=True,
    ),
}
"""Rows by their name on the command line."""
