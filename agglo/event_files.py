"""TensorBoard event files: the numbers of `metrics.jsonl` for those who watch them there.

The log of the run is the truth and the event files its copy: whoever opens them writes them anew
from the records, so a run that was set back to a checkpoint has no step twice.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis.input_error import InputError

FOLDER = "tensorboard"

_STEPS, _PARTS = ("round", "step"), ("fold", "iteration")
"""Which number of a record is its step, and which say what part of the run it is of."""


def require_tensorboard() -> None:
    """Refuse to write event files without the package that does.

    Raises:
        InputError: TensorBoard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "--tensorboard needs a package that is not installed; "
            "pip install 'agglo[tensorboard]' installs it."
        )


class EventFiles:
    """Write records as scalars, in TensorBoard's own format."""

    def __init__(self, folder: Path, records: Iterable[Mapping[str, Any]]) -> None:
        """Write event files anew.

        Args:
            folder: where; event files that are there are deleted.
            records: that there are so far.

        Raises:
            InputError: TensorBoard is not installed.
        """
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        for record in records:
            self.add(record)

    def add(self, record: Mapping[str, Any]) -> None:
        """Write the numbers of a record and see them on the disk.

        The number of its round or step is the step; a fold's and an iteration's numbers are named
        after them, as in `fold_0/val_loss`.
        """
        step = next(record[name] for name in _STEPS if name in record)
        parts = [f"{name}_{record[name]}" for name in _PARTS if name in record]
        for name, value in record.items():
            if name not in (*_STEPS, *_PARTS) and isinstance(value, int | float):
                self._writer.add_scalar("/".join([*parts, name]), value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
