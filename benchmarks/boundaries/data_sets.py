"""The two data sets: which sections train, choose thresholds and are reported, and what is counted.

All triples are z, y, x; ranges of sections leave their end out.
"""

from __future__ import annotations

from dataclasses import dataclass

Sections = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Number:
    """A column of the table.

    Attributes:
        name: in JSON.
        header: in the table.
        is_cost: lower is better.
        digits: after the point.
    """

    name: str
    header: str
    is_cost: bool = False
    digits: int = 4


@dataclass(frozen=True, slots=True)
class Target:
    """What the mean over seeds of at least one model should reach.

    Attributes:
        number: which.
        at_least: how much.
    """

    number: str
    at_least: float


@dataclass(frozen=True, slots=True)
class DataSet:
    """A labelled volume and what is done with its sections.

    Attributes:
        name: on the command line.
        file: in the folder of the data sets.
        labels: dataset of the truth; the image is `raw`.
        voxel_size_nm: z, y, x.
        train: sections that train.
        validation: sections that choose thresholds.
        report: sections that are reported.
        scores: what is compared.
        details: what is printed beside.
        compared: names of the scores in which models and losses are compared.
        target: what is to be reached.
        options: further arguments of `agglo boundaries train`.
    """

    name: str
    file: str
    labels: str
    voxel_size_nm: tuple[float, float, float]
    train: Sections
    validation: Sections
    report: Sections
    scores: tuple[Number, ...]
    details: tuple[Number, ...]
    compared: tuple[str, ...]
    target: Target
    options: tuple[str, ...] = ()

    @property
    def predicted(self) -> Sections:
        """Sections of the boundary map: validation, report and what lies between as context."""
        return self.validation[0], self.report[1]

    def number(self, name: str) -> Number:
        """Return a score or detail by name."""
        return next(one for one in (*self.scores, *self.details) if one.name == name)


AUC = Number("auc", "AUC")
AVERAGE_PRECISION = Number("average_precision", "AP")

COSTS: tuple[Number, ...] = (
    Number("train_s", "train s", is_cost=True, digits=0),
    Number("train_steps", "steps", digits=0),
    Number("predict_voxels_per_s", "voxels/s", digits=0),
    Number("other_s", "rest s", is_cost=True, digits=0),
)
"""What every run costs: training, and all but training and prediction."""

ISBI = DataSet(
    name="isbi",
    file="isbi2012_membrane/train.h5",
    labels="segments2d",
    voxel_size_nm=(50.0, 4.0, 4.0),
    train=(0, 14),
    validation=(14, 17),
    report=(17, 20),
    scores=(
        AUC,
        AVERAGE_PRECISION,
        Number("v_rand_thinned", "V-Rand thinned"),
        Number("v_info_thinned", "V-Info thinned"),
        Number("warping_error", "warping error", is_cost=True, digits=5),
        Number("v_rand_thinned_oracle", "V-Rand, oracle"),
    ),
    details=(
        Number("threshold", "threshold", digits=3),
        Number("split_merge_error", "split/merge px", is_cost=True, digits=5),
        *COSTS,
    ),
    compared=("average_precision", "v_rand_thinned", "v_info_thinned"),
    target=Target("v_rand_thinned", 0.93),
    options=("--two-dimensional",),  # labels are numbered anew in every section
)

FIB25 = DataSet(
    name="fib25",
    file="fib25_medulla/train.h5",
    labels="gt",
    voxel_size_nm=(10.0, 10.0, 10.0),
    train=(0, 70),
    validation=(70, 80),
    report=(84, 120),
    scores=(
        AUC,
        AVERAGE_PRECISION,
        Number("floor_vi", "floor VI", is_cost=True, digits=3),
        Number("superpixel_vi", "superpixel VI", is_cost=True, digits=3),
        Number("vi", "VI", is_cost=True, digits=3),
        Number("vi_oracle", "VI, oracle", is_cost=True, digits=3),
    ),
    details=(
        Number("vi_split", "split", is_cost=True, digits=3),
        Number("vi_merge", "merge", is_cost=True, digits=3),
        Number("n_segments", "segments", digits=0),
        Number("threshold", "threshold", digits=3),
        *COSTS,
    ),
    compared=("average_precision", "vi"),
    target=Target("auc", 0.975),
)

DATA_SETS: dict[str, DataSet] = {one.name: one for one in (ISBI, FIB25)}
