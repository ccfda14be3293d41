from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from analysis.input_error import InputError
from analysis.spread_figures import spread_figure

GROUPS = {"gala": [1.0, 2.0, 3.0], "flat, batch 64": [4.0], "lash": [0.5, 1.5]}


def test_every_group_is_a_row_with_its_mean_and_sd():
    figure = spread_figure(GROUPS, quantity="VI", unit="bits", references={"floor": 0.25})
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == list(GROUPS)
    assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first on top"
    assert axis.get_xlabel() == "VI, bits"
    bars = [bar for bar in axis.containers if isinstance(bar, ErrorbarContainer)]
    means = [np.asarray(bar.lines[0].get_xdata())[0] for bar in bars]
    assert means == [2.0, 4.0, 1.0]
    reach = [np.ptp(bar.lines[2][0].get_segments()[0][:, 0]) for bar in bars]
    np.testing.assert_allclose(reach, [2.0, 0.0, 2 * 0.5**0.5])
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["floor 0.250"]
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_without_values_there_is_no_figure():
    with pytest.raises(InputError, match="groups must name at least one group"):
        spread_figure({}, quantity="VI", unit="bits")
    with pytest.raises(InputError, match="groups: lash has no value"):
        spread_figure({"gala": [1.0], "lash": []}, quantity="VI", unit="bits")
