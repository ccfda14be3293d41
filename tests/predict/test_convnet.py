from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.input_error import InputError
from predict.convnet import BoundaryConvNet, ConvNetConfig

CONFIGS = {
    "isotropic": ConvNetConfig.for_voxel_size((8, 8, 8), widths=(3, 4)),
    "anisotropic": ConvNetConfig.for_voxel_size((30, 6, 6), widths=(3, 4, 3)),
    "two_dimensional": ConvNetConfig.for_voxel_size((30, 6, 6), widths=(3,), two_dimensional=True),
}


def _network(config: ConvNetConfig) -> BoundaryConvNet:
    torch.manual_seed(1)
    network = config.build().eval()
    for parameter in network.parameters():  # positive weights: no ReLU hides a dependency
        parameter.data = parameter.data.abs() + 0.01
    return network


def test_kernels_follow_the_voxel_size():
    cubic = ConvNetConfig.for_voxel_size((8, 8, 8))
    assert cubic.kernels == ((5, 5, 5),) * 4
    assert cubic.receptive_fields == ((5,) * 3, (9,) * 3, (13,) * 3, (17,) * 3)
    thick = ConvNetConfig.for_voxel_size((30, 6, 6))
    assert thick.kernels == ((1, 5, 5),) * 3 + ((5, 5, 5),)
    assert thick.receptive_fields[-1] == (5, 17, 17)
    flat = ConvNetConfig.for_voxel_size((8, 8, 8), two_dimensional=True)
    assert flat.two_dimensional
    assert flat.receptive_fields[-1] == (1, 17, 17)


@pytest.mark.parametrize("name", CONFIGS)
def test_an_output_voxel_depends_on_its_receptive_field_and_nothing_else(name):
    config = CONFIGS[name]
    network = _network(config)
    field = np.array(config.receptive_fields[-1])
    image = torch.rand(1, 1, *(field + 4).tolist(), requires_grad=True)
    output = network(image)
    assert output.shape == (1, 4, 5, 5, 5)
    (gradient,) = torch.autograd.grad(output[:, :, 2, 2, 2].sum(), image)
    touched = np.argwhere(gradient[0, 0].numpy() != 0)
    np.testing.assert_array_equal(touched.min(axis=0), (2, 2, 2))
    np.testing.assert_array_equal(touched.max(axis=0), field + 1)
    np.testing.assert_array_equal(2 * np.array(config.halo_vox) + 1, field)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": ()}, "kernels must be one more than widths, got 3 and 0"),
        ({"widths": (3, 0)}, r"widths must be positive, got \(3, 0\)"),
        ({"kernels": ((5, 5, 5), (4, 5, 5), (5, 5, 5))}, "kernels must be odd"),
    ],
)
def test_bad_shape(change, message):
    with pytest.raises(InputError, match=message):
        replace(CONFIGS["isotropic"], **change)
