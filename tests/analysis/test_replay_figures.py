from __future__ import annotations

import dataclasses
import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure_style import grey_as_rgb
from analysis.input_error import InputError
from analysis.recording import Recording
from analysis.replay import error_curve
from analysis.replay_figures import (
    curve_figure,
    filmstrip_figure,
    merges_figure,
    stages,
    step_figure,
)
from analysis.segmentation_figures import overlay_section
from tests.analysis.drawn_episode import drawn_recording, random_recording


def drawn(figure: Figure) -> Figure:
    """Render a figure, so that whatever is wrong with it shows."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def picture(axis: Axes) -> npt.NDArray[np.number]:
    """Return the one picture in an axis."""
    (image,) = axis.images
    return np.asarray(image.get_array())


def without_truth(recording: Recording) -> Recording:
    view = dataclasses.replace(recording.view, truth=None)
    close_ups = dict.fromkeys(recording.close_ups, view)
    return dataclasses.replace(recording, view=view, close_ups=close_ups, gains=None)


def one_superpixel(recording: Recording) -> Recording:
    """Return an episode without any merge."""
    view = dataclasses.replace(
        recording.view, superpixels=np.zeros_like(recording.view.superpixels)
    )
    assert recording.gains is not None
    none = np.zeros(0)
    return dataclasses.replace(
        recording,
        ids=recording.ids[:1],
        sizes_vox=recording.sizes_vox[:1],
        merges=recording.merges[:0],
        heights=none,
        places_vox=np.zeros((0, 3)),
        contact_faces=recording.contact_faces[:0],
        view=view,
        close_ups={},
        gains=dataclasses.replace(
            recording.gains, vi=none, rand=none, counted_vox=np.array([4]), start_vi_split=0.0
        ),
    )


def test_the_filmstrip_shows_map_stages_and_truth() -> None:
    recording = drawn_recording()
    axes = drawn(filmstrip_figure(recording, 3)).axes
    view = recording.view
    titles = [axis.get_title() for axis in axes]
    assert titles == [
        "boundary map (black = 1)",
        "superpixels\n4 here, VI 1.000",
        "1 merge, key 2.00\n3 here, VI 0.500",
        "the policy stops after 2\n2 here, VI 0.000",
        "truth: 2 here",
        "",
    ]
    np.testing.assert_allclose(picture(axes[0]), 1 - view.boundaries)
    np.testing.assert_allclose(
        picture(axes[1]), overlay_section(view.image, recording.ids[view.superpixels])
    )
    # Of two equally large superpixels the one of the higher id lends its colour.
    result = np.where(view.superpixels < 2, 20, 40)
    np.testing.assert_allclose(picture(axes[3]), overlay_section(view.image, result))
    np.testing.assert_allclose(picture(axes[4]), picture(axes[3]))


def test_the_filmstrip_without_truth_ends_with_the_image() -> None:
    recording = without_truth(drawn_recording())
    axes = drawn(filmstrip_figure(recording, 2)).axes
    assert [axis.get_title() for axis in axes] == [
        "boundary map (black = 1)",
        "superpixels\n4 here",
        "the policy stops after 2\n2 here",
        "image",
    ]
    np.testing.assert_array_equal(picture(axes[3]), recording.view.image)


def test_sections_are_drawn_in_their_true_proportions() -> None:
    recording = dataclasses.replace(drawn_recording(), voxel_size_nm=(30.0, 12.0, 4.0))
    assert {axis.get_aspect() for axis in filmstrip_figure(recording, 2).axes} == {3.0}


def test_true_neurons_and_clusters_share_colours_one_to_one() -> None:
    recording = drawn_recording()
    assert recording.view.truth is not None
    truth = recording.view.truth.copy()
    truth[:, 6:] = 11  # half of the right cluster is another neuron
    truth[0, 0] = 0
    view = dataclasses.replace(recording.view, truth=truth)
    axes = filmstrip_figure(dataclasses.replace(recording, view=view), 3).axes
    # 9 and 11 share equally much with cluster 40: the first takes its colour, 11 an unused one.
    names = np.choose(np.searchsorted([0, 7, 9, 11], truth), [0, 20, 40, 1])
    np.testing.assert_allclose(picture(axes[4]), overlay_section(view.image, names))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_stages_go_from_superpixels_to_the_result(seed: int, n_stages: int) -> None:
    recording = random_recording(seed, has_truth=False)
    found = stages(recording, n_stages)
    assert len(found) == n_stages
    assert (found[0], found[-1]) == (0, recording.n_policy_merges)
    assert found == sorted(found)


def test_fewer_than_two_stages_are_refused() -> None:
    with pytest.raises(InputError, match="n_stages must be at least 2, but is 1"):
        filmstrip_figure(drawn_recording(), 1)


def test_the_curves_are_the_errors_and_the_keys() -> None:
    recording = drawn_recording()
    curve = error_curve(recording)
    left, right, *keys = drawn(curve_figure(recording)).axes
    lines = {line.get_label(): line.get_ydata() for line in left.lines}
    np.testing.assert_array_equal(lines["VI"], curve.vi)
    np.testing.assert_array_equal(lines["split"], curve.vi_split)
    np.testing.assert_array_equal(lines["merge"], curve.vi_merge)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), curve.rand_index)
    assert left.get_title() == "VI 1.000 → 0.000 bits; least 0.000 after 2 merges"
    assert len(keys) == 2
    for axis in keys:
        np.testing.assert_array_equal(axis.lines[0].get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), recording.heights)
    for axis in (left, right):
        assert np.asarray(axis.lines[-1].get_xdata()).tolist() == [2, 2]  # where the policy stops


def test_the_keys_alone_without_truth() -> None:
    recording = without_truth(drawn_recording())
    (axis,) = drawn(curve_figure(recording)).axes
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), recording.heights)
    assert "4 superpixels, stops at key 0 with 2 clusters" in axis.get_title()


def test_a_merge_shows_the_larger_cluster_blue_and_the_smaller_orange() -> None:
    recording = without_truth(drawn_recording())
    recording = dataclasses.replace(recording, sizes_vox=np.array([1, 5, 9, 2]))
    axes = drawn(merges_figure(recording, [0, 2])).axes
    grey = grey_as_rgb(recording.view.image)
    orange_blue = np.array([(0.902, 0.624, 0.0), (0.0, 0.447, 0.698)])
    first = grey.copy()
    first[:, :4] = 0.5 * first[:, :4] + 0.5 * np.repeat(orange_blue, 2, 0)
    np.testing.assert_allclose(picture(axes[0]), first, atol=2e-3)
    last = 0.5 * grey + 0.5 * np.repeat(orange_blue, 4, 0)
    np.testing.assert_allclose(picture(axes[1]), last, atol=2e-3)
    assert axes[0].get_title() == "key 2.00\n5 + 1 voxels\nz 3, y 1, x 2"
    assert axes[2].get_title() == "image"


def test_a_merge_with_truth_tells_its_effect() -> None:
    axes = drawn(merges_figure(drawn_recording(), np.array([2]), title="One")).axes
    assert axes[0].get_title().startswith("VI +1.0000 bits, key -1.00\n16 + 16 voxels")
    assert axes[1].get_title() == "truth: 2 here"


def test_merges_without_a_close_up_are_refused() -> None:
    with pytest.raises(InputError, match="at least one merge"):
        merges_figure(drawn_recording(), [])
    with pytest.raises(InputError, match="merge 7 has no close-up"):
        merges_figure(drawn_recording(), [0, 7])


@pytest.mark.parametrize("n_merges", [0, 1, 2, 3])
def test_a_step_marks_its_place_on_the_curve(n_merges: int) -> None:
    recording = drawn_recording()
    section, plot = drawn(step_figure(recording, n_merges)).axes
    assert f"{4 - n_merges} here" in section.get_title()
    (marked,) = [line for line in plot.lines if line.get_marker() == "o"]
    assert np.asarray(marked.get_xdata()).tolist() == [n_merges]
    assert np.asarray(marked.get_ydata()).tolist() == [error_curve(recording).vi[n_merges]]
    with_keys = drawn(step_figure(without_truth(recording), n_merges)).axes[1]
    assert with_keys.get_ylabel() == "key of the merge"


def test_an_episode_without_merges_is_drawn_too() -> None:
    recording = one_superpixel(drawn_recording())
    for draw in (filmstrip_figure, curve_figure, lambda r: step_figure(r, 0)):
        drawn(draw(recording))
        drawn(draw(without_truth(recording)))
