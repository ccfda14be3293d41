from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from predict.blockwise import predict_block
from predict.box import Box
from predict.compute_device import choose_device
from predict.dawmr import BoundaryDawmr, DawmrConfig, DawmrStage
from predict.dawmr_stage_maps import assigned_affinities, stage_logits
from predict.image_normalisation import ImageNormalisation

SHAPE = (14, 18, 21)
SAME: dict[str, Any] = {
    "normalisation": ImageNormalisation(0, 1),
    "device": choose_device("cpu", bfloat16=False),
}
IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def network(seed: int, n_iterations: int = 1) -> BoundaryDawmr:
    config = DawmrConfig.for_voxel_size(
        (8, 8, 8), n_iterations=n_iterations, atoms=(3, 2), hidden=5
    )
    built = config.build().eval()
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in built.named_buffers():
        if "filters" in name:
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
            buffer.sub_(buffer.mean(dim=(1, 2, 3, 4), keepdim=True))
    for parameter in built.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return built


def stage(built: BoundaryDawmr, index: int = 0) -> DawmrStage:
    found = built.stages[index]
    assert isinstance(found, DawmrStage)
    return found


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_first_iteration_is_the_network_of_one(data: st.DataObject) -> None:
    start = [data.draw(st.integers(0, extent - 1)) for extent in SHAPE]
    stop = [data.draw(st.integers(a + 1, extent)) for a, extent in zip(start, SHAPE, strict=True)]
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    built = network(1)
    logits = stage_logits(stage(built), IMAGE, None, box, **SAME)
    wanted = predict_block([built], IMAGE, box, **SAME)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), wanted, atol=1e-5)


def test_every_box_is_predicted_by_its_own_head() -> None:
    stages = [stage(network(seed)) for seed in (1, 2)]
    halves = ((Box((0, 0, 0), (7, 18, 21)), 0), (Box((7, 0, 0), SHAPE), 1))
    block = Box((4, 3, 2), (12, 15, 17))
    found = assigned_affinities(stages, halves, IMAGE, None, block, **SAME)
    for one, (box, head) in zip((slice(0, 3), slice(3, 8)), halves, strict=True):
        logits = stage_logits(stages[head], IMAGE, None, block.intersect(box), **SAME)
        np.testing.assert_allclose(found[:, one], 1 / (1 + np.exp(-logits[-3:])), atol=1e-6)


def test_a_later_iteration_looks_at_the_affinities_it_is_given() -> None:
    later = stage(network(3, n_iterations=2), 1)
    affinities = np.random.default_rng(1).uniform(size=(3, *SHAPE)).astype(np.float16)
    box = Box((2, 3, 4), (9, 10, 11))
    first = stage_logits(later, IMAGE, affinities, box, **SAME)
    affinities[2, 5, 6, 7] = 1 - affinities[2, 5, 6, 7]
    second = stage_logits(later, IMAGE, affinities, box, **SAME)
    assert np.abs(first - second)[:, 3, 3, 3].max() > 0
