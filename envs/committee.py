"""Several merge networks as one whose logit is the mean of theirs.

Networks that were trained in different ways err at different contacts, and a merge of two neurons
that one of them is for is rarely one that all are for (committees of networks: Hansen & Salamon
1990, "Neural network ensembles", IEEE PAMI 12; Krogh & Vedelsby 1995, NIPS 7). The committee is a
network like others, so nothing that applies one has to know of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from envs.merge_network import MergeNetwork


def committee(networks: Sequence[MergeNetwork], thresholds: Sequence[float]) -> MergeNetwork:
    """Return the network whose logit is the mean of what each has above its threshold.

    Members are put behind one standardisation, in float64, and get hidden units that do nothing
    where others have more. However many members a network has, it has one vote.

    Args:
        networks: of the same features.
        thresholds: from which on each merges; the committee merges from 0 on.

    Raises:
        ValueError: there is none, they see different features, or a float32 cannot hold a weight.
    """
    if not networks or len(networks) != len(thresholds):
        raise ValueError(f"{len(networks)} networks have {len(thresholds)} thresholds")
    numbers = {network.n_features for network in networks}
    if len(numbers) > 1:
        raise ValueError(f"networks see different numbers of features: {sorted(numbers)}")
    mean, scale = _shared_standardisation(networks)
    n_members = sum(len(network.b3) for network in networks)
    n_1 = max(network.b1.shape[1] for network in networks)
    n_2 = max(network.b2.shape[1] for network in networks)
    members = []
    none = (0, 0)
    for network, threshold in zip(networks, thresholds, strict=True):
        m, own_mean, own_scale, w1, b1, w2, b2, w3, b3 = len(network.b3), *_exact(network)
        # (x − own mean) own scale, of z = (x − mean) scale.
        ratio = np.divide(own_scale, scale, out=np.zeros_like(scale), where=scale != 0)
        b1 = b1 + np.einsum("mfh,f->mh", w1, (mean - own_mean) * own_scale)
        w1 = w1 * ratio[:, None]
        vote = n_members / (len(networks) * m)
        more_1, more_2 = (0, n_1 - b1.shape[1]), (0, n_2 - b2.shape[1])
        members.append(
            (
                np.pad(w1, (none, none, more_1)),
                np.pad(b1, (none, more_1)),
                np.pad(w2, (none, more_1, more_2)),
                np.pad(b2, (none, more_2)),
                np.pad(w3 * vote, (none, more_2)),
                (b3 - threshold) * vote,
            )
        )
    joined = [np.concatenate(arrays) for arrays in zip(*members, strict=True)]
    with np.errstate(over="ignore"):
        network = MergeNetwork(*(array.astype(np.float32) for array in (mean, scale, *joined)))
    if not all(np.isfinite(array).all() for array in network):
        raise ValueError("a weight of the committee is beyond what a float32 holds")
    return network


def _exact(network: MergeNetwork) -> list[npt.NDArray[np.float64]]:
    return [array.astype(np.float64) for array in network]


def _shared_standardisation(
    networks: Sequence[MergeNetwork],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean and scale of each feature, (F,), of the first network that looks at it."""
    scales = np.stack([network.scale for network in networks]).astype(np.float64)
    means = np.stack([network.mean for network in networks]).astype(np.float64)
    first = (scales != 0).argmax(axis=0)
    features = np.arange(scales.shape[1])
    return means[first, features], scales[first, features]
