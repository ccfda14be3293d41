"""Every feature from voxels and faces, by name: the specification of the formulas on sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from envs import statistics as st
from tests.envs.random_tissue import Volume
from tests.envs.statistics_twin import Face, Voxel, voxels_and_faces


def twin_features(
    volume: Volume, smaller: int, larger: int, voxel_size_nm: tuple[float, float, float]
) -> dict[str, float]:
    """Compute the features of the contact of two superpixels, by feature name."""
    voxels, faces = voxels_and_faces(volume)
    between = faces[min(smaller, larger), max(smaller, larger)]
    surfaces = {u: sum(len(f) for pair, f in faces.items() if u in pair) for u in (smaller, larger)}
    one = _region(voxels[smaller], surfaces[smaller])
    other = _region(voxels[larger], surfaces[larger])
    contact = _contact(between)
    face, area = contact["face maximum, mean"], len(between)
    relation = {
        "area / surface of smaller": area / surfaces[smaller],
        "area / surface of larger": area / surfaces[larger],
        "area / size of smaller^(2/3)": area / len(voxels[smaller]) ** (2 / 3),
        "grey mean difference": abs(one["grey mean"] - other["grey mean"]),
        "grey sd difference": abs(one["grey sd"] - other["grey sd"]),
        "face maximum − boundary mean of smaller": face - one["boundary mean"],
        "face maximum − boundary mean of larger": face - other["boundary mean"],
    }
    shape = _shape(voxels[smaller], voxels[larger], between, np.array(voxel_size_nm))
    groups = {
        "contact": contact,
        "smaller": one,
        "larger": other,
        "relation": relation,
        "shape": shape,
    }
    return {f"{g}: {name}": float(v) for g, values in groups.items() for name, v in values.items()}


def _region(voxels: list[Voxel], surface: int) -> dict[str, Any]:
    boundary = np.array([v.boundary for v in voxels]) / 255
    grey = np.array([v.grey for v in voxels]) / 255
    return {
        "log size": float(np.log(len(voxels))),
        "boundary mean": boundary.mean(),
        "boundary sd": boundary.std(),
        # The bins begin at the first 8-bit value that rounds up to the share or above.
        "share of boundary >= 0.1": np.mean(boundary >= 26 / 255),
        "share of boundary >= 0.2": np.mean(boundary >= 51 / 255),
        "share of boundary >= 0.5": np.mean(boundary >= 128 / 255),
        "grey mean": grey.mean(),
        "grey sd": grey.std(),
        "surface / size^(2/3)": surface / len(voxels) ** (2 / 3),
    }


def _contact(faces: list[Face]) -> dict[str, Any]:
    boundary = np.array([f.boundary for f in faces]) / 255
    grey = np.array([f.grey for f in faces]) / 255
    highest = boundary.max(1)
    return {
        "face maximum, mean": highest.mean(),
        "face maximum, sd": highest.std(),
        "face mean": boundary.mean(),
        "path maximum, mean": float(np.mean([max(f.path) for f in faces])) / 255,
        **{
            f"share of face maximum >= {edge / 255:.2f}": np.mean(highest >= edge / 255)
            for edge in st.BIN_EDGES
        },
        "log area": float(np.log(len(faces))),
        "contact grey mean": grey.mean(),
        "contact grey sd": grey.mean(1).std(),
        "grey step": np.abs(grey[:, 0] - grey[:, 1]).mean(),
        "share of z faces": np.mean([f.axis == 0 for f in faces]),
    }


def _gyration_nm(positions: npt.NDArray[np.float64]) -> float:
    """Return the root mean square distance of positions (N, 3) from their mean."""
    return float(np.sqrt(((positions - positions.mean(0)) ** 2).sum(1).mean()))


def _shape(
    smaller: list[Voxel], larger: list[Voxel], faces: list[Face], voxel_size: npt.NDArray
) -> dict[str, float]:
    unit = float(np.prod(voxel_size) ** (1 / 3))
    one, other = (np.array([v.position for v in r]) * voxel_size for r in (smaller, larger))
    between = np.array([f.doubled_position for f in faces]) / 2 * voxel_size
    distance = float(np.linalg.norm(one.mean(0) - other.mean(0)))
    spread_one, spread_other = _gyration_nm(one), _gyration_nm(other)
    return {
        "centroid distance / sum of gyration radii": distance / (spread_one + spread_other + unit),
        "gyration radius / radius of smaller": spread_one / (unit * len(one) ** (1 / 3)),
        "gyration radius / radius of larger": spread_other / (unit * len(other) ** (1 / 3)),
        "gyration radius / radius of contact": _gyration_nm(between) / (unit * len(faces) ** 0.5),
        **_morphology(one, other, between, voxel_size),
    }


def _morphology(
    one: npt.NDArray[np.float64],
    other: npt.NDArray[np.float64],
    between: npt.NDArray[np.float64],
    voxel_size: npt.NDArray,
) -> dict[str, float]:
    """Take positions (N, 3) in nm; principal axes by way of eigenvalues."""
    own = np.diag(voxel_size**2 / 12)

    def covariance(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.cov(positions.T, bias=True) + own

    def anisotropy(matrix: npt.NDArray[np.float64]) -> float:
        values = np.linalg.eigvalsh(matrix)
        return float(np.sqrt(1.5 * ((values - values.mean()) ** 2).sum() / (values**2).sum()))

    def fill(positions: npt.NDArray[np.float64]) -> float:
        semi_axes = np.sqrt(5 * np.linalg.eigvalsh(covariance(positions)))
        return float(len(positions) * np.prod(voxel_size) / (4 / 3 * np.pi * np.prod(semi_axes)))

    short = np.prod(voxel_size) ** (2 / 3) / 12

    def share(matrix: npt.NDArray[np.float64], along: npt.NDArray[np.float64]) -> float:
        return float(along @ matrix @ along / ((along @ along + short) * np.trace(matrix)))

    a, b, c = map(covariance, (one, other, between))
    both = np.concatenate([one, other])
    there, back = between.mean(0) - one.mean(0), other.mean(0) - between.mean(0)
    return {
        "anisotropy of smaller": anisotropy(a),
        "anisotropy of larger": anisotropy(b),
        "anisotropy of contact": anisotropy(c),
        "anisotropy of both": anisotropy(covariance(both)),
        "ellipsoid fill of smaller": fill(one),
        "ellipsoid fill of larger": fill(other),
        "ellipsoid fill of both": fill(both),
        "alignment of smaller and larger": float(
            np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
        ),
        "variance of smaller towards contact": share(a, there),
        "variance of larger towards contact": share(b, back),
        "variance of contact along centroids": share(c, there + back),
        "cosine of the bend at the contact": float(
            there @ back / np.sqrt((there @ there + short) * (back @ back + short))
        ),
    }
