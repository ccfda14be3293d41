from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest

from analysis.contingency import contingency_table
from analysis.figure_style import MERGE_COLOUR, SPLIT_COLOUR
from analysis.input_error import InputError
from analysis.segmentation_scores import segment_costs
from analysis.worst_places import places_figure, worst_places

LABELS = np.ones((6, 70, 90), np.int64)
LABELS[:, :, 40:] = 2
LABELS[:, 60:, :20] = 3
SEGMENTATION = LABELS.copy()
SEGMENTATION[2:4, 10:30, 38:40] = 2  # 2 takes a little of 1, in two sections
SEGMENTATION[4, 5:55, 25:40] = 2  # and most of it in a third
SEGMENTATION[1][LABELS[1] == 3] = 9  # 3 is split off in one section
IMAGE = np.random.default_rng(0).integers(0, 255, LABELS.shape).astype(np.uint8)


def places(n_worst: int = 6, **options):
    costs = segment_costs(contingency_table(SEGMENTATION, LABELS), **options)
    return costs, *worst_places(SEGMENTATION, LABELS, costs, n_worst=n_worst, **options)


def test_the_worst_are_shown_where_they_err_most():
    costs, mergers, splits = places()
    assert [(place.object_id, place.n_parts, place.section) for place in mergers] == [(2, 2, 4)]
    assert [(place.object_id, place.n_parts) for place in splits] == [(1, 2), (3, 2)]
    assert splits[0].section == 4
    assert splits[0].bits == costs.split_bits[0]
    assert mergers[0].bits == pytest.approx(costs.merge_bits.sum())


def test_crops_hold_the_object_and_are_square_where_there_is_room():
    _, mergers, splits = places()
    whole = mergers[0].crop
    assert (SEGMENTATION[whole] == 2).sum() == (SEGMENTATION[4] == 2).sum()
    small = splits[1]
    assert small.size == (48, 48)
    assert (LABELS[small.crop] == 3).sum() == (LABELS[small.section] == 3).sum()
    for place in (*mergers, *splits):
        assert IMAGE[place.crop].shape == place.size


def test_only_so_many_are_listed():
    _, _, splits = places(n_worst=1)
    assert [place.object_id for place in splits] == [1]
    _, mergers, splits = places(n_worst=0)
    assert mergers == splits == []


def test_zero_as_singletons_is_no_merger():
    segmentation = np.where(np.arange(90) > 30, 0, SEGMENTATION)
    for singletons in (False, True):
        costs = segment_costs(
            contingency_table(segmentation, LABELS), zero_is_singletons=singletons
        )
        mergers, _ = worst_places(segmentation, LABELS, costs, zero_is_singletons=singletons)
        assert (0 in [place.object_id for place in mergers]) != singletons


def test_figures_outline_the_object():
    _, mergers, splits = places()
    for found, colour, noun in (
        (mergers, MERGE_COLOUR, "segment"),
        (splits, SPLIT_COLOUR, "label"),
    ):
        figure = places_figure(found, IMAGE, SEGMENTATION, LABELS, voxel_size_nm=(40.0, 8.0, 8.0))
        assert len(figure.axes) == 2 * len(found)
        place = found[0]
        assert figure.axes[0].get_title() == (
            f"{noun} {place.object_id}, z = {place.section}\n{place.bits:.3f} bits, 2 "
            f"{'labels' if noun == 'segment' else 'segments'}"
        )
        shown = np.asarray(figure.axes[len(found)].images[0].get_array())
        rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        owner = SEGMENTATION if noun == "segment" else LABELS
        mask = owner[place.crop] == place.object_id
        outline = np.asarray(np.isclose(shown, rgb, atol=1e-3).all(axis=2))
        assert outline.any()
        inside = mask.copy()
        inside[1:] &= mask[:-1]
        inside[:, 1:] &= mask[:, :-1]
        assert not outline[inside].any()
        figure.savefig(BytesIO(), format="png")


def test_a_perfect_segmentation_has_a_blank_figure():
    costs = segment_costs(contingency_table(LABELS, LABELS))
    mergers, splits = worst_places(LABELS, LABELS, costs)
    assert mergers == splits == []
    figure = places_figure(mergers, IMAGE, LABELS, LABELS)
    assert figure.axes[0].get_title() == "none"
    figure.savefig(BytesIO(), format="png")


def test_sections_without_truth_are_passed_over():
    labels = LABELS.copy()
    labels[0] = 0
    costs = segment_costs(contingency_table(SEGMENTATION, labels))
    mergers, _ = worst_places(SEGMENTATION, labels, costs)
    assert mergers[0].section == 4


def test_wrong_input_is_refused():
    costs = segment_costs(contingency_table(LABELS, LABELS))
    with pytest.raises(InputError, match="segmentation and labels must have the same shape"):
        worst_places(LABELS, LABELS[:2], costs)
