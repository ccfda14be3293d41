"""How fast a prediction was, and as a share of what its actors' hardware can do."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from predict.box import Box


class BlockWork(NamedTuple):
    """What an actor did for a block.

    Attributes:
        actor: names the actor.
        compute_s: time in the network and what goes with it, by `ComputeDevice.clock_s`; without
            reading and writing files.
        flop: of the convolutions executed.
        matrix_rate: FLOP per second of a matrix product on the actor's device.
    """

    actor: str
    compute_s: float
    flop: float
    matrix_rate: float


def describe_throughput(
    work: dict[int, BlockWork], blocks: tuple[Box, ...], flop_per_voxel: float, wall_s: float
) -> dict[str, Any]:
    """Return the figures of a prediction.

    Args:
        work: by the index of the block; blocks that an earlier run had done are left out.
        blocks: all blocks of the volume.
        flop_per_voxel: what a voxel needs, halo apart.
        wall_s: from beginning to end, with the start of the actors.

    Returns:
        `voxels_per_second` of the wall time, `voxels_per_compute_second` of the computing of one
        actor, `flop_per_voxel` needed and `executed_flop_per_voxel`, `matrix_rate_flops` of an
        actor and of all, and `share_of_matrix_rate`: the FLOP executed in a second of computing
        over those of a matrix product in a second. `useful_share_of_matrix_rate` leaves out what
        was executed for halos. Of a run that had nothing left to do there are no rates.
    """
    n_voxels = sum(blocks[index].n_voxels for index in work)
    described: dict[str, Any] = {
        "voxels_per_second": n_voxels / wall_s,
        "flop_per_voxel": flop_per_voxel,
    }
    if not work:
        return described
    compute_s = sum(one.compute_s for one in work.values())
    flop = sum(one.flop for one in work.values())
    possible = sum(one.compute_s * one.matrix_rate for one in work.values())
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for one in work.values():
        rates[one.actor].append(one.matrix_rate)
    per_actor = possible / compute_s
    return {
        **described,
        "compute_seconds": compute_s,
        "voxels_per_compute_second": n_voxels / compute_s,
        "executed_flop_per_voxel": flop / n_voxels,
        "matrix_rate_flops": {
            "per_actor": per_actor,
            "all_actors": sum(sum(one) / len(one) for one in rates.values()),
        },
        "share_of_matrix_rate": flop / possible,
        "useful_share_of_matrix_rate": n_voxels * flop_per_voxel / possible,
    }
