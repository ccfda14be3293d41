from __future__ import annotations

import pytest

from agglo.phantom import PhantomConfig
from analysis.input_error import InputError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed must lie in 0 to 2**63 - 1, got -1."),
        ({"seed": 1.5}, "seed must be an integer, got 1.5."),
        ({"seed": True}, "seed must be an integer, got True."),
        (
            {"voxel_size_nm": (8, 0, 8)},
            "voxel_size_nm must be three positive numbers z, y, x, got (8, 0, 8).",
        ),
        (
            {"voxel_size_nm": (8, 8)},
            "voxel_size_nm must be three positive numbers z, y, x, got (8, 8).",
        ),
        (
            {"voxel_size_nm": "abc"},
            "voxel_size_nm must be three positive numbers z, y, x, got 'abc'.",
        ),
        (
            {"voxel_size_nm": (8, float("inf"), 8)},
            "voxel_size_nm must be three positive numbers z, y, x, got (8, inf, 8).",
        ),
        (
            {"voxel_size_nm": (120, 8, 8)},
            "node_spacing_nm must be a number from 120 to 1e+06, got 112.0.",
        ),
        (
            {"node_spacing_nm": float("nan")},
            "node_spacing_nm must be a number from 32 to 1e+06, got nan.",
        ),
        ({"calibre_spread": 0.6}, "calibre_spread must be a number from 0 to 0.55, got 0.6."),
        ({"density": 0.1}, "density must be a number from 0.4 to 1, got 0.1."),
        ({"bad_sections": "all"}, "bad_sections must be a number from 0 to 1, got 'all'."),
        ({"noise": -1.0}, "noise must be a number from 0 to 128, got -1.0."),
        ({"membrane_nm": 0.0}, "membrane_nm must be a number from 0.112 to 56, got 0.0."),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(InputError) as caught:
        PhantomConfig(**values)
    assert str(caught.value) == message


def test_whole_numbers_become_floats():
    config = PhantomConfig(noise=0, voxel_size_nm=(40, 8, 8))  # type: ignore[arg-type]
    assert isinstance(config.noise, float)
    assert config.voxel_size_nm == (40.0, 8.0, 8.0)
    assert hash(config) == hash(PhantomConfig(noise=0.0, voxel_size_nm=(40.0, 8.0, 8.0)))
