"""What is run: a model, a loss and a seed on a data set, and what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

DataName = Literal["isbi", "fib25"]
ModelName = Literal["convnet", "unet", "dawmr1", "dawmr3"]
LossKind = Literal["bce", "structured"]

MODELS: dict[ModelName, tuple[str, ...]] = {
    "convnet": ("--model", "convnet"),
    "unet": ("--model", "unet"),
    "dawmr1": ("--model", "dawmr", "--iterations", "1"),
    "dawmr3": ("--model", "dawmr", "--iterations", "3"),
}
"""Arguments of `agglo boundaries train` for each model."""

STEPS: dict[ModelName, int] = {"convnet": 4000, "unet": 4000, "dawmr1": 400, "dawmr3": 400}
"""Steps of a network, or batches of 8,192 examples of an iteration: some minutes of two cores."""

N_ITERATIONS: dict[ModelName, int] = {"convnet": 1, "unet": 1, "dawmr1": 1, "dawmr3": 3}
"""Minutes are those of a network or of an iteration, so one of three iterations has thrice as many.

A recursion is to be compared with its own first iteration, which must not be cut short by what
follows; `train s` of the table says what it took.
"""

STRUCTURED: dict[tuple[DataName, ModelName], str] = {
    ("isbi", "convnet"): "malis",
    ("isbi", "unet"): "blotc",
    ("isbi", "dawmr1"): "malis",
    ("isbi", "dawmr3"): "malis",
    ("fib25", "convnet"): "malis",
    ("fib25", "unet"): "malis",
    ("fib25", "dawmr1"): "malis",
    ("fib25", "dawmr3"): "malis",
}
"""The structured loss of each model on each data set."""

MAP = "map.zarr"
ROW_FILE, FAILURE_FILE, RUN_FILE, LOG_FILE = "row.json", "failure.json", "run.json", "log.txt"


@dataclass(frozen=True, slots=True)
class Run:
    """What determines a run.

    Attributes:
        data: name of the data set.
        model: name of the model.
        kind: plain cross-entropy or a structured loss.
        seed: of weights, patches and augmentation.
        minutes: of training of a network or an iteration; None if `steps` is given.
        steps: of training of a network or an iteration; None if `minutes` is given.
    """

    data: DataName
    model: ModelName
    kind: LossKind
    seed: int
    minutes: float | None
    steps: int | None

    @property
    def loss(self) -> str:
        """The loss itself."""
        return "bce" if self.kind == "bce" else STRUCTURED[self.data, self.model]

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.data}_{self.model}_{self.kind}_seed{self.seed}"

    @property
    def budget(self) -> str:
        """How long it trains."""
        return f"{self.steps} steps" if self.minutes is None else f"{self.minutes:g} min"

    @property
    def training_words(self) -> list[str]:
        """Arguments of `agglo boundaries train` that depend on the run."""
        budget: tuple[str, float | None] = ("--steps", self.steps)
        if self.minutes is not None:
            budget = ("--minutes", self.minutes * N_ITERATIONS[self.model])
        words = (*MODELS[self.model], "--loss", self.loss, "--folds", 1, "--seed", self.seed)
        return [str(word) for word in (*words, *budget)]

    def described(self) -> dict[str, Any]:
        """Return what determines the run, for JSON, and its loss, whose table may change."""
        return {**asdict(self), "loss": self.loss}

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read a run that was written as `described`."""
        values = json.loads(path.read_text())
        return cls(**{name: value for name, value in values.items() if name != "loss"})


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a run.

    Attributes:
        run: what was run.
        numbers: scores and costs by name; None where a run has no such number. Empty on failure.
        failure: why there are no numbers, in a sentence; empty if there are.
    """

    run: Run
    numbers: dict[str, float | None] = field(default_factory=dict)
    failure: str = ""

    def __post_init__(self) -> None:
        if bool(self.numbers) == bool(self.failure):
            raise ValueError("a row has either numbers or a failure")

    @property
    def results(self) -> dict[str, Any]:
        """What goes to JSON."""
        return {**self.run.described(), "numbers": self.numbers, "failure": self.failure}
