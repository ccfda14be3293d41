from __future__ import annotations

import time

import pytest
import torch

from predict.compute_device import choose_device, keep_freed_memory
from predict.convnet import ConvNetConfig
from predict.matrix_rate import count_flop, count_flop_per_voxel, measure_matrix_rate
from predict.unet import UNetConfig


def test_flop_are_counted_by_hand():
    config = ConvNetConfig(widths=(5,), kernels=((3, 3, 3), (1, 3, 3)))
    first, second = 2 * 27 * 5, 2 * 9 * 5 * 4
    assert count_flop(config, (8, 9, 10)) == first * 6 * 7 * 8 + second * 6 * 5 * 6
    assert count_flop_per_voxel(config) == first + second


def test_flop_of_a_unet_are_those_of_a_block_without_end():
    config = UNetConfig.for_voxel_size((8, 8, 8), widths=(16, 32, 64))
    # By voxels of each level: 1/8, 1/64, 1/512; stem, blocks there and back, narrowing, head.
    stem, finest = 2 * 8 * 16 / 8, 4 * 2 * 27 * 16 * 16 / 8
    middle = 2 * 27 * (16 * 32 + 3 * 32 * 32) / 64 + 2 * 32 * 16 / 64
    coarsest = 2 * 27 * (32 * 64 + 64 * 64) / 512 + 2 * 64 * 32 / 512
    head = 2 * 16 * 8 + 2 * 27 * 9 * 16 + 2 * 16 * 4
    expected = stem + finest + middle + coarsest + head
    assert count_flop_per_voxel(config) == pytest.approx(expected)
    extents = tuple(2 * halo + 1024 for halo in config.halo_vox)
    assert 1 < count_flop(config, extents) / 1024**3 / expected < 1.2


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_rate_is_that_of_a_product_timed_by_hand(bfloat16):
    device = choose_device("cpu", bfloat16=bfloat16)
    keep_freed_memory()
    a = torch.ones((1024, 1024), dtype=torch.bfloat16 if bfloat16 else torch.float32)
    times = []
    for _ in range(4):
        started = time.process_time()
        torch.mm(a, a)
        times.append(time.process_time() - started)
    by_hand = 2 * 1024**3 / min(times) * torch.get_num_threads()
    assert by_hand / 3 < measure_matrix_rate(device) < 3 * by_hand
