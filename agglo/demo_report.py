"""The demo's report page: pictures, learning curves and the table, in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from agglo.demo import DemoConfig, DemoResult
from agglo.report import Table, write_report
from agglo.run_folder import RunFolder
from agglo.volumes import open_volume
from analysis.border_errors import worst_sections
from analysis.learning_figures import learning_figure
from analysis.segmentation_figures import panel_figure

TABLE_HEADER = ("", "VI (bits)", "split", "merge", "adapted Rand error", "segments")


def write_demo_report(out: Path, config: DemoConfig, result: DemoResult) -> Path:
    """Write `report.html` and the panel of pictures beside it; return its path."""
    path = out / "report.html"
    panel = _panel(out, config, result)
    panel.savefig(out / "pictures" / "panel.png", dpi=110)
    policy = result.policy.scores
    write_report(
        path,
        title="agglo demo: from an image to a measured segmentation",
        summary=[
            ("policy VI", policy["vi"], "bits, on the block that was not trained on"),
            ("mean-boundary VI", result.mean_boundary.scores["vi"], "bits, same superpixels"),
            ("superpixel VI", policy["superpixel_vi"], "bits, before any merge"),
            ("floor VI", policy["floor_vi"], "bits, every superpixel by its majority label"),
            ("closed", f"{100 * result.share_closed:.0f} %", "of the way down to the floor"),
        ],
        tables=[
            Table("the block that was not trained on", TABLE_HEADER, result.table_rows()),
            Table(
                "the boundary map",
                ("", "", "counted as"),
                [
                    (name, value, result.boundaries.conventions.get(name, ""))
                    for name, value in result.boundaries.scores.items()
                ],
            ),
        ],
        figures=[
            ("From the image to the result, one section.", panel),
            (
                "Learning of the merge policy: VI of the training shards after every round.",
                learning_figure(
                    result.records,
                    {"train_vi": "bits", "train_start_vi": "bits"},
                    title="merge policy",
                ),
            ),
            (
                "Learning of the boundary model: validation of both folds.",
                _boundary_learning(out),
            ),
            (
                "Where the policy still errs: true borders it lacks, borders it has too many.",
                result.policy.figures["splits_and_mergers"],
            ),
            (
                "The same for mean-boundary agglomeration.",
                result.mean_boundary.figures["splits_and_mergers"],
            ),
            ("Labels split worst, segments merged worst.", result.policy.figures["vi_per_segment"]),
            ("The boundary map.", result.boundaries.figures["precision_recall"]),
        ],
        facts={**asdict(config), **{f"seconds, {k}": v for k, v in result.seconds.items()}},
    )
    return path


def _panel(out: Path, config: DemoConfig, result: DemoResult) -> Figure:
    """Draw image, boundary map, superpixels, result and truth of the section with most errors."""
    volumes = {
        name: open_volume(f"{out}/test/{name}.zarr", argument="--out").read()
        for name in ("image", "boundaries", "superpixels", "policy", "neurons")
    }
    section = worst_sections(volumes["policy"], volumes["neurons"], 1)[0]
    return panel_figure(
        volumes["image"],
        section=section,
        boundaries=volumes["boundaries"],
        superpixels=volumes["superpixels"],
        segmentation=volumes["policy"],
        labels=volumes["neurons"],
        title=f"VI {result.policy.scores['superpixel_vi']:.2f} → {result.policy.scores['vi']:.2f} "
        f"bits, floor {result.policy.scores['floor_vi']:.2f} (not trained on)",
        voxel_size_nm=config.voxel_size_nm,
    )


def _boundary_learning(out: Path) -> Figure:
    """Draw AUC and average precision of the validation parts, a line a fold."""
    records, metrics = [], {}
    for record in RunFolder.read(out / "boundary_model").records():
        auc, ap = f"AUC, fold {record['fold']}", f"average precision, fold {record['fold']}"
        metrics |= {auc: "AUC", ap: "average precision"}
        records.append({"step": record["step"], auc: record["val_auc"], ap: record["val_ap"]})
    return learning_figure(records, metrics, x="step", title="boundary model")
