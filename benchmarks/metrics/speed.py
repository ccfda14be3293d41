"""CPU time of VI and Rand scores against scikit-image, and how it grows with the volume."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.metrics import contingency_table as skimage_table

from analysis.contingency import contingency_table
from analysis.segmentation_scores import score_segmentation
from benchmarks.metrics.label_volumes import tiled

EDGES = (64, 100, 160, 250, 360, 512)
COMPARED = (250, 512)


def speed(data: Path, *, repeats: int = 3) -> dict[str, Any]:
    """Time both on FIB-25 labels repeated into cubes, in turns in one process.

    Each computes what it offers for VI and adapted Rand error together: we one table and all its
    scores, scikit-image one table that both its functions share (its fastest way), and also both
    functions as they are mostly called, each making its own.
    """
    with h5py.File(data / "fib25_medulla" / "train.h5") as file:
        truth, proposal = np.asarray(file["gt"]), np.asarray(file["superpixels"])
    score_segmentation(contingency_table(proposal[:1], truth[:1]))  # compile
    seconds: list[float] = []
    compared = []
    for edge in EDGES:
        labels, segmentation = tiled(truth, edge), tiled(proposal, edge)
        ways: dict[str, Callable[[], object]] = {
            "ours": lambda: score_segmentation(contingency_table(segmentation, labels))  # noqa: B023
        }
        if edge in COMPARED:
            ways["shared_table"] = lambda: _shared(segmentation, labels)  # noqa: B023
            ways["separate"] = lambda: _separate(segmentation, labels)  # noqa: B023
        n = repeats if edge > 300 else 3 * repeats
        best = _best_times(ways, n)
        seconds.append(best["ours"])
        if edge in COMPARED:
            compared.append(
                {
                    "edge": edge,
                    "ours_s": best["ours"],
                    "scikit_image_s": best["shared_table"],
                    "scikit_image_separate_s": best["separate"],
                    "ratio": best["shared_table"] / best["ours"],
                    "ratio_separate": best["separate"] / best["ours"],
                }
            )
    exponent = np.polyfit(3 * np.log(EDGES), np.log(seconds), 1)[0]
    return {
        "edges": list(EDGES),
        "seconds": seconds,
        "ns_per_voxel": [1e9 * s / edge**3 for s, edge in zip(seconds, EDGES, strict=True)],
        "exponent": float(exponent),
        "compared": compared,
    }


def _shared(segmentation: np.ndarray, labels: np.ndarray) -> None:
    table = skimage_table(labels, segmentation, ignore_labels=[0], sparse_type="array")
    variation_of_information(labels, segmentation, table=table)
    adapted_rand_error(table=table)


def _separate(segmentation: np.ndarray, labels: np.ndarray) -> None:
    variation_of_information(labels, segmentation, ignore_labels=[0])
    adapted_rand_error(labels, segmentation, ignore_labels=[0])


def _best_times(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Run each way in turn; return the least CPU time of each."""
    best = dict.fromkeys(ways, np.inf)
    for _ in range(repeats):
        for name, run in ways.items():
            gc.collect()
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best
