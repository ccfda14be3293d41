from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.boundary_figures import MISMATCH_COLOURS, precision_recall_figure, warping_figure
from analysis.boundary_scores import score_boundaries
from analysis.input_error import InputError
from analysis.warping_error import warping_error
from analysis.warping_types import Mismatch

INTERIOR = np.ones((3, 30, 40), bool)
INTERIOR[:, :, 20] = False
BOUNDARIES = (~INTERIOR).astype(np.float32)
BOUNDARIES[1, 15, 20] = 0.0
BOUNDARIES[2, 10:14, 20] = 0.0
IMAGE = np.random.default_rng(0).integers(0, 255, INTERIOR.shape).astype(np.uint8)


def assert_draws(figure: Figure) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_curve_names_its_numbers_and_passes_through_best_f():
    noisy = np.clip(BOUNDARIES + np.random.default_rng(1).normal(0, 0.3, IMAGE.shape), 0, 1)
    scores = score_boundaries(noisy, ~INTERIOR)
    figure = precision_recall_figure(
        scores, IMAGE, noisy, section=1, voxel_size_nm=(40.0, 8.0, 8.0)
    )
    curve = figure.axes[2]
    assert f"AUC {scores.auc:.4f}, average precision" in curve.get_title()
    assert "(oracle threshold)" in curve.get_title()
    points = [line for line in curve.lines if line.get_marker() == "o"]
    recall, precision = np.asarray(points[0].get_xydata(), dtype=float)[0]
    assert 2 * precision * recall / (precision + recall) == pytest.approx(scores.best_f, rel=0.01)
    np.testing.assert_allclose(
        np.asarray(figure.axes[1].images[0].get_array()), 1 - noisy[1], atol=1e-6
    )
    assert_draws(figure)


def test_warping_figure_shows_the_worst_section_by_type():
    result = warping_error(BOUNDARIES, INTERIOR)
    figure = warping_figure(result, IMAGE, threshold=0.5)
    assert "at threshold 0.50: 3.33 ‰ of pixels in z = 2" in figure.axes[0].get_title()
    shown = np.asarray(figure.axes[0].images[0].get_array())
    red = to_rgb(MISMATCH_COLOURS[Mismatch.MERGE])
    assert np.allclose(shown[9:15, 19:22], red)
    assert not np.allclose(shown[8, 20], red)
    key = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "merge: 4 px" in key
    assert "split: 0 px" in key
    assert_draws(figure)


def test_warping_figure_shows_the_section_asked_for():
    result = warping_error(BOUNDARIES, INTERIOR)
    figure = warping_figure(result, IMAGE, section=1, voxel_size_nm=(40.0, 8.0, 8.0))
    assert "z = 1" in figure.axes[0].get_title()
    assert "merge: 1 px" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert_draws(figure)


def test_warping_figure_of_the_worst_section_alone_names_the_volume():
    whole = warping_error(BOUNDARIES, INTERIOR)
    alone = warping_error(BOUNDARIES[2:], INTERIOR[2:])
    figure = warping_figure(alone, IMAGE[2:], section_errors=whole.section_errors)
    expected = warping_figure(whole, IMAGE)
    assert figure.axes[0].get_title() == expected.axes[0].get_title()
    np.testing.assert_array_equal(
        np.asarray(figure.axes[0].images[0].get_array()),
        np.asarray(expected.axes[0].images[0].get_array()),
    )


def test_every_type_has_its_own_colour():
    assert set(MISMATCH_COLOURS) == set(Mismatch) - {Mismatch.NONE}
    assert len(set(MISMATCH_COLOURS.values())) == len(MISMATCH_COLOURS)


def test_wrong_input_is_refused():
    result = warping_error(BOUNDARIES, INTERIOR)
    scores = score_boundaries(BOUNDARIES, ~INTERIOR)
    with pytest.raises(InputError, match="image and result must have the same shape"):
        warping_figure(result, IMAGE[:2])
    with pytest.raises(InputError, match=r"section must lie in 0 … 2, but is 5"):
        warping_figure(result, IMAGE, section=5)
    with pytest.raises(InputError, match="image and boundaries must have the same shape"):
        precision_recall_figure(scores, IMAGE, BOUNDARIES[0], section=0)
