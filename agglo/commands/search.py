"""`agglo search`."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agglo.cluster import ray_session, require_lasting
from agglo.commands.options import VoxelSizeNm
from agglo.json_file import write_json
from agglo.progress import console, progress, show_table
from agglo.search.search import RESULTS_FILE, Listeners, SearchConfig, search_policies
from agglo.training.volume_set import open_sets
from analysis.input_error import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """Train several configurations with several seeds, rank them by VI, and train the best one.

    Options that take several values span a grid. Every configuration is trained with every seed on
    a part of the shards and scored on the others; the best is then trained on all of them.

    Example: agglo search --image em.h5:raw --boundaries boundaries.zarr --superpixels
    superpixels.zarr --labels em.h5:neurons --learners gala flat --rounds 4 8 --out search
    """

    image: tuple[str, ...]
    """image volumes"""
    boundaries: tuple[str, ...]
    """their boundary maps, out of fold where the same volumes trained the boundary model"""
    superpixels: tuple[str, ...]
    """their superpixels"""
    labels: tuple[str, ...]
    """their neurons, 0 = not known"""
    out: Path
    """folder: metrics.jsonl, search.json, search.png, trials, and best_seedS, the run folders"""
    config: SearchConfig = field(default_factory=SearchConfig)
    """what the result depends on"""
    actors: int | None = None
    """rollout actors, whose number does not change the result; one for each CPU if not given"""
    texture: tuple[str, ...] = ()
    """their channels of `agglo texture` or `agglo masks`, if --features look at texture"""
    embedding: tuple[str, ...] = ()
    """their embedding, of `agglo boundaries predict`, if --features look at one"""
    voxel_size_nm: VoxelSizeNm = None
    """edges of a voxel (z y x) where the files state none"""
    resume: bool = False
    """go on with the search in OUT; what is done is not repeated"""
    overwrite: bool = False
    """replace a search that exists"""
    json: Path | None = None
    """write the results here too"""

    def run(self) -> None:
        """Search, printing a line a trial."""
        n_candidates, n_seeds = len(self.config.candidates()), len(self.config.seeds)
        require_lasting(self.out)
        if self.actors is not None and self.actors < 1:
            raise InputError(f"--actors must be at least 1, not {self.actors}.")
        volumes, shapes = open_sets(
            *(self.image, self.boundaries, self.superpixels, self.labels, self.voxel_size_nm),
            texture=self.texture,
            embedding=self.embedding,
        )
        n_trials = n_candidates * n_seeds
        with ray_session(), progress("search", n_trials + n_seeds) as bar:

            def on_round(record: dict[str, Any]) -> None:
                bar.advance(0, round=record["round"], vi=record["train_vi"])

            def on_trial(record: dict[str, Any]) -> None:
                bar.advance()
                logger.info("trial %d of %d: %s", bar.n_done, n_trials, line_of(record))

            def on_best(record: dict[str, Any]) -> None:
                bar.advance()
                logger.info("trained on all shards: %s", record["folder"])

            ranking = search_policies(
                volumes,
                shapes,
                self.config,
                self.out,
                n_actors=self.actors,
                resume=self.resume,
                overwrite=self.overwrite,
                listeners=Listeners(on_round, on_trial, on_best),
            )
        show_table(
            f"{n_candidates} configurations; VI in bits, mean ± sd over {n_seeds} seeds, "
            "each the mean of the validation shards",
            ranking.header,
            ranking.rows,
        )
        console.out(
            f"best: {ranking.best.candidate.name}; trained on all shards in "
            f"{' '.join(str(self.out / f'best_seed{seed}') for seed in self.config.seeds)}"
        )
        if self.json:
            write_json(self.json, json.loads((self.out / RESULTS_FILE).read_text()))


def line_of(record: dict[str, Any]) -> str:
    """Say in a line what a trial scored."""
    return (
        f"{record['name']}, seed {record['seed']}, validation VI {record['vi']:.3f} "
        f"({record['oracle_vi']:.3f} at the oracle threshold), "
        f"ARAND {record['adapted_rand_error']:.3f}, {record['seconds']:.1f} s"
    )
