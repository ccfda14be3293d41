"""Colours of labels: bright, random-looking, and the same for a label in every picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_HUE_ANGLES = 2.0 * np.pi * np.array([0.0, 1.0, 2.0]) / 3.0


def label_colours(labels: npt.NDArray[np.number]) -> npt.NDArray[np.float32]:
    """Give every label a colour that depends on nothing but the label.

    Hue, saturation and lightness are drawn from a hash of the label (the finaliser of SplitMix64,
    Steele et al., OOPSLA 2014).

    Args:
        labels: (…) any integer dtype; 0 becomes black.

    Returns:
        (…, 3) float32 in [0, 1], red, green, blue.
    """
    ids, index = np.unique(labels, return_inverse=True)
    bits = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    parts = [(bits >> np.uint64(shift)) % np.uint64(1 << 20) for shift in (0, 20, 40)]
    hue, saturation, lightness = (part.astype(np.float64) / (1 << 20) for part in parts)
    grey = (0.45 + 0.30 * lightness)[:, None]
    swing = np.cos(2.0 * np.pi * hue[:, None] - _HUE_ANGLES)
    colours = np.clip(grey + (0.22 + 0.23 * saturation[:, None]) * swing, 0.0, 1.0)
    colours[ids == 0] = 0.0
    return colours.astype(np.float32)[index.reshape(np.shape(labels))]
