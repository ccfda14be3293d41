"""Whether a policy knows its own error: expected against true VI over the blocks of a volume.

Run from the root, with a policy trained on another volume, or another part of one:
python -m benchmarks.doubts --policy RUN --image I --boundaries B --superpixels S --labels L --out D
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tyro
from matplotlib.figure import Figure
from scipy import stats

from agglo.evaluation_result import save_figures
from agglo.json_file import write_json
from agglo.policy_file import Policy, load_policy
from agglo.progress import show_table
from agglo.training.rollout_actor import RolloutActor
from agglo.training.shard import cut_shards
from agglo.training.volume_set import VolumeSet, open_set
from analysis.figure_style import LINE_INKS, new_figure, style_plot
from analysis.input_error import InputError


@dataclass(frozen=True)
class Arguments:
    """Hold expected against true VI."""

    policy: str
    """run folder of a trained policy"""
    image: str
    """the image"""
    boundaries: str
    """its boundary map"""
    superpixels: str
    """its superpixels"""
    labels: str
    """its neurons"""
    out: Path
    """folder for numbers and figure"""
    parts: int = 3
    """the volume is cut into so many parts along each axis"""
    voxel_size_nm: tuple[float, float, float] | None = None
    """edges of a voxel (z y x) where the files state none"""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m benchmarks.doubts")
    policy = load_policy(arguments.policy)
    if policy.error is None:
        raise SystemExit(
            f"--policy: {arguments.policy} does not know its own error; train it anew."
        )
    try:
        volumes, shape = open_set(
            *(arguments.image, arguments.boundaries, arguments.superpixels, arguments.labels),
            arguments.voxel_size_nm,
        )
        pairs = block_errors(policy, volumes, shape, arguments.parts)
    except InputError as error:
        raise SystemExit(str(error)) from error
    expected, true = pairs.T
    numbers = {
        "n_blocks": len(pairs),
        "pearson": float(np.corrcoef(expected, true)[0, 1]),
        "spearman": float(np.asarray(stats.spearmanr(expected, true))[0]),
        "mean_true_vi": float(true.mean()),
        "mean_expected_vi": float(expected.mean()),
        "rms_error": float(np.sqrt(np.mean((expected - true) ** 2))),
        "sd_true_vi": float(true.std()),
    }
    show_table("expected against true VI, bits", ("number", "value"), numbers.items())
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "doubts.json", {**numbers, "blocks": pairs.tolist()})
    save_figures(arguments.out, {"doubts": calibration_figure(expected, true)})


def block_errors(
    policy: Policy, volumes: VolumeSet, shape: tuple[int, int, int], parts: int
) -> npt.NDArray[np.float64]:
    """Return expected and true VI in bits of every block with truth, (B, 2) float64."""
    assert policy.error is not None
    z, y, x = (max(1, extent // parts) for extent in shape)
    actor = RolloutActor((volumes,))
    found = [
        actor.estimate(shard, policy.network, policy.threshold)
        for shard in cut_shards([shape], (z, y, x))
    ]
    return np.array(
        [
            (policy.error(one.expected_vi, one.membrane), one.true_vi)
            for one in found
            if one is not None
        ]
    )


def calibration_figure(expected: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> Figure:
    """Draw every block, the line of equality, and the means of thirds of the blocks.

    Args:
        expected: (B,) float64, VI in bits.
        true: (B,) float64.
    """
    figure, axes = new_figure(1, 1, (4.6, 4.2))
    cell = axes[0, 0]
    most = 1.05 * max(expected.max(), true.max())
    cell.plot([0, most], [0, most], color="#999999", linewidth=1, label="expected = true")
    cell.scatter(expected, true, s=24, color=LINE_INKS[0], label=f"{len(true)} blocks")
    thirds = np.array_split(np.argsort(expected), 3)
    means = np.array([(expected[third].mean(), true[third].mean()) for third in thirds])
    cell.plot(*means.T, "s-", color=LINE_INKS[1], label="means of thirds")
    style_plot(cell, "Does the policy know its own error?", "expected VI, bits", "true VI, bits")
    cell.set_xlim(0, most)
    cell.set_ylim(0, most)
    cell.legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
