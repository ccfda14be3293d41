from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from analysis.input_error import InputError
from analysis.learning_figures import learning_figure

RECORDS = [
    {"round": 0, "vi": 2.0, "loss": 0.7},
    {"round": 0, "vi": 3.0},
    {"round": 1, "vi": 1.0, "loss": 0.4},
    {"note": 5},
]


def test_records_of_one_round_are_one_point_and_units_have_their_plots():
    figure = learning_figure(
        RECORDS, {"vi": "bits", "loss": "nats"}, references={"floor": 0.5}, title="Training"
    )
    errors, losses = figure.axes
    np.testing.assert_allclose(
        np.asarray(errors.lines[0].get_xydata(), float), [[0, 2.5], [1, 1.0]]
    )
    np.testing.assert_allclose(
        np.asarray(losses.lines[0].get_xydata(), float), [[0, 0.7], [1, 0.4]]
    )
    assert errors.get_title() == "VI 2.50 → 1.00 bits"
    assert [text.get_text() for text in errors.texts] == ["floor 0.500"]
    assert len(errors.collections) == 1
    assert not losses.collections
    assert (errors.get_xlabel(), errors.get_ylabel()) == ("round", "bits")
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_metrics_of_one_unit_share_a_plot():
    records = [{"epoch": e, "vi_split": 1.0 / (1 + e), "vi_merge": 0.5} for e in range(4)]
    figure = learning_figure(records, {"vi_split": "bits", "vi_merge": "bits"}, x="epoch")
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["VI split", "VI merge"]


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="records must hold round and speed, but none of 4 does"):
        learning_figure(RECORDS, {"speed": "m/s"})
    with pytest.raises(InputError, match="metrics must name at least one metric"):
        learning_figure(RECORDS, {})
