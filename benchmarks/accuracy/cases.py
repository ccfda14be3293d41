"""What is trained on and what is tested on: labelled boxes of the volumes in the data folder.

All triples are z, y, x. The two sides of a case share no voxel, and neither do their boundary maps:
a map that is not in the data is made by a model that trained on the training side alone, and that
side itself is predicted out of fold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

VoxelSize = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Part:
    """A labelled box of a volume.

    Attributes:
        name: of the box, its own.
        file: HDF5 file in the data folder.
        crop: the box, as addresses have it; empty = all.
        image: dataset of the image; None where there is none, and a blank one stands for it.
        labels: dataset of the truth, 0 = not counted.
        boundaries: dataset of the boundary map; None = one of our own is made.
        superpixels: dataset of the superpixels; None = our own watershed of the map.
        voxel_size_nm: edges of a voxel.
        whole: the part that this one is cut from, if it shares its out-of-fold maps.
        crop_of_whole: the box within that part.
    """

    name: str
    file: str
    crop: str = ""
    image: str | None = "raw"
    labels: str = "gt"
    boundaries: str | None = None
    superpixels: str | None = None
    voxel_size_nm: VoxelSize = (10.0, 10.0, 10.0)
    whole: Part | None = None
    crop_of_whole: str = ""

    def address(self, data_folder: Path, dataset: str) -> str:
        """Return the address of the box in one dataset of the file."""
        return f"{data_folder / self.file}:{dataset}{self.crop}"


@dataclass(frozen=True, slots=True)
class Case:
    """Parts to train on and a part to test on.

    Attributes:
        train: one or more parts.
        test: another part.
        variant: what tells it from another case of the same parts; empty if nothing.
    """

    train: tuple[Part, ...]
    test: Part
    variant: str = ""

    @property
    def model_name(self) -> str:
        """Name of the boundary model, which depends on the boxes of the training side alone."""
        return "+".join(part.name for part in self.train)

    @property
    def name(self) -> str:
        """Name in JSON, and of the folder of its rows."""
        return "-".join(filter(None, (self.model_name, self.test.name, self.variant)))

    @property
    def title(self) -> str:
        """Name above table and figure."""
        trained = " + ".join(part.name for part in self.train)
        variant = f", {self.variant} superpixels" if self.variant else ""
        return f"{trained} → {self.test.name}{variant}"


def both_ways(first: Part, second: Part, variant: str = "") -> tuple[Case, Case]:
    """Return the case of two parts and its swap."""
    return Case((first,), second, variant), Case((second,), first, variant)


FIB25 = "fib25_medulla/train.h5"
FIB25_LOW = Part("fib25_low", FIB25, "[0:60]")
FIB25_HIGH = Part("fib25_high", FIB25, "[64:120]")
FIB25_PUBLISHED = (
    replace(FIB25_LOW, superpixels="superpixels"),
    replace(FIB25_HIGH, superpixels="superpixels"),
)


def _halves(whole: Part, axis: str, begin: int, end: int) -> tuple[Part, Part]:
    """Cut sections begin:end of FIB-25 in two along y or x, with a gap of four voxels."""
    boxes = {"y": ("0:123,0:250", "127:250,0:250"), "x": ("0:250,0:123", "0:250,127:250")}[axis]
    first, second = (
        replace(
            whole,
            name=f"{whole.name}_{axis}_{side}",
            crop=f"[{begin}:{end},{box}]",
            whole=whole,
            crop_of_whole=f"[0:{end - begin},{box}]",
        )
        for side, box in zip(("before", "behind"), boxes, strict=True)
    )
    return first, second


FIB25_HALVES = (
    _halves(FIB25_LOW, "y", 0, 60),
    _halves(FIB25_LOW, "x", 0, 60),
    _halves(FIB25_HIGH, "y", 64, 120),
    _halves(FIB25_HIGH, "x", 64, 120),
)

GALA = Part("gala", "gala_fib/train.h5")
TINYFIB = Part("tinyfib", "gala_fib/tinyfib.h5")

_GIVEN = replace(GALA, boundaries="boundary_prob", superpixels="superpixels")
GALA_LEFT = replace(_GIVEN, name="gala_left", crop="[0:50,0:100,0:98]")
GALA_RIGHT = replace(_GIVEN, name="gala_right", crop="[0:50,0:100,102:200]")

SNEMI_LEFT = Part(
    "snemi_left",
    "snemi_mini/train.h5",
    "[0:14,0:160,0:78]",
    image=None,
    boundaries="boundary_prob",
    superpixels="superpixels2d",
    voxel_size_nm=(30.0, 6.0, 6.0),
)
SNEMI_RIGHT = replace(SNEMI_LEFT, name="snemi_right", crop="[0:14,0:160,82:160]")

GROUPS: dict[str, tuple[Case, ...]] = {
    "fib25": both_ways(FIB25_LOW, FIB25_HIGH),
    "fib25-halves": tuple(case for pair in FIB25_HALVES for case in both_ways(*pair)),
    "fib25-published": both_ways(*FIB25_PUBLISHED, variant="published"),
    "gala": both_ways(GALA, TINYFIB),
    "gala-given": both_ways(GALA_LEFT, GALA_RIGHT),
    "snemi": both_ways(SNEMI_LEFT, SNEMI_RIGHT),
    "transfer": (
        Case((GALA, TINYFIB), FIB25_LOW),
        Case((GALA, TINYFIB), FIB25_HIGH),
        Case((FIB25_LOW, FIB25_HIGH), GALA),
        Case((FIB25_LOW, FIB25_HIGH), TINYFIB),
    ),
}
"""Cases by the name of their group on the command line."""

ABOUT: dict[str, str] = {
    "fib25": "FIB-25, either half of z; own boundary map, own superpixels",
    "fib25-halves": "FIB-25, either half along y and along x of either part; out-of-fold map and "
    "own superpixels of that part",
    "fib25-published": "FIB-25, either half of z; own boundary map, published superpixels",
    "gala": "the two FIB-SEM blocks of gala; own boundary maps, own superpixels",
    "gala-given": "either half of one block of gala; its boundary map, its superpixels",
    "snemi": "mouse cortex, 30×6×6 nm, either half; boundary map and 2D superpixels as given; no "
    "image is there, and a blank one stands for it, so that nothing is learned of grey values",
    "transfer": "trained on one data set, applied to another; own boundary maps, own superpixels",
}
"""A phrase for each group."""
