from __future__ import annotations

import pytest

from agglo.boundaries import network_training
from agglo.boundaries.network_training import share_out
from analysis.input_error import InputError


@pytest.mark.parametrize(
    ("n_folds", "nodes", "expected"),
    [
        (1, [(16, 1)], (1, 1, 1.0)),
        (4, [(16, 1)], (4, 1, 0.25)),  # all on one GPU
        (3, [(16, 1)], (3, 1, 0.3333)),
        (20, [(16, 1)], (8, 1, 0.125)),  # no more than so many
        (4, [(2, 1)], (2, 1, 0.125)),  # nor than CPUs
        (4, [(8, 2), (8, 2)], (4, 1, 1.0)),  # one each
        (5, [(8, 2), (8, 0)], (5, 1, 0.3333)),  # a node without a GPU takes none
    ],
)
def test_folds_share_gpus(monkeypatch, n_folds, nodes, expected):
    described = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus in nodes]
    monkeypatch.setattr(network_training.ray, "nodes", lambda: described)
    assert share_out(n_folds, "cuda") == expected


def test_folds_share_cpus(monkeypatch):
    described = [
        {"Alive": True, "Resources": {"CPU": 8.0}},
        {"Alive": False, "Resources": {"CPU": 64.0}},
    ]
    monkeypatch.setattr(network_training.ray, "nodes", lambda: described)
    assert share_out(2, "cpu") == (2, 4, 0)
    assert share_out(1, "cpu") == (1, 8, 0)
    with pytest.raises(InputError, match="--folds: at least 1 is needed, 0 asked for"):
        share_out(0, "cpu")
