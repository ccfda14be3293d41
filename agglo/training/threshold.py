"""Choose the threshold at which agglomeration stops, from whole episodes over shards."""

from __future__ import annotations

import numpy as np

from envs.rollout import Episode


def best_threshold(episodes: list[Episode]) -> tuple[float, float]:
    """Return the key threshold of least mean VI over shards, and that VI in bits.

    An episode played down to −inf contains every threshold: stopping at θ is its prefix of
    heights ≥ θ, because heights never increase. The threshold is put half-way between the last
    merge that it admits and the next, so that it does not hang on one number; of equally good
    cuts that of fewest merges is taken. Where no merge changes VI it is 0.

    Args:
        episodes: of all shards, with truth, played with threshold −inf.
    """
    heights = np.concatenate([episode.heights for episode in episodes])
    gains = np.concatenate([episode.gains_vi for episode in episodes]) / len(episodes)
    start = float(np.mean([episode.vi[0] for episode in episodes]))
    if not gains.any():
        return 0.0, start
    order = np.argsort(-heights, kind="stable")
    heights = heights[order]
    after = start - np.concatenate([[0.0], np.cumsum(gains[order])])
    is_cut = np.concatenate([[True], heights[1:] < heights[:-1], [True]])
    best = int(np.argmin(np.where(is_cut, after, np.inf)))
    if best == 0:
        # The next float32, because a policy's network holds its threshold as one.
        return float(np.nextafter(np.float32(heights[0]), np.float32(np.inf))), float(after[0])
    if best == len(heights):
        return float(heights[-1]), float(after[-1])
    return float(0.5 * (heights[best - 1] + heights[best])), float(after[best])
