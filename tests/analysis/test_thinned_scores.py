from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.input_error import InputError
from analysis.thinned_scores import grown_regions, score_thinned
from tests.analysis.components import components, n_components


def drawn(*rows: str) -> np.ndarray:
    """Interior of a section drawn with # for membrane."""
    return np.array([[pixel != "#" for pixel in row] for row in rows])


def at_half(proposal: np.ndarray, interior: np.ndarray) -> tuple[float, float]:
    scores = score_thinned((~proposal).astype(np.float32), interior, [0.5])
    return scores.best_v_rand, scores.best_v_info


def test_thick_borders_are_thinned_to_one_pixel():
    regions = grown_regions(drawn("..#####...", "..#####..."))
    assert regions.tolist() == [[1, 1, 1, 1, 0, 2, 2, 2, 2, 2]] * 2


def test_membrane_that_parts_nothing_is_filled():
    assert grown_regions(drawn("....", ".##.", ".##.", "....")).all()
    assert not grown_regions(drawn("##", "##")).any()


def test_the_truth_itself_is_perfect_and_width_does_not_matter():
    interior = drawn("..#...", "..#...")
    assert at_half(interior, interior) == (1.0, 1.0)
    assert at_half(drawn(".###..", ".###.."), interior) == (1.0, 1.0)


def test_a_merger_drawn_by_hand():
    interior = drawn("..#..", "..#..")
    v_rand, v_info = at_half(np.ones((2, 5), bool), interior)
    assert v_rand == pytest.approx(2 * 32 / (64 + 32))
    assert v_info == 0.0


def test_a_proposed_border_inside_the_truth_is_made_of_single_segments():
    interior = np.ones((1, 5), bool)
    v_rand, v_info = at_half(drawn("..#.."), interior)
    assert v_rand == pytest.approx(2 * 9 / (9 + 25))
    assert v_info == 0.0


def test_all_membrane_is_all_single_segments():
    v_rand, v_info = at_half(np.zeros((1, 4), bool), drawn("..#."))
    assert v_rand == pytest.approx(2 * 3 / (3 + 5))
    true_bits = np.log2(3) - 2 / 3
    assert v_info == pytest.approx(2 * true_bits / (true_bits + np.log2(3)))


SECTIONS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(bool, SECTIONS))
def test_growth_keeps_regions_and_leaves_a_line_between_them(interior):
    regions = grown_regions(interior)
    start = components(interior)
    np.testing.assert_array_equal(regions[interior], start[interior])
    for region in range(1, start.max() + 1):
        assert n_components(regions == region) == 1
    for first, second in ((regions[1:], regions[:-1]), (regions[:, 1:], regions[:, :-1])):
        assert not ((first != second) & (first != 0) & (second != 0)).any()
    # What is left is border: it has two regions beside it, or only other border.
    padded = np.pad(regions, 1)
    for y, x in zip(*np.nonzero(regions == 0), strict=True):
        beside = {
            int(padded[v, u]) for v, u in ((y, x + 1), (y + 2, x + 1), (y + 1, x), (y + 1, x + 2))
        } - {0}
        assert len(beside) != 1


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_scores_equal_brute_force(data):
    shape = data.draw(SECTIONS)
    interior, proposal = (data.draw(hnp.arrays(bool, shape)) for _ in range(2))
    interior[0, 0] = True
    fresh = count(1_000)
    segments = [int(s) or next(fresh) for s in grown_regions(proposal)[interior]]
    labels = components(interior)[interior].tolist()
    n = len(labels)

    def shares(keys):
        return np.unique(np.array(keys), axis=0, return_counts=True)[1] / n

    def bits(p):
        return -(p * np.log2(p)).sum()

    s, t, st_ = shares(segments), shares(labels), shares(list(zip(segments, labels, strict=True)))
    v_rand, v_info = at_half(proposal, interior)
    assert v_rand == pytest.approx(2 * (st_**2).sum() / ((s**2).sum() + (t**2).sum()), abs=1e-12)
    mutual = bits(s) + bits(t) - bits(st_)
    total = bits(s) + bits(t)
    assert v_info == pytest.approx(2 * mutual / total if total > 0 else 1.0, abs=1e-9)


def test_best_threshold_is_the_first_of_the_best_and_sections_are_averaged():
    interior = np.stack([drawn("..#..", "..#.."), drawn("#####", "#####"), drawn(".#...", ".#...")])
    boundaries = np.where(interior, 0.2, 0.6).astype(np.float32)
    boundaries[2] = 0.0
    scores = score_thinned(boundaries, interior, [0.1, 0.3, 0.5, 0.9])
    assert scores.thresholds.tolist() == [0.1, 0.3, 0.5, 0.9]
    assert scores.best_v_rand_threshold == scores.best_v_info_threshold == 0.3
    merged = 2 * (4 + 36) / (64 + 4 + 36)
    assert scores.best_v_rand == scores.v_rand[1] == scores.v_rand[2]
    assert scores.best_v_rand == pytest.approx((1.0 + merged) / 2)
    assert scores.best_v_info == pytest.approx(0.5)


def test_without_thinning_every_called_pixel_is_a_segment():
    interior = drawn("..#...", "..#...")
    boundaries = (~drawn(".##...", ".##...")).astype(np.float32)
    thick = score_thinned(boundaries, interior, [0.5], thin_borders=False)
    # Regions of 2 and 6 pixels and two single pixels, against true ones of 4 and 6.
    assert thick.best_v_rand == pytest.approx(2 * (4 + 36 + 2) / ((4 + 36 + 2) + (16 + 36)))
    assert thick.best_v_rand < score_thinned(boundaries, interior, [0.5]).best_v_rand == 1.0
    perfect = (~interior).astype(np.float32)
    assert score_thinned(perfect, interior, [0.5], thin_borders=False).best_v_info == 1.0


@pytest.mark.parametrize(
    ("boundaries", "interior", "thresholds", "message"),
    [
        (np.array([[np.inf]]), np.ones((1, 1), bool), [0.5], "boundaries must be finite"),
        (np.array([[-1.0]]), np.ones((1, 1), bool), [0.5], r"boundaries must lie in \[0, 1\]"),
        (np.zeros((1, 1)), np.ones((1, 2), bool), [0.5], "boundaries and interior must have"),
        (np.zeros((1, 1)), np.ones((1, 1)), [0.5], "interior must be bool.*float64"),
        (np.zeros((1, 1)), np.zeros((1, 1), bool), [0.5], "labels have no interior"),
        (np.zeros((1, 1)), np.ones((1, 1), bool), [], "thresholds must be one or more"),
        (np.zeros((1, 1)), np.ones((1, 1), bool), [0.5, 2.0], r"but are \[0.5, 2.0\]"),
    ],
)
def test_wrong_input_is_refused(boundaries, interior, thresholds, message):
    with pytest.raises(InputError, match=message):
        score_thinned(boundaries, interior, thresholds)
