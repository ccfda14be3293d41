"""Axis-aligned boxes of voxels. All triples are z, y, x, in voxels."""

from __future__ import annotations

from typing import NamedTuple

Triple = tuple[int, int, int]


class Box(NamedTuple):
    """Voxels from `start` up to, not including, `stop`. A negative start lies outside a volume."""

    start: Triple
    stop: Triple

    @property
    def shape(self) -> Triple:
        """Return the extent along each axis."""
        (z0, y0, x0), (z1, y1, x1) = self
        return z1 - z0, y1 - y0, x1 - x0

    @property
    def n_voxels(self) -> int:
        """Return the number of voxels, 0 for an empty box."""
        depth, height, width = (max(0, extent) for extent in self.shape)
        return depth * height * width

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Return the slices that cut this box out of a volume."""
        (z0, y0, x0), (z1, y1, x1) = self
        return slice(z0, z1), slice(y0, y1), slice(x0, x1)

    def slices_in(self, outer: Box) -> tuple[slice, slice, slice]:
        """Return the slices that cut this box out of an array that holds another one."""
        z, y, x = (
            slice(start - origin, stop - origin)
            for start, stop, origin in zip(self.start, self.stop, outer.start, strict=True)
        )
        return z, y, x

    def along(self, axis: int, start: int, stop: int) -> Box:
        """Return this box with its extent along `axis` replaced by start:stop."""
        starts, stops = list(self.start), list(self.stop)
        starts[axis], stops[axis] = start, stop
        return Box(_triple(starts), _triple(stops))

    def intersect(self, other: Box) -> Box:
        """Return the voxels common to both boxes; an empty intersection has n_voxels 0."""
        return Box(
            _triple([max(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            _triple([min(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )


def whole(shape: tuple[int, ...]) -> Box:
    """Return the box of a whole (z, y, x) volume."""
    return Box((0, 0, 0), _triple(shape))


def _triple(values: list[int] | tuple[int, ...]) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x
