from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.input_error import InputError
from predict.box import Box
from predict.texture_patch import TexturePatch


@pytest.mark.parametrize(
    ("size", "extent", "dilation"),
    [
        (None, (5, 5, 5), (2, 2, 2)),
        ((8.0, 8.0, 8.0), (5, 5, 5), (2, 2, 2)),
        ((10.0, 4.0, 4.0), (5, 5, 5), (1, 2, 2)),
        ((30.0, 6.0, 6.0), (3, 5, 5), (1, 2, 2)),
        ((50.0, 4.0, 4.0), (1, 5, 5), (1, 2, 2)),
    ],
)
def test_a_patch_is_as_long_along_each_axis(size, extent, dilation):
    assert TexturePatch.for_voxel_size(size) == TexturePatch(extent, dilation)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.integers(0, 2)] * 3), st.tuples(*[st.integers(1, 3)] * 3))
def test_windows_are_what_is_around_a_voxel(radius, dilation):
    z, y, x = (2 * r + 1 for r in radius)
    patch = TexturePatch((z, y, x), dilation)
    block = Box((2, 0, -1), (4, 3, 1))
    seen = patch.seen_from(block)
    places = np.stack(np.meshgrid(*map(np.arange, seen.start, seen.stop), indexing="ij"), -1)
    codes = places @ np.array([10**6, 10**3, 1])
    windows = patch.windows(codes)
    assert windows.shape == (*block.shape, *patch.extent)
    assert patch.n_voxels == windows[0, 0, 0].size
    for at in np.ndindex(windows.shape):
        place = [
            s + a + d * (k - r)
            for s, a, d, k, r in zip(block.start, at[:3], dilation, at[3:], radius, strict=True)
        ]
        assert windows[at] == np.dot(place, [10**6, 10**3, 1])


def test_bad_input():
    with pytest.raises(InputError, match=r"extent must be odd along z, y and x, got \(4, 3, 3\)"):
        TexturePatch((4, 3, 3), (1, 1, 1))
    with pytest.raises(InputError, match=r"extent must be odd along z, y and x, got \(3, 3\)"):
        TexturePatch((3, 3), (1, 1, 1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"dilation must be positive along z, y and x, got \(0,"):
        TexturePatch((3, 3, 3), (0, 1, 1))
