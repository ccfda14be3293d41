"""Train every configuration with every seed on the same actors, rank them, train the best one.

The folder of a search is a run folder whose records are the trials: each configuration with each
seed, trained on the training shards in a run folder of its own and scored on the validation
shards. A trial that has a record is not repeated, one that was interrupted goes on from its last
round. The best configuration is then trained on all shards as `agglo train` would.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from agglo.json_file import write_json
from agglo.policy_file import FILE_NAME
from agglo.pool import ActorPool
from agglo.run_folder import CHECKPOINT_FOLDER, RunFolder
from agglo.search.grid import Candidate, Grid, candidates_of, draw_candidates
from agglo.search.ranking import Ranking
from agglo.search.validation import reference_vis, score_policy
from agglo.training.shard import Shard, cut_shards, divide_shards, split_shards
from agglo.training.train import played_shards, rollout_pool, train_run
from agglo.training.train_config import TrainConfig
from agglo.training.volume_set import VolumeSet
from agglo.whole_file import write_whole
from analysis.input_error import InputError

RESULTS_FILE, FIGURE_FILE, TRIAL_FOLDER = "search.json", "search.png", "trials"

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class SearchConfig:
    """What a search depends on; two searches with equal configurations are equal bit for bit."""

    grid: Grid = field(default_factory=Grid)
    """the candidates"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """seeds with which every configuration is trained"""
    samples: int | None = None
    """configurations drawn from the grid at random; all of it if not given"""
    validation_share: float = 0.3
    """at least this share of every volume's shards is kept for validation"""
    shard_vox: tuple[int, int, int] = TrainConfig().shard_vox
    """wanted size of a shard (z, y, x); volumes are cut into equal parts near it"""
    seed: int = 0
    """seed of the choice of validation shards and of --samples"""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"--seeds must be different numbers from 0 on, not {self.seeds}.")
        if not 0 < self.validation_share < 1:
            raise InputError(
                f"--validation-share must lie between 0 and 1, not {self.validation_share}."
            )
        if self.seed < 0:
            raise InputError(f"--seed must not be negative, but is {self.seed}.")

    def candidates(self) -> list[Candidate]:
        """Return the configurations to be tried.

        Raises:
            InputError: one of them cannot be trained, or there are fewer than samples.
        """
        candidates = candidates_of(self.grid, self.shard_vox)
        if self.samples is None:
            return candidates
        return draw_candidates(candidates, self.samples, self.seed)


class Listeners(NamedTuple):
    """Who is told what happens.

    Attributes:
        on_round: told the record of every round of every training.
        on_trial: told the record of every trial, those of an earlier process too.
        on_best: told seed and folder of every training of the best configuration.
    """

    on_round: Tell = lambda record: None
    on_trial: Tell = lambda record: None
    on_best: Tell = lambda record: None


def search_policies(
    volumes: list[VolumeSet],
    shapes: list[tuple[int, int, int]],
    search: SearchConfig,
    out: Path,
    *,
    n_actors: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    listeners: Listeners = Listeners(),  # noqa: B008
) -> Ranking:
    """Search for the best configuration and write the folder of the search.

    Args:
        volumes: addresses of the training volumes.
        shapes: their shapes.
        search: what the result depends on.
        out: the folder: a record for every trial, `search.json`, `search.png`, the trials' run
            folders, and a run folder `best_seedS` for every seed.
        n_actors: rollout actors, whose number does not change the result.
        resume: go on with a search of the same configuration.
        overwrite: replace a search that exists.
        listeners: who is told what happens.

    Raises:
        InputError: where volumes, configurations or folder are not what they should be.
    """
    candidates = search.candidates()
    shards = cut_shards(shapes, search.shard_vox)
    training, validation = divide_shards(shards, search.validation_share, search.seed)
    for candidate in candidates:
        split_shards(training, candidate.config.validation_shards, search.seed)  # or refuse
    stated = {"search": asdict(search), "volumes": [v.stated() for v in volumes], "shapes": shapes}
    n_played = max(
        len(played_shards(shards, shapes, candidate.with_seed(search.seed)))
        for candidate in candidates
    )
    with (
        rollout_pool(volumes, n_played, n_actors) as pool,
        RunFolder.create(out, stated, resume=resume, overwrite=overwrite) as folder,
    ):
        work = _Work(pool, folder, volumes, shapes, training, validation, listeners.on_round)
        trials = folder.records()
        for record in trials:
            listeners.on_trial(record)
        plan = [(n, seed) for n in range(len(candidates)) for seed in search.seeds]
        for number, seed in plan[len(trials) :]:
            trials.append(_try(work, number, candidates[number], seed))
            folder.log(trials[-1])
            folder.save_checkpoint(len(trials) - 1, {})
            shutil.rmtree(_trial_folder(folder, number, seed) / CHECKPOINT_FOLDER)
            listeners.on_trial(trials[-1])
        ranking = Ranking.of(candidates, trials, reference_vis(pool, training, validation))
        _write(folder.path, ranking, training, validation)
        for seed in search.seeds:
            listeners.on_best(_train_best(work, ranking.best.candidate.with_seed(seed)))
    return ranking


class _Work(NamedTuple):
    """What all trainings of a search have in common."""

    pool: ActorPool
    folder: RunFolder
    volumes: list[VolumeSet]
    shapes: list[tuple[int, int, int]]
    training: list[Shard]
    validation: list[Shard]
    on_round: Tell


def _try(work: _Work, number: int, candidate: Candidate, seed: int) -> dict[str, Any]:
    """Train a configuration with a seed, or go on with it, and return the record of the trial."""
    began = time.perf_counter()
    path = _trial_folder(work.folder, number, seed)
    path.parent.mkdir(exist_ok=True)
    policy = train_run(
        work.pool,
        work.volumes,
        work.shapes,
        candidate.with_seed(seed),
        path,
        shards=work.training,
        resume=path.exists(),
        on_round=work.on_round,
    )
    seconds = time.perf_counter() - began
    scores = score_policy(work.pool, work.validation, policy.network, policy.threshold)
    of_policy = policy.provenance.get("round", -1)
    return {
        "configuration": number,
        "name": candidate.name,
        "seed": seed,
        **scores._asdict(),
        "threshold": policy.threshold,
        "train_vi": RunFolder.read(path).records()[of_policy]["train_vi"],
        "seconds": seconds,
    }


def _train_best(work: _Work, config: TrainConfig) -> dict[str, Any]:
    """Train on all shards, unless that is done, and return seed and run folder."""
    path = work.folder.path / f"best_seed{config.seed}"
    if not (path / FILE_NAME).exists():
        train_run(
            work.pool,
            work.volumes,
            work.shapes,
            config,
            path,
            resume=path.exists(),
            on_round=work.on_round,
        )
    return {"seed": config.seed, "folder": str(path)}


def _trial_folder(folder: RunFolder, number: int, seed: int) -> Path:
    return folder.path / TRIAL_FOLDER / f"{number:03d}_seed{seed}"


def _write(folder: Path, ranking: Ranking, training: list[Shard], validation: list[Shard]) -> None:
    """Write the ranking as JSON and as a figure."""
    results = {
        "best": ranking.best.candidate.name,
        "references": dict(ranking.references),
        "configurations": [one.results for one in ranking.ranked],
        "training_shards": training,
        "validation_shards": validation,
    }
    write_json(folder / RESULTS_FILE, results, argument="--out")
    buffer = io.BytesIO()
    ranking.figure().savefig(buffer, format="png")
    write_whole(folder / FIGURE_FILE, buffer.getvalue())
