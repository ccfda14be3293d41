"""`agglo demo`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from agglo.cluster import require_lasting
from agglo.commands.boundaries_train import line_of as line_of_evaluation
from agglo.commands.train import line_of as line_of_round
from agglo.demo import DemoConfig, run_demo
from agglo.demo_report import TABLE_HEADER, write_demo_report
from agglo.json_file import write_json
from agglo.progress import console, show_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Command:
    """Go the whole way on a phantom volume made here; end with a table and a report page.

    Example: agglo demo --out demo
    """

    out: Path
    """folder for volumes, models, pictures and report.html"""
    config: DemoConfig = field(default_factory=DemoConfig)
    """sizes, times and seed"""
    overwrite: bool = False
    """replace what an earlier demo made"""
    json: Path | None = None
    """write the numbers of the block that was not trained on here"""

    def run(self) -> None:
        """Run the demo, print its table, write its report."""
        require_lasting(self.out)
        result = run_demo(
            self.out,
            self.config,
            overwrite=self.overwrite,
            on_evaluation=lambda record: logger.info("%s", line_of_evaluation(record)),
            on_round=lambda record: logger.info("%s", line_of_round(record)),
        )
        show_table(
            "the block that was not trained on",
            TABLE_HEADER,
            result.table_rows(),
        )
        console.print(
            f"the policy closes {100 * result.share_closed:.0f} % of the way from the superpixels "
            f"to the floor; it took {sum(result.seconds.values()):.0f} s"
        )
        report = write_demo_report(self.out, self.config, result)
        console.print(f"report in {report}")
        if self.json:
            write_json(
                self.json,
                {
                    **result.policy.scores,
                    "mean_boundary_vi": result.mean_boundary.scores["vi"],
                    "share_closed": result.share_closed,
                    "boundary_auc": result.boundaries.scores["auc"],
                    "seconds": result.seconds,
                },
            )
