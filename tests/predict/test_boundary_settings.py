from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.input_error import InputError
from predict.boundary_settings import BoundaryTraining

SETTINGS = BoundaryTraining((8, 8, 8), steps=8, n_evaluations=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": 1.0}, "give either minutes or steps, got 1.0 minutes and 8 steps"),
        ({"steps": None}, "give either minutes or steps"),
        ({"steps": None, "minutes": -1.0}, "minutes must be positive, got -1.0"),
        ({"steps": 3}, r"steps must be at least n_evaluations \(4\), got 3"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"loss": "hinge"}, "loss must be bce, malis or blotc, got 'hinge'"),
        ({"structured_start": 1.0}, "structured_start must be in 0..1, below 1, got 1.0"),
        ({"averaging": 1.0}, "averaging must be in 0..1, below 1, got 1.0"),
        ({"blotc_reach_vox": 0.0}, "blotc_reach_vox must be at least 1, got 0.0"),
        ({"malis_weight": 0.0}, "malis_weight must be positive, got 0.0"),
        ({"embedding_weight": 0.0}, "embedding_weight must be positive, got 0.0"),
        ({"embedding_within": -0.1}, r"embedding_within must be in 0..1, got -0.1"),
        ({"embedding_apart": 1.5}, r"embedding_apart must be in 0..1, got 1.5"),
        ({"voxel_size_nm": (1, 1)}, "voxel_size_nm must be three positive numbers"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(InputError, match=message):
        replace(SETTINGS, **change)
