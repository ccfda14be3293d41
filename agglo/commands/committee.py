"""`agglo committee`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agglo.committee import make_committee
from agglo.json_file import write_json
from agglo.progress import console


@dataclass(frozen=True)
class Command:
    """Join policies into one whose logit is the mean of theirs.

    Example: agglo committee --policies run_a run_b --out joined
    """

    policies: tuple[str, ...]
    """run folders of `agglo train`, policy files, or committees; each has one vote"""
    out: Path
    """folder of the policy that comes out, for `agglo segment --policy`"""
    overwrite: bool = False
    """replace a committee that exists"""
    seed: int = 0
    """unused: a committee draws nothing"""
    json: Path | None = None
    """write what came out here"""

    def run(self) -> None:
        """Join them."""
        policy = make_committee(self.policies, self.out, overwrite=self.overwrite)
        n_networks = len(policy.network.b3)
        console.out(
            f"{policy.provenance['policy']} in {self.out}: {n_networks} networks, merges from "
            f"{policy.threshold:g} on"
        )
        if self.json:
            results: dict[str, Any] = {
                "n_policies": len(self.policies),
                "n_networks": n_networks,
                "threshold": policy.threshold,
                "mean_boundary_threshold": policy.mean_boundary_threshold,
                "error": None if policy.error is None else policy.error._asdict(),
            }
            write_json(self.json, results)
