"""Volumes on disk: addresses, lazy reading, atomic and block-wise writing, and kinds of volumes.

All triples are z, y, x; affinities are c, z, y, x.
"""

from agglo.volumes.address import Address
from agglo.volumes.block_writer import BlockHandle, BlockWriter
from agglo.volumes.kinds import Kind, require_same_shape, require_volume
from agglo.volumes.layout import ArrayLayout
from agglo.volumes.matching import agreed_voxel_size, open_matching
from agglo.volumes.output import check_output
from agglo.volumes.resolutions import open_resolutions
from agglo.volumes.volume import Volume, open_volume
from agglo.volumes.voxel_size import VoxelSize
from agglo.volumes.writing import write_volume

__all__ = [
    "Address",
    "ArrayLayout",
    "BlockHandle",
    "BlockWriter",
    "Kind",
    "Volume",
    "VoxelSize",
    "agreed_voxel_size",
    "check_output",
    "open_matching",
    "open_resolutions",
    "open_volume",
    "require_same_shape",
    "require_volume",
    "write_volume",
]
