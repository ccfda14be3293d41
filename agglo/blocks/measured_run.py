"""What a run over blocks took, read from the results that `agglo segment --blocks --json` wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from agglo.blocks.tree import BlockTree
from agglo.blocks.work import StageWork
from analysis.input_error import InputError

BLOCK_STAGES = ("superpixels", "sums", "routes", "segmentation")
"""Stages whose tasks are blocks."""


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """A whole run.

    Attributes:
        tree: its blocks.
        stages: what each stage took, in their order.
        levels: what agglomeration took, level by level.
        clusters: of all nodes of each level, as they began.
        largest_graphs: of the largest node of each level.
        end_seconds: writing the merge tree.
        start_seconds: from the command to the first task, whatever the volume.
        n_resolutions: of the segmentation.
    """

    tree: BlockTree
    stages: dict[str, StageWork]
    levels: list[StageWork]
    clusters: list[int]
    largest_graphs: list[int]
    end_seconds: float
    start_seconds: float
    n_resolutions: int = 1

    @classmethod
    def of_results(cls, results: dict[str, Any], *, source: str) -> MeasuredRun:
        """Take a run from its results.

        Args:
            results: of `agglo segment --blocks`.
            source: where they come from, for sentences.

        Raises:
            InputError: they are no such results, the run was resumed, or had a single block.
        """
        try:
            depth, height, width = results["shape"]
            stages = {name: _work(took) for name, took in results["stages"].items()}
            in_stages = sum(took.seconds for took in stages.values())
            run = cls(
                BlockTree((depth, height, width), tuple(results["blocks"])),
                stages,
                [_work(took) for took in results["levels"]],
                results["clusters"],
                results["largest_graphs"],
                results["end_seconds"],
                max(results["seconds"] - in_stages - results["end_seconds"], 0.0),
                results["n_resolutions"],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{source} does not hold the results of agglo segment --blocks "
                f"({type(error).__name__}: {error})."
            ) from error
        run._require_whole(source)
        return run

    @classmethod
    def read(cls, path: Path, *, argument: str) -> MeasuredRun:
        """Read a run from a JSON file.

        Raises:
            InputError: it cannot be read, or see `of_results`.
        """
        try:
            results = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{argument}: {path} cannot be read ({error}).") from error
        if not isinstance(results, dict):
            raise InputError(f"{argument}: {path} holds no results of a command.")
        return cls.of_results(results, source=f"{argument}: {path}")

    def _require_whole(self, source: str) -> None:
        """Refuse a run that does not tell what another one takes."""
        if self.tree.n_levels < 2:
            raise InputError(
                f"{source} is a run of a single block, which does not show how the tree of blocks "
                "grows; measure one of two blocks or more along an axis."
            )
        for name in BLOCK_STAGES:
            n_done = self.stages[name].tasks if name in self.stages else self.tree.n_blocks
            if n_done < self.tree.n_blocks:
                raise InputError(
                    f"{source} is a run that was resumed: it did {n_done} of {self.tree.n_blocks} "
                    f"blocks of the stage {name}; measure one that was not interrupted."
                )


def _work(took: dict[str, Any]) -> StageWork:
    return StageWork(**{field.name: took[field.name] for field in fields(StageWork)})
