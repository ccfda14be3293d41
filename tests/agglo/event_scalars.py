"""What stands in TensorBoard event files."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader


def scalars_in(folder: Path) -> list[tuple[str, int, float]]:
    """Return tag, step and value of every scalar in the event files, as they stand there."""
    found = []
    for file in sorted(folder.iterdir()):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found.append((value.tag, event.step, float(value.tensor.float_val[0])))
    return found
