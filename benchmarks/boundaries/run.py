"""One run, in a process and Ray session of its own: train, predict, measure.

What is finished is kept: a model, a map or a training that was cut short is gone on with. Started
by `benchmarks.boundaries`: python -m benchmarks.boundaries.run --folder FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from agglo.boundaries.prediction import AFFINITIES
from agglo.cli import main as agglo
from agglo.cluster import ray_session
from agglo.evaluation_result import is_sectioned
from agglo.json_file import write_json
from agglo.volumes import open_volume, write_volume
from analysis.input_error import InputError
from benchmarks.boundaries.data_sets import DATA_SETS, DataSet, Sections
from benchmarks.boundaries.runs import MAP, ROW_FILE, RUN_FILE, Run
from benchmarks.boundaries.scores import Part, section_scores, volume_scores, voxel_scores
from benchmarks.metrics.label_volumes import DATA

PREDICTION_FILE = "predict.json"


@dataclass(frozen=True)
class Arguments:
    """Do one run of the benchmark."""

    folder: Path
    """folder of the run, with its run.json"""
    data_folder: Path = DATA
    """folder of the data sets"""
    cpus: int | None = None
    """CPUs to compute on; all if not given"""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.boundaries.run")
    try:
        run_folder(arguments.folder, arguments.data_folder, arguments.cpus)
    except InputError as error:
        sys.exit(f"agglo: {error}")


def run_folder(folder: Path, data_folder: Path, n_cpus: int | None = None) -> None:
    """Do what is left to do in a run folder, and write its row."""
    started = time.perf_counter()
    run = Run.read(folder / RUN_FILE)
    data_set = DATA_SETS[run.data]
    file = data_folder / data_set.file
    in_commands = 0.0
    if not ((folder / "model" / "model.json").exists() and (folder / PREDICTION_FILE).exists()):
        in_commands = train_and_predict(run, data_set, file, folder, n_cpus)
    measured_from = time.perf_counter()
    numbers: dict[str, float | None] = {**measure(data_set, file, folder)}
    numbers["measure_s"] = time.perf_counter() - measured_from
    numbers |= training_costs(folder / "model")
    predicted = json.loads((folder / PREDICTION_FILE).read_text())
    numbers["predict_voxels_per_s"] = predicted["voxels_per_second"]
    numbers["predict_s"] = predicted["seconds"]
    numbers["other_s"] = time.perf_counter() - started - in_commands
    write_json(folder / ROW_FILE, {"run": run.described(), "numbers": numbers})


def train_and_predict(
    run: Run, data_set: DataSet, file: Path, folder: Path, n_cpus: int | None
) -> float:
    """Train and predict in one Ray session; return the seconds in training and prediction alone."""
    model, size = folder / "model", [str(edge) for edge in data_set.voxel_size_nm]
    before = training_costs(model)["train_s"] or 0.0
    with ray_session(n_cpus=n_cpus):
        if not (model / "model.json").exists():
            train = [
                *("boundaries", "train", "--out", str(model), *run.training_words),
                *data_set.options,
                *("--image", address(file, "raw", data_set.train)),
                *("--labels", address(file, data_set.labels, data_set.train)),
                *("--voxel-size-nm", *size),
            ]
            agglo(train + ["--resume"] * model.exists())
        agglo(
            [
                *("boundaries", "predict", "--model", str(model), "--voxel-size-nm", *size),
                *("--image", address(file, "raw", data_set.predicted)),
                *("--out", str(folder / MAP), "--overwrite"),
                *("--json", str(folder / PREDICTION_FILE)),
            ]
        )
    trained = (training_costs(model)["train_s"] or 0.0) - before
    return trained + json.loads((folder / PREDICTION_FILE).read_text())["seconds"]


def measure(data_set: DataSet, file: Path, folder: Path) -> dict[str, float]:
    """Measure the map of a run, and write the volumes made of it."""
    validation = read_part(data_set, file, folder, data_set.validation)
    report = read_part(data_set, file, folder, data_set.report)
    in_plane = is_sectioned(data_set.voxel_size_nm)
    numbers = voxel_scores(report, in_plane=in_plane)
    if in_plane:
        return numbers | section_scores(validation, report)
    size = data_set.voxel_size_nm
    scores, volumes = volume_scores(validation, report, size)
    for name, volume in volumes.items():
        write_volume(f"{folder}/{name}.zarr", volume, voxel_size_nm=size, overwrite=True)
    return numbers | scores


def read_part(data_set: DataSet, file: Path, folder: Path, sections: Sections) -> Part:
    """Read the map, the affinities and the truth of some sections."""
    in_map = slice(*(z - data_set.predicted[0] for z in sections))
    boundaries = open_volume(str(folder / MAP), argument="--boundaries")
    affinities = open_volume(f"{folder / MAP}:{AFFINITIES}", argument="--affinities")
    labels = open_volume(address(file, data_set.labels, sections), argument="--labels")
    return Part(boundaries[in_map], affinities[:, in_map], labels.read())


def training_costs(model: Path) -> dict[str, float | None]:
    """Return the seconds and steps of a training from its log, all iterations of it together."""
    log = model / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    last = {}
    for record in (json.loads(line) for line in lines if line.endswith("}")):
        last[record["fold"], record.get("iteration")] = record
    return {
        f"train_{name}": sum(record[key] for record in last.values()) if last else None
        for name, key in (("s", "seconds"), ("steps", "step"))
    }


def address(file: Path, dataset: str, sections: Sections) -> str:
    """Return the address of some sections of a dataset."""
    return f"{file}:{dataset}[{sections[0]}:{sections[1]}]"


if __name__ == "__main__":
    main()
