from __future__ import annotations

import numpy as np
import pytest

from analysis.asking_figures import AskingPanel, asking_figure
from analysis.input_error import InputError


def panel(**changes) -> AskingPanel:
    what = {
        "title": "questions",
        "x_label": "questions",
        "x": np.array([0.0, 10.0, 100.0]),
        "lines": {
            "random": np.array([[2.0, 1.9, 1.8], [2.0, 2.1, 1.6]]),
            "value": np.array([[2.0, 1.5, 1.0]]),
        },
        "levels": {"floor": 0.8},
    }
    return AskingPanel(**what | changes)


def test_lines_are_means_and_bands_go_from_least_to_most() -> None:
    figure = asking_figure([panel(), panel(is_logarithmic=False)])
    first, second = figure.axes
    lines = {line.get_label(): line for line in first.get_lines()}
    np.testing.assert_allclose(np.asarray(lines["random"].get_ydata()), [2.0, 2.0, 1.7])
    np.testing.assert_allclose(np.asarray(lines["value"].get_ydata()), [2.0, 1.5, 1.0])
    band = np.asarray(first.collections[0].get_paths()[0].vertices)
    assert band[:, 1].min() == pytest.approx(1.6)
    assert band[:, 1].max() == pytest.approx(2.1)
    assert [text.get_text() for text in first.texts] == ["floor 0.800"]
    assert (first.get_xscale(), second.get_xscale()) == ("symlog", "linear")
    legend = first.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["random", "value"]


def test_bad_panels_are_refused() -> None:
    with pytest.raises(InputError, match="at least one panel"):
        asking_figure([])
    with pytest.raises(InputError, match="'questions' are empty"):
        panel(lines={})
    with pytest.raises(InputError, match=r"must be \(S, 3\), not of shape \(1, 2\)"):
        panel(lines={"random": np.zeros((1, 2))})
