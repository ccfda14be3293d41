from __future__ import annotations

import pytest
import torch

from predict.boundary_network import CHANNELS, NetworkConfig
from predict.convnet import ConvNetConfig
from predict.dawmr import DawmrConfig
from predict.unet import UNetConfig

SIZE = (8.0, 8.0, 8.0)
CONFIGS: dict[str, NetworkConfig] = {
    "unet": UNetConfig.for_voxel_size(SIZE, widths=(4, 6)),
    "unet_at_full_resolution": UNetConfig((4,), ((1, 1, 1),), ((3, 3, 3),)),
    "convnet": ConvNetConfig.for_voxel_size(SIZE, widths=(3,)),
    "dawmr": DawmrConfig.for_voxel_size(SIZE, n_iterations=1, atoms=(2, 1), hidden=3),
    "linear": DawmrConfig.for_voxel_size(SIZE, n_iterations=1, atoms=(2, 1), hidden=0),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_network_predicts_boundary_and_affinities(name):
    config = CONFIGS[name]
    z, y, x = (2 * h + 2 * s for h, s in zip(config.halo_vox, config.stride, strict=True))
    with torch.inference_mode():
        logits = config.build().eval()(torch.zeros(1, 1, z, y, x), inner_only=True)
    assert CHANNELS[0] == "boundary"
    assert logits.shape == (1, len(CHANNELS), *(2 * s for s in config.stride))
