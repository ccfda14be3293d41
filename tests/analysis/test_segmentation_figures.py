from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.border_errors import border_errors
from analysis.contingency import contingency_table
from analysis.figure_style import MERGE_COLOUR, SPLIT_COLOUR
from analysis.input_error import InputError
from analysis.segmentation_figures import (
    costs_figure,
    error_figure,
    overlay_figure,
    overlay_section,
    panel_figure,
)
from analysis.segmentation_scores import score_segmentation, segment_costs

LABELS = np.stack([np.repeat([[1] * 16 + [2] * 16 + [0] * 2 + [3] * 14], 40, axis=0)] * 3)
SEGMENTATION = np.where(LABELS == 2, 1, LABELS)
SEGMENTATION[2, :20] = 7
IMAGE = np.random.default_rng(0).integers(0, 255, LABELS.shape).astype(np.uint8)
VOXEL_SIZE = (40.0, 10.0, 10.0)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def picture(figure: Figure, place: int = 0) -> np.ndarray:
    return np.asarray(figure.axes[place].images[0].get_array())


def assert_draws(figure: Figure) -> None:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_overlay_colours_labels_and_leaves_zero_grey():
    section = overlay_section(IMAGE[0], LABELS[0])
    assert section.shape == (40, 48, 3)
    assert (np.ptp(section[LABELS[0] == 0], axis=1) == 0).all()
    assert (np.ptp(section[LABELS[0] != 0], axis=1) > 0).all()
    assert section[:, 16].mean() < 0.7 * section[:, 17].mean()


def test_overlay_figure_names_scores_and_counts():
    scores = score_segmentation(contingency_table(SEGMENTATION, LABELS))
    figure = overlay_figure(
        IMAGE, SEGMENTATION, LABELS, section=2, scores=scores, voxel_size_nm=VOXEL_SIZE
    )
    assert titles(figure) == [
        "Image",
        "Segmentation: 3 in this section",
        "Truth: 3 in this section",
    ]
    assert f"VI {scores.vi:.3f} bits" in figure.get_suptitle()
    assert texts(figure) == ["100 nm"] * 3
    assert_draws(figure)


def test_error_figure_draws_mergers_and_splits_in_the_worst_section():
    figure = error_figure(IMAGE, SEGMENTATION, LABELS, n_sections=1)
    errors = border_errors(SEGMENTATION[2], LABELS[2])
    n_merged, n_split = errors.missed.sum(), errors.extra.sum()
    assert min(n_merged, n_split) > 20
    assert titles(figure) == [f"z = 2: {n_merged} px of border merged, {n_split} px split"]
    shown = picture(figure)
    assert np.allclose(shown[30, 16], to_rgb(MERGE_COLOUR))
    assert np.allclose(shown[20, 8], to_rgb(SPLIT_COLOUR))
    assert not np.allclose(shown[5, 8], to_rgb(SPLIT_COLOUR))
    assert_draws(figure)


def test_error_figure_draws_the_sections_asked_for():
    figure = error_figure(IMAGE, SEGMENTATION, LABELS, sections=[1, 0], voxel_size_nm=VOXEL_SIZE)
    assert titles(figure) == [f"z = {z}: 40 px of border merged, 0 px split" for z in (1, 0)]
    assert_draws(figure)


def test_costs_figure_lists_the_worst_first():
    costs = segment_costs(contingency_table(SEGMENTATION, LABELS))
    figure = costs_figure(costs, n_worst=2)
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    order = np.argsort(-costs.split_bits, kind="stable")[:2]
    assert names[0] == [str(costs.labels[i]) for i in order]
    assert names[1] == ["1", "7"]
    assert f"VI merge {costs.merge_bits.sum():.3f} bits" in figure.axes[1].get_title()
    assert_draws(figure)


def test_costs_figure_of_a_perfect_segmentation_is_empty():
    figure = costs_figure(segment_costs(contingency_table(LABELS, LABELS)))
    assert "VI split 0.000 bits; these 0 truth labels: 0 %" in titles(figure)[0]
    assert_draws(figure)


def test_panel_draws_what_it_is_given():
    boundaries = np.where(LABELS == 0, 1.0, 0.25).astype(np.float16)
    figure = panel_figure(
        IMAGE,
        section=1,
        boundaries=boundaries,
        superpixels=SEGMENTATION,
        segmentation=SEGMENTATION,
        labels=LABELS,
        title="VI 1.2 → 0.4 bits",
        voxel_size_nm=VOXEL_SIZE,
    )
    assert titles(figure) == [
        "Image, z = 1",
        "Boundary map (black = 1)",
        "Superpixels: 2 in this section",
        "Segmentation: 2 in this section",
        "Truth: 3 in this section",
    ]
    np.testing.assert_allclose(picture(figure, 1), 1.0 - boundaries[1])
    assert_draws(figure)
    assert titles(panel_figure(IMAGE, section=0, labels=LABELS)) == [
        "Image, z = 0",
        "Truth: 3 in this section",
    ]


def test_pixels_keep_their_proportions():
    figure = panel_figure(IMAGE, section=0, voxel_size_nm=(40.0, 20.0, 10.0))
    assert figure.axes[0].get_aspect() == 2.0


def test_wrong_input_is_refused():
    with pytest.raises(InputError, match="image and labels must have the same shape"):
        overlay_figure(IMAGE, SEGMENTATION, LABELS[:2], section=0)
    with pytest.raises(InputError, match=r"section must lie in 0 … 2, but is 3"):
        panel_figure(IMAGE, section=3)
    with pytest.raises(InputError, match=r"image must have axes \(z, y, x\), .* \(40, 48\)"):
        error_figure(IMAGE[0], SEGMENTATION, LABELS)
    with pytest.raises(InputError, match="section must lie in"):
        error_figure(IMAGE, SEGMENTATION, LABELS, sections=[-1])
