"""`agglo segment --blocks` on two nodes, one of which cannot see a file, or dies."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agglo.policy_file import save_policy
from agglo.segmentation import segment_volume
from envs.error_calibration import ErrorCalibration
from tests.agglo.small_volumes import (
    make_tissue,
    save_quick_policy,
    volume_options,
    write_tissue,
)
from tests.agglo.test_blocks_segmentation import BLOCK, MAPS, assert_same

N_TASKS = 12 * 3 + 1 + 2 * (12 + 2 + 1)
N_SECOND = 5
"""Tasks that the second node does; it dies before it can tell of the last."""

SCRIPT = """
import logging, os, signal, sys, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from agglo import pool
from agglo.blocks import stages
from agglo.blocks.worker import BlockWorker
from agglo.cli import main

data, trace, n_second, *words = sys.argv[1:]

class TracedWorker(BlockWorker):
    n_done = 0

    def do(self, stage, task, sources=()):
        node = ray.get_runtime_context().get_node_id()
        is_second = node == second
        with open(trace, "a") as lines:
            lines.write(f"{stage} {task} {'second' if is_second else 'head'}\\n")
        time.sleep(0.02)
        work = super().do(stage, task, sources)
        self.n_done += 1
        if is_second and self.n_done == int(n_second):
            assert Path(f"/proc/{os.getppid()}/comm").read_text() == "raylet\\n"
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return work

def agglo(*words):
    try:
        main([*words])
    except SystemExit as end:
        return end.code
    return 0

pool.PATIENCE_S = 1.0
checks = {"health_check_period_ms": 300, "health_check_timeout_ms": 300,
          "health_check_failure_threshold": 2, "health_check_initial_delay_ms": 0}
head = {"num_cpus": 1, "include_dashboard": False, "_system_config": checks}
os.chdir(data)  # for the processes of the head, which inherit it, and for this one
cluster = Cluster(initialize_head=True, head_node_args=head)
os.chdir("/")
second = cluster.add_node(num_cpus=1, node_name="second").node_id
os.chdir(data)
os.environ["RAY_ADDRESS"] = cluster.address
stages.BlockWorker = TracedWorker
assert agglo(*words, "--image", "/proc/self/cwd/tissue.h5:image") == 2
assert not Path(trace).exists()
assert agglo(*words, "--image", f"{data}/tissue.h5:image") == 0
cluster.shutdown()
"""


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for Ray with a short name, as its sockets need one."""
    folder = Path(tempfile.mkdtemp(prefix="agglo"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_file_that_one_node_does_not_see_and_a_node_that_dies(
    tmp_path: Path, ray_folder: Path
) -> None:
    policy = save_quick_policy(tmp_path / "run", make_tissue(1), threshold=0.25)
    policy = dataclasses.replace(policy, error=ErrorCalibration(0.1, 1.5, 0.1, 8, 2.0))
    save_policy(tmp_path / "run", policy)
    (tmp_path / "data").mkdir()
    source = write_tissue(tmp_path / "data" / "tissue.h5", make_tissue(2))
    out, expected = (tmp_path / name / "s.zarr" for name in ("nodes", "memory"))
    for path in (out, expected):
        path.parent.mkdir()
    image, boundaries, superpixels = (f"{source}:{name}" for name in MAPS)
    segment_volume(policy, image, boundaries, superpixels, str(expected))

    environment = {name: value for name, value in os.environ.items() if name[:4] != "RAY_"}
    environment |= {"RAY_TMPDIR": str(ray_folder), "RAY_worker_niceness": "0"}
    trace = tmp_path / "trace"
    words = ["segment", "--policy", str(tmp_path / "run"), "--out", str(out)]
    words += [*volume_options(source, *MAPS[1:]), "--blocks", *map(str, BLOCK)]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(source.parent), str(trace), str(N_SECOND), *words],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr
    refusal = "agglo: --image: there is no file or folder /proc/self/cwd/tissue.h5 (on node second)"
    assert refusal in result.stderr
    assert "2 CPUs, 0 GPUs on 2 nodes" in result.stderr
    assert "an actor TracedWorker died, its task" in result.stderr
    assert result.stderr.count("the cluster has room for 1 of 2 actors TracedWorker now") == 1

    begun = [line.rsplit(" ", 1) for line in trace.read_text().splitlines()]
    assert Counter(node for _, node in begun) == {
        "second": N_SECOND,
        "head": N_TASKS - N_SECOND + 1,
    }
    again = [task for task, n in Counter(task for task, _ in begun).items() if n > 1]
    assert [node for task, node in begun if task in again] == ["second", "head"]
    assert again == [[task for task, node in begun if node == "second"][-1]]
    assert_same(out, expected)
