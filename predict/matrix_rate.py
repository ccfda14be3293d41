"""How fast a device multiplies matrices, and how much of that a network could use."""

from __future__ import annotations

import functools
import math
from itertools import product

import torch
from torch.utils.flop_counter import FlopCounterMode

from predict.boundary_network import NetworkConfig
from predict.box import Triple
from predict.compute_device import ComputeDevice

CPU_SIZE, GPU_SIZE = 1024, 8192
"""Rows and columns of the matrices: two thirds of a megabyte and more each, 2 and 1100 GFLOP."""

MEASURED_S = 0.1
"""Products are timed for about so long, and the fastest counts."""


def measure_matrix_rate(device: ComputeDevice) -> float:
    """Measure the FLOP per second of a matrix product on a device, in its arithmetic.

    The best of several products of square matrices, with the threads that torch uses in this
    process and by `ComputeDevice.clock_s`: the rate that convolutions can be held against
    (Williams et al. 2009, "Roofline", Communications of the ACM 52).
    """
    is_gpu = device.torch_device.type == "cuda"
    size = GPU_SIZE if is_gpu else CPU_SIZE
    dtype = torch.bfloat16 if device.bfloat16 else torch.float32
    a = torch.ones((size, size), dtype=dtype, device=device.torch_device)
    b, out = a.clone(), torch.empty_like(a)
    times: list[float] = []
    with torch.inference_mode():
        torch.mm(a, b, out=out)
        while len(times) < 3 or sum(times) < MEASURED_S:
            started = device.clock_s()
            torch.mm(a, b, out=out)
            times.append(device.clock_s() - started)
    return 2 * size**3 / min(times)


@functools.lru_cache(maxsize=256)
def count_flop(config: NetworkConfig, extents: Triple) -> int:
    """Count the FLOP that the convolutions of a network execute on one input.

    Args:
        config: shape of the network.
        extents: of what it is given, z, y, x, see `blockwise.aligned`.
    """
    with torch.device("meta"):
        network = config.build().eval()
        image = torch.empty(1, 1, *extents)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(image, inner_only=True)
    return counter.get_total_flops()


def count_flop_per_voxel(config: NetworkConfig) -> float:
    """Count the FLOP of one output voxel, without what blocks compute twice around their border.

    What an input takes is a polynomial of its three extents; this is the coefficient of their
    product, the limit of a block so large that its halo does not matter.
    """
    total = 0
    steps = [2 * stride for stride in config.stride]
    for longer in product((0, 1), repeat=3):
        z, y, x = (
            2 * halo + step * (1 + more)
            for halo, step, more in zip(config.halo_vox, steps, longer, strict=True)
        )
        total += (-1) ** (3 - sum(longer)) * count_flop(config, (z, y, x))
    return total / math.prod(steps)
