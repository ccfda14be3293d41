from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agglo.policy_file import Policy
from agglo.recording_file import save_recording
from agglo.replay import record_episode
from envs.merge_network import mean_boundary_network
from tests.agglo.small_volumes import make_tissue

nbformat = pytest.importorskip("nbformat", reason="notebooks are run by nbclient, not installed")
nbclient = pytest.importorskip("nbclient", reason="notebooks are run by nbclient, not installed")
pytest.importorskip("ipykernel", reason="notebooks are run by ipykernel, not installed")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert path.stat().st_size < 50_000


def run(folder: Path, episode: Path | None) -> list[dict[str, Any]]:
    """Run the replay notebook on an episode; return the data of all that it shows."""
    notebook = nbformat.read(ROOT / "notebooks" / "replay.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source.startswith("EPISODE = None")
    if episode is not None:
        first.source = f"EPISODE = {str(episode)!r}"
    setting = nbformat.v4.new_code_cell(f"import sys; sys.path.insert(0, {str(ROOT)!r})")
    notebook.cells.insert(0, setting)
    client = nbclient.NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return [
        output.data
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
    ]


@pytest.mark.slow
def test_the_replay_notebook_makes_its_own_episode(tmp_path: Path) -> None:
    shown = run(tmp_path, None)
    assert "superpixel_vi" in shown[0]["text/plain"]
    assert sum("image/png" in data for data in shown) == 5
    (player,) = [data["text/html"] for data in shown if "text/html" in data]
    assert player.count("<img src=") >= 10


@pytest.mark.slow
def test_the_replay_notebook_shows_a_recording_without_labels(tmp_path: Path) -> None:
    tissue = make_tissue(1)
    policy = Policy(mean_boundary_network(0.4), 0.0, 0.4, None, {"policy": "mean boundary"})
    episode = tmp_path / "episode.npz"
    recording = record_episode(policy, *tissue[:3])
    save_recording(episode, recording)
    shown = run(tmp_path, episode)
    assert f"'n_superpixels': {len(recording.ids)}," in shown[0]["text/plain"]
    assert "superpixel_vi" not in shown[0]["text/plain"]
    assert sum("image/png" in data for data in shown) == 3
