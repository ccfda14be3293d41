from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from agglo import cluster
from agglo.cluster import choose_device, describe_resources, ray_session
from analysis.input_error import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short name, as Ray's sockets need one."""
    folder = Path(tempfile.mkdtemp(prefix="agglo"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def run_script(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**inherited, "RAY_worker_niceness": "0", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.usefixtures("ray_local")
def test_a_session_at_hand_is_used_and_left_open(caplog: pytest.LogCaptureFixture) -> None:
    before = ray.get_runtime_context().get_job_id()
    with caplog.at_level(logging.INFO, "agglo"), ray_session(n_cpus=1):
        assert ray.get_runtime_context().get_job_id() == before
    assert ray.is_initialized()
    assert caplog.messages == ["using the Ray session at hand: 2 CPUs, 0 GPUs on 1 node"]
    assert describe_resources() == "2 CPUs, 0 GPUs on 1 node"


@pytest.mark.usefixtures("ray_local")
def test_the_device_is_chosen_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "agglo"):
        assert choose_device("cpu") == "cpu"
        assert choose_device("auto") == "cpu"
    assert caplog.messages == [
        "device: cpu, as asked for",
        "device: cpu, because the Ray cluster has no GPU (2 CPUs, 0 GPUs on 1 node)",
    ]
    with pytest.raises(InputError, match="--device: cuda was asked for, but the Ray cluster has"):
        choose_device("cuda")
    with pytest.raises(InputError, match="--device: auto, cpu or cuda is expected, not 'gpu'"):
        choose_device("gpu")  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("ray_local")
def test_an_actor_has_as_many_threads_as_cpus() -> None:
    for n_cpus in (1, 2):
        threads = ray.remote(num_cpus=n_cpus)(lambda: os.environ["OMP_NUM_THREADS"])
        assert ray.get(threads.remote()) == str(n_cpus)


def test_the_local_session_leaves_no_trace(short_folder: Path) -> None:
    script = """
import os, ray
from agglo.cluster import ray_session
from agglo.progress import show_messages
show_messages()
def environment():
    names = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "OMP_NUM_THREADS")
    return [os.environ.get(name) for name in names]
before = environment()
assert before == [None, None, None, "7"]
for _ in range(2):
    with ray_session(n_cpus=1):
        assert ray.cluster_resources()["CPU"] == 1
    assert not ray.is_initialized()
    assert environment() == before
"""
    # The address of a head node that was killed lies about.
    (short_folder / "ray").mkdir()
    address = f"127.0.0.1:{free_port()}"
    (short_folder / "ray" / "ray_current_cluster").write_text(address)
    result = run_script(
        script, HOME=str(short_folder), RAY_TMPDIR=str(short_folder), OMP_NUM_THREADS="7"
    )
    assert result.returncode == 0, result.stderr
    assert not (short_folder / ".ray").exists()
    assert result.stdout == ""
    line = "started Ray on this machine: 1 CPU, 0 GPUs on 1 node\n"
    assert result.stderr == 2 * line


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8265", "http://127.0.0.1:8265 is no address a program can join"),
        ("ray://127.0.0.1:10001", "ray://127.0.0.1:10001 is no address a program can join"),
        ("127.0.0.1", "nothing answers at 127.0.0.1"),
        ("127.0.0.1:what", "nothing answers at 127.0.0.1:what"),
        ("127.0.0.1:PORT", "nothing answers at 127.0.0.1:"),
    ],
)
def test_an_unusable_address_is_refused_at_once(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address.replace("PORT", str(free_port())))
    with pytest.raises(InputError, match=re.escape(f"RAY_ADDRESS: {message}")):
        cluster._find_address()


def test_where_a_cluster_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert cluster._find_address() is None
    (tmp_path / "ray").mkdir()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address + "\n")
        assert cluster._find_address() == address
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        assert cluster._find_address() == address
        monkeypatch.setenv("RAY_ADDRESS", "local")
        assert cluster._find_address() is None
        monkeypatch.setenv("RAY_TMPDIR", "/nowhere")
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert cluster._find_address() == address


def test_a_session_needs_a_cpu() -> None:
    with (
        pytest.raises(InputError, match="n_cpus: at least one CPU is needed, 0 asked for"),
        ray_session(n_cpus=0),
    ):
        pass
