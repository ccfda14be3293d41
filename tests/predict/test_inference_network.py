from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from predict.blockwise import predict_volume
from predict.boundary_network import BoundaryNetwork
from predict.compute_device import choose_device
from predict.convnet import ConvNetConfig
from predict.image_normalisation import ImageNormalisation
from predict.inference_network import for_inference
from predict.unet import UNetConfig

EXACT = choose_device("cpu", bfloat16=False)
CONFIGS = {
    "isotropic": UNetConfig.for_voxel_size((8, 8, 8), widths=(4, 6, 8)),
    "anisotropic": UNetConfig.for_voxel_size((30, 6, 6), widths=(4, 6)),
    "two_dimensional": UNetConfig.for_voxel_size((30, 6, 6), widths=(4, 6), two_dimensional=True),
    "full_resolution": UNetConfig((4, 6), ((1, 1, 1), (2, 2, 2)), ((3, 3, 3), (3, 3, 3))),
    "embedding": UNetConfig.for_voxel_size((8, 8, 8), widths=(4, 6), embedding=2),
    "convnet": ConvNetConfig.for_voxel_size((8, 8, 8), widths=(4, 5)),
}


def _trained(name: str) -> BoundaryNetwork:
    """Return a network whose normalisations have statistics unlike those it starts with."""
    torch.manual_seed(0)
    network = CONFIGS[name].build().eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.normal_(layer.running_mean, std=0.5)  # type: ignore[arg-type]
            nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.5)
    return network


@pytest.mark.parametrize("name", CONFIGS)
def test_it_computes_the_same(name):
    network = _trained(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    image = np.random.default_rng(0).normal(size=(9, 21, 18)).astype(np.float32)
    same = ImageNormalisation(0, 1)
    expected = predict_volume([network], image, normalisation=same, device=EXACT)
    folded = for_inference(network, EXACT)
    found = predict_volume([folded], image, normalisation=same, device=EXACT)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not any(isinstance(layer, nn.BatchNorm3d) for layer in folded.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    low = choose_device("cpu", bfloat16=True)
    folded = for_inference(network, low)
    assert {one.dtype for one in folded.parameters()} == {torch.bfloat16}
    found = predict_volume([folded], image, normalisation=same, device=low)
    old = predict_volume([network], image, normalisation=same, device=low)
    error, usual = (np.sqrt(np.mean((one - expected) ** 2)) for one in (found, old))
    assert error < max(2 * usual, 2e-3)
