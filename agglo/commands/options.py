"""Arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import tyro

VoxelSizeNm = Annotated[tuple[float, float, float] | None, tyro.conf.arg(metavar="Z Y X")]
"""`--voxel-size-nm`: edges of a voxel, for files that state none."""
