from __future__ import annotations

import numpy as np
import pytest

from agglo.blocks.work import TaskWork, WorkMeter, stage_work, summed


def work(seconds: float, peak_mb: float, *, is_first: bool) -> TaskWork:
    return TaskWork(seconds, seconds / 2, 50.0, peak_mb, 10, 20, is_first)


def test_tasks_and_rounds_are_added_up() -> None:
    first = stage_work(
        4.0, [(8, work(3.0, 90.0, is_first=True)), (4, work(1.0, 95.0, is_first=False))]
    )
    assert first.tasks == 2
    assert (first.seconds, first.busy_seconds, first.cpu_seconds) == (4.0, 4.0, 2.0)
    assert (first.idle_mb, first.peak_mb) == (50.0, 95.0)
    assert (first.read_bytes, first.written_bytes, first.voxels) == (20, 40, 12)
    assert (first.first_tasks, first.first_seconds, first.first_voxels) == (1, 3.0, 8)
    nothing = stage_work(0.5, [])
    assert (nothing.tasks, nothing.idle_mb, nothing.peak_mb) == (0, 0.0, 0.0)
    both = summed([first, nothing])
    assert both.seconds == 4.5
    assert (both.idle_mb, both.peak_mb, both.voxels) == (50.0, 95.0, 12)


def test_the_peak_is_that_of_the_task_and_its_bytes_are_counted(tmp_path) -> None:
    meter = WorkMeter()
    meter.begin("large")
    np.ones(200 << 20, np.uint8).sum()
    large = meter.end()
    meter.begin("large")
    (tmp_path / "file").write_bytes(b"1" * 5_000_000)
    small = meter.end()
    assert (large.is_first, small.is_first) == (True, False)
    assert large.peak_mb - large.idle_mb > 190
    if not large.read_bytes:
        pytest.skip("this system does not tell what a process reads")
    assert small.peak_mb < large.peak_mb - 100
    assert 5_000_000 <= small.written_bytes < 6_000_000
    assert small.cpu_seconds <= small.seconds + 1
