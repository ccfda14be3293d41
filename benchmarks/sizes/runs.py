"""What is run: a size from boundary map to evaluated segmentation, each in files of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agglo.json_file import write_json
from agglo.progress import messages
from benchmarks.sizes.scene import FAR_VOX
from benchmarks.sizes.watch import run_command

TRAIN_SIDE = 128

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the runs of the benchmark lie, and what they share.

    Attributes:
        out: folder of all runs.
        policy: run folder, or policy, that is applied.
        block: edge of a block in voxels.
        seed: of the phantom.
        n_painters: processes that make the phantom.
    """

    out: Path
    policy: Path
    block: int
    seed: int
    n_painters: int

    def scene(self, side: int) -> Path:
        """Return the folder of the volumes of a size."""
        return self.out / "scenes" / str(side)

    def segmentation(self, name: str) -> Path:
        """Return where the segmentation of a run goes."""
        return self.out / "segmentations" / f"{name}.zarr"

    def log(self, name: str) -> Path:
        """Return where the commands of a run say what they say."""
        return self.out / "logs" / f"{name}.txt"

    def maps(self, side: int) -> list[str]:
        """Return the options that name image and boundary map."""
        scene = self.scene(side)
        return [
            *("--image", str(scene / "image.zarr")),
            *("--boundaries", str(scene / "boundaries.zarr")),
        ]

    def segment_words(self, side: int, name: str, n_actors: int) -> list[str]:
        """Return the command that segments a size in blocks."""
        return [
            *("-m", "agglo.cli", "segment", "--policy", str(self.policy), *self.maps(side)),
            *("--out", str(self.segmentation(name)), "--actors", str(n_actors)),
            *("--blocks", *[str(self.block)] * 3),
        ]


def prepare(place: Place) -> None:
    """Make the folders, and train the policy on a phantom apart if there is none."""
    for name in ("scenes", "segmentations", "logs", "rows"):
        (place.out / name).mkdir(parents=True, exist_ok=True)
    if place.policy.exists():
        return
    messages.print(f"training a policy on a phantom of {TRAIN_SIDE}³", markup=False)
    scene, log = place.out / "scenes" / "train", place.log("train")
    _paint(place, scene, TRAIN_SIDE, FAR_VOX, log)
    superpixels = scene.with_name("train_superpixels.zarr")
    run_command(
        [
            *("-m", "agglo.cli", "superpixels", "--boundaries", scene / "boundaries.zarr"),
            *("--out", superpixels, "--overwrite"),
        ],
        log,
    )
    unfinished = place.out / "unfinished_policy"
    shutil.rmtree(unfinished, ignore_errors=True)
    run_command(
        [
            *("-m", "agglo.cli", "train", "--image", scene / "image.zarr"),
            *("--boundaries", scene / "boundaries.zarr", "--superpixels", superpixels),
            *("--labels", scene / "labels.zarr", "--out", unfinished, "--rounds", 3),
            *("--shard-vox", 64, 128, 128, "--seed", place.seed),
        ],
        log,
    )
    unfinished.rename(place.policy)


def paint(place: Place, side: int) -> Row:
    """Make the volumes of a size."""

    def make() -> Row:
        return _paint(place, place.scene(side), side, 0, place.log(f"{side}_phantom"))

    return kept(place, f"{side}_phantom", make)


def segment(place: Place, side: int, n_actors: int) -> Row:
    """Segment a size in blocks."""
    name = f"{side}_{n_actors}"

    def make() -> Row:
        results = place.out / f"{name}.results.json"
        words = place.segment_words(side, name, n_actors)
        watched = run_command([*words, "--overwrite", "--json", results], place.log(name))
        row = json.loads(results.read_text())
        results.unlink()
        return row | {"whole_seconds": watched.seconds, "process_peak_mb": watched.peak_mb}

    return kept(place, name, make)


def evaluate(place: Place, side: int, name: str, superpixels: Path | str) -> Row:
    """Measure a segmentation of a size against the labels of the phantom, in blocks."""

    def make() -> Row:
        results = place.out / f"{name}.scores.json"
        watched = run_command(
            [
                *("-m", "agglo.cli", "evaluate", "--segmentation", place.segmentation(name)),
                *("--labels", place.scene(side) / "labels.zarr", "--superpixels", superpixels),
                *("--warping", "none", "--json", results),
            ],
            place.log(name),
        )
        scores = json.loads(results.read_text())
        results.unlink()
        return {"scores": scores, **_took(watched)}

    return kept(place, f"{name}_evaluation", make)


def seams(place: Place, side: int) -> Row:
    """Segment a size with superpixels of the whole volume, in memory."""
    name = f"{side}_whole"

    def make() -> Row:
        superpixels = place.segmentation(f"{side}_whole_superpixels")
        words = ["-m", "agglo.cli", "superpixels", "--overwrite", *place.maps(side)[2:]]
        run_command([*words, "--out", superpixels], place.log(name))
        run_command(
            [
                *("-m", "agglo.cli", "segment", "--policy", place.policy, *place.maps(side)),
                *("--superpixels", superpixels, "--out", place.segmentation(name)),
                "--overwrite",
            ],
            place.log(name),
        )
        return evaluate(place, side, name, superpixels)

    return kept(place, name, make)


def kept(place: Place, name: str, make: Any) -> Row:
    """Return the row of a run, making it where there is none."""
    path = place.out / "rows" / f"{name}.json"
    if not path.exists():
        messages.print(name.replace("_", " "), markup=False)
        write_json(path, make(), argument="--out")
    return json.loads(path.read_text())


def _paint(place: Place, folder: Path, side: int, z: int, log: Path) -> Row:
    return _took(
        run_command(
            [
                *("-m", "benchmarks.sizes.paint", "--folder", folder.absolute(), "--side", side),
                *("--seed", place.seed, "--z", z, "--actors", place.n_painters),
            ],
            log,
        )
    )


def _took(watched: Any) -> Row:
    """Return what a command without stages took, as a row."""
    took = asdict(watched)
    return {"seconds": took["seconds"], "process_peak_mb": took["peak_mb"]}
