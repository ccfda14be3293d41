"""Figures of a recorded episode: a section at its stages, its errors, its single merges.

Every function returns a `matplotlib.figure.Figure`; writing it is the caller's. A cluster has the
colour of its largest superpixel, so that colours stay while clusters grow, and a true neuron that
of the cluster it shares most pixels with.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.figure_style import (
    LINE_INKS,
    MERGE_INK,
    SPLIT_INK,
    add_colour_key,
    grey_as_rgb,
    image_cell,
    new_figure,
    show_image,
    style_plot,
)
from analysis.input_error import InputError
from analysis.label_borders import interior_mask
from analysis.recording import Recording, View
from analysis.replay import ErrorCurve, clusters_after, error_curve, merged_sizes
from analysis.segmentation_figures import overlay_section

_PANEL_INCHES = 3.1
_PLOT_INCHES = (6.2, 4.1)
_TINTS = (LINE_INKS[0], LINE_INKS[4])
"""The larger and the smaller cluster of a merge: blue and orange."""

_TRUTH_BORDER = "#ffffff"
_KEY_INK = "#8a8a8a"


def filmstrip_figure(recording: Recording, n_stages: int = 6) -> Figure:
    """Draw the recorded section from superpixels to result, beside boundaries and truth or image.

    The stages leave numbers of clusters that fall by equal factors.

    Args:
        recording: the episode.
        n_stages: sections drawn, superpixels and result among them; at least 2.

    Raises:
        InputError: fewer stages than two are asked for.
    """
    if n_stages < 2:
        raise InputError(f"n_stages must be at least 2, but is {n_stages}.")
    curve = None if recording.gains is None else error_curve(recording)
    width, height = image_cell(_PANEL_INCHES, recording.view.image.shape, _pixel_size(recording))
    figure, axes = new_figure(
        2,
        (n_stages + 3) // 2,
        (width, height + 0.2),
        f"Section z = {recording.view.section}, {recording.policy}: "
        f"{recording.n_policy_merges:,} merges",
    )
    panels: list[Axes] = axes.ravel().tolist()
    for axis in panels:
        axis.set_axis_off()
    view = recording.view
    _show(
        panels[0],
        1.0 - view.boundaries,
        "boundary map (black = 1)",
        recording,
        has_bar=True,
        value_range=(0.0, 1.0),
    )
    labels = _largest_members(recording, view, 0)
    for axis, n_merges in zip(panels[1:], stages(recording, n_stages), strict=False):
        labels = _largest_members(recording, view, n_merges)
        title = _stage_title(recording, labels, n_merges, curve)
        _show(axis, overlay_section(view.image, labels), title, recording)
    last = panels[1 + n_stages]
    if view.truth is not None:
        truth = overlay_section(view.image, _matched(view.truth, labels))
        _show(last, truth, f"truth: {_n_labels(view.truth)} here", recording)
    else:
        _show(last, view.image, "image", recording)
    return figure


def stages(recording: Recording, n_stages: int) -> list[int]:
    """Return numbers of merges from 0 to where the policy stops, clusters falling by a factor."""
    n_regions, n_stop = len(recording.ids), recording.n_policy_merges
    left = np.geomspace(n_regions, max(n_regions - n_stop, 1), n_stages)
    return (n_regions - np.rint(left)).astype(int).tolist()


def curve_figure(recording: Recording) -> Figure:
    """Draw the errors against the number of merges, with the key of every merge beside them.

    A dashed line marks where the policy stops. The plots are as high as the errors up to there:
    what merging on would have done may leave them. Without truth only the keys are drawn.
    """
    if recording.gains is None:
        figure, axes = new_figure(1, 1, _PLOT_INCHES)
        style_plot(axes[0, 0], _stop_text(recording), "merges", "key of the merge")
        _draw_keys(axes[0, 0], recording)
        _mark_stop(axes[0, 0], recording)
        return figure
    curve = error_curve(recording)
    n_stop, best = recording.n_policy_merges, int(np.argmin(curve.vi))
    figure, axes = new_figure(1, 2, _PLOT_INCHES, _stop_text(recording))
    lines = (("VI", curve.vi, "#222222"), ("split", curve.vi_split, SPLIT_INK))
    for name, values, colour in (*lines, ("merge", curve.vi_merge, MERGE_INK)):
        axes[0, 0].plot(values, color=colour, linewidth=1.8, label=name)
    axes[0, 0].plot(best, curve.vi[best], "o", color="#222222", markersize=5)
    style_plot(
        axes[0, 0],
        f"VI {curve.vi[0]:.3f} → {curve.vi[n_stop]:.3f} bits; "
        f"least {curve.vi[best]:.3f} after {best:,} merges",
        "merges",
        "bits",
    )
    axes[0, 1].plot(curve.rand_index, color="#222222", linewidth=1.8)
    style_plot(
        axes[0, 1],
        f"Rand index {curve.rand_index[0]:.4f} → {curve.rand_index[n_stop]:.4f}",
        "merges",
        "Rand index",
    )
    axes[0, 0].set_ylim(0, max(1.15 * curve.vi[: n_stop + 1].max(), 1e-3))
    made = curve.rand_index[: n_stop + 1]
    margin = max(0.6 * float(np.ptp(made)), 1e-3)
    axes[0, 1].set_ylim(max(made.min() - margin, -0.01), min(made.max() + 0.4 * margin, 1.01))
    for axis in axes[0]:
        _mark_stop(axis, recording)
        keys = axis.twinx()
        _draw_keys(keys, recording)
        keys.set_ylabel("key of the merge", fontsize=9, color=_KEY_INK)
        keys.tick_params(labelsize=8, color=_KEY_INK, labelcolor=_KEY_INK)
        for side in ("top", "left", "bottom"):
            keys.spines[side].set_visible(False)
        keys.spines["right"].set_color(_KEY_INK)
        axis.set_zorder(keys.get_zorder() + 1)
        axis.patch.set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].legend(handles, names, fontsize=8, frameon=False, loc="upper center")
    return figure


def merges_figure(
    recording: Recording, merges: Sequence[int] | npt.NDArray[np.integer], *, title: str = ""
) -> Figure:
    """Draw single merges at their places: the two clusters above, truth or bare image below.

    Args:
        recording: the episode.
        merges: numbers of merges that have close-ups, such as `most_harmful` gives.
        title: line above the figure.

    Raises:
        InputError: none is asked for, or one has no close-up.
    """
    numbers = [int(merge) for merge in merges]
    if not numbers:
        raise InputError("merges must name at least one merge, but is empty.")
    for number in numbers:
        if number not in recording.close_ups:
            raise InputError(f"merge {number} has no close-up; those of this recording have.")
    sizes = merged_sizes(recording)
    shape = recording.close_ups[numbers[0]].image.shape
    width, height = image_cell(0.85 * _PANEL_INCHES, shape, _pixel_size(recording))
    figure, axes = new_figure(2, len(numbers), (width, height + 0.2), title)
    for column, number in enumerate(numbers):
        view = recording.close_ups[number]
        large, small = sorted(sizes[number].tolist(), reverse=True)
        z, y, x = recording.places_vox[number]
        gain = None if recording.gains is None else recording.gains.vi[number]
        effect = "" if gain is None else f"VI {-gain:+.4f} bits, "
        words = (
            f"{effect}key {recording.heights[number]:.2f}\n"
            f"{large:,} + {small:,} voxels\nz {z:.0f}, y {y:.0f}, x {x:.0f}"
        )
        pair = _two_clusters(recording, view, number)
        _show(axes[0, column], pair, words, recording, has_bar=column == 0)
        for axis in axes[:, column]:
            axis.plot(
                x - view.corner_vox[1], y - view.corner_vox[0], "+", color="white", markersize=9
            )
        if view.truth is None:
            _show(axes[1, column], view.image, "image", recording)
        else:
            truth = overlay_section(view.image, view.truth)
            _show(axes[1, column], truth, f"truth: {_n_labels(view.truth)} here", recording)
    key = {"larger cluster": _TINTS[0], "smaller cluster": _TINTS[1]}
    if recording.gains is not None:
        key["true border"] = _TRUTH_BORDER
    add_colour_key(figure, key)
    return figure


def step_figure(recording: Recording, n_merges: int) -> Figure:
    """Draw the recorded section after n merges, beside the place on the curve of errors or keys.

    Raises:
        InputError: there are not so many merges.
    """
    labels = _largest_members(recording, recording.view, n_merges)
    curve = None if recording.gains is None else error_curve(recording)
    figure, axes = new_figure(
        1, 2, image_cell(4.4, recording.view.image.shape, _pixel_size(recording))
    )
    _show(
        axes[0, 0],
        overlay_section(recording.view.image, labels),
        _stage_title(recording, labels, n_merges, curve),
        recording,
        has_bar=True,
    )
    plot = axes[0, 1]
    if curve is None:
        _draw_keys(plot, recording)
        style_plot(plot, "", "merges", "key of the merge")
    else:
        plot.plot(curve.vi, color="#222222", linewidth=1.6)
        plot.plot(n_merges, curve.vi[n_merges], "o", color=MERGE_INK, markersize=7)
        highest = curve.vi[: max(recording.n_policy_merges, n_merges) + 1].max()
        plot.set_ylim(0, max(1.15 * highest, 1e-3))
        style_plot(plot, f"VI {curve.vi[n_merges]:.3f} bits", "merges", "bits")
    plot.axvline(n_merges, color=MERGE_INK, linewidth=1.0)
    _mark_stop(plot, recording)
    return figure


def _largest_members(recording: Recording, view: View, n_merges: int) -> npt.NDArray[np.uint64]:
    """Return a view after n merges, (y, x) uint64, a cluster named by its largest superpixel."""
    cluster = clusters_after(recording, n_merges)
    ascending = np.argsort(recording.sizes_vox, kind="stable")
    largest = np.empty_like(cluster)
    largest[cluster[ascending]] = ascending  # the last one written stays
    return np.append(recording.ids[largest[cluster]], np.uint64(0))[view.superpixels]


def _matched(
    truth: npt.NDArray[np.uint64], labels: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    """Rename true neurons after the labels they share most pixels with, one to one, 0 stays 0."""
    both = (truth != 0) & (labels != 0)
    pairs, counts = np.unique(np.stack([truth[both], labels[both]]), axis=1, return_counts=True)
    names: dict[int, int] = {0: 0}
    taken = set()
    for neuron, label in pairs[:, np.argsort(-counts, kind="stable")].T.tolist():
        if neuron not in names and label not in taken:
            names[neuron] = label
            taken.add(label)
    ids, index = np.unique(truth, return_inverse=True)
    present = set(np.unique(labels).tolist())
    unused = (name for name in itertools.count(1) if name not in present)
    renamed = [names[i] if i in names else next(unused) for i in ids.tolist()]
    return np.array(renamed, np.uint64)[index]


def _two_clusters(recording: Recording, view: View, merge: int) -> npt.NDArray[np.float32]:
    """Return a close-up with the two clusters tinted, larger and smaller, and true borders."""
    picture = grey_as_rgb(view.image)
    cluster = np.append(clusters_after(recording, merge), -1)[view.superpixels]
    pair, sizes = recording.merges[merge], merged_sizes(recording)[merge]
    if sizes[0] < sizes[1]:
        pair = pair[::-1]
    for name, tint in zip(pair, _TINTS, strict=True):
        is_in = cluster == name
        picture[is_in] = 0.5 * picture[is_in] + 0.5 * np.array(to_rgb(tint), np.float32)
    if view.truth is not None:
        borders = ~interior_mask(view.truth)
        picture[borders] = 0.4 * picture[borders] + 0.6 * np.array(to_rgb(_TRUTH_BORDER))
    return picture


def _stage_title(
    recording: Recording,
    labels: npt.NDArray[np.uint64],
    n_merges: int,
    curve: ErrorCurve | None,
) -> str:
    """Say what a stage is: merges made, key of the last one, segments seen, error."""
    if n_merges == 0:
        when = "superpixels"
    elif n_merges == recording.n_policy_merges:
        when = f"the policy stops after {n_merges:,}"
    else:
        when = (
            f"{n_merges:,} merge{'s' * (n_merges > 1)}, key {recording.heights[n_merges - 1]:.2f}"
        )
    error = "" if curve is None else f", VI {curve.vi[n_merges]:.3f}"
    return f"{when}\n{_n_labels(labels)} here{error}"


def _stop_text(recording: Recording) -> str:
    """Say what chose the merges and where it stops."""
    n_left = len(recording.ids) - recording.n_policy_merges
    return (
        f"{recording.policy}: {len(recording.ids):,} superpixels, stops at key "
        f"{recording.threshold:.3g} with {n_left:,} clusters"
    )


def _draw_keys(axis: Axes, recording: Recording) -> None:
    """Draw the key of every merge, above the number of merges it makes."""
    numbers = np.arange(1, recording.n_merges + 1)
    axis.plot(numbers, recording.heights, color=_KEY_INK, linewidth=1.2)


def _mark_stop(axis: Axes, recording: Recording) -> None:
    """Draw the line where the policy stops."""
    axis.axvline(recording.n_policy_merges, color="#444444", linewidth=1.2, linestyle="--")


def _show(
    axis: Axes,
    picture: npt.NDArray[np.number],
    title: str,
    recording: Recording,
    *,
    has_bar: bool = False,
    value_range: tuple[float, float] | None = None,
) -> None:
    """Show a picture in its true proportions with a small title."""
    pixel = _pixel_size(recording)
    axis.set_axis_on()
    show_image(
        axis, picture, title, pixel_size_nm=pixel if has_bar else None, value_range=value_range
    )
    if pixel is not None:
        axis.set_aspect(pixel[0] / pixel[1])
    axis.title.set_fontsize(9)


def _pixel_size(recording: Recording) -> tuple[float, float] | None:
    """Return the (y, x) size of a pixel."""
    size = recording.voxel_size_nm
    return None if size is None else (size[1], size[2])


def _n_labels(labels: npt.NDArray[np.uint64]) -> int:
    """Count the labels other than 0."""
    return np.unique(labels[labels != 0]).size
