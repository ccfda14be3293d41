"""Apply a merge policy to a volume on disk."""

from __future__ import annotations

import io
import json
import shutil
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agglo.channel_volumes import open_for_policy, read_channels
from agglo.doubt_file import doubts_path_of, save_doubts
from agglo.policy_file import Policy
from agglo.volumes import (
    Address,
    VoxelSize,
    check_output,
    require_volume,
    write_volume,
)
from agglo.volumes.source import DAMAGE
from agglo.whole_file import write_whole
from analysis.input_error import InputError
from envs import statistics as st
from envs.channel_sums import with_channels
from envs.error_calibration import membrane_share
from envs.expected_error import expected_error, rank_doubts
from envs.merge_tree import MergeTree, relabel
from envs.region_graph import build_region_graph
from envs.rollout import play_episode


def segment_volume(
    policy: Policy,
    image: str,
    boundaries: str,
    superpixels: str,
    out: str,
    *,
    texture: str | None = None,
    embedding: str | None = None,
    threshold: float | None = None,
    voxel_size_nm: VoxelSize | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Agglomerate superpixels under a policy; write the segmentation and, beside it, the tree.

    The tree is complete: it goes on below the threshold until nothing touches, so that any other
    threshold can be cut from it. A learned policy also says what VI it expects of the segmentation
    and writes the table of its doubts.

    Args:
        policy: the merge policy.
        image: address of the image.
        boundaries: address of its boundary map.
        superpixels: address of its superpixels.
        out: address of the segmentation, uint64, a segment named by its smallest superpixel.
        texture: address of its texture channels, if the policy looks at any.
        embedding: address of its embedding, if the policy looks at one.
        threshold: lowest key that is merged; the policy's own if not given.
        voxel_size_nm: for volumes that state none.
        overwrite: replace outputs that exist.

    Raises:
        InputError: where the volumes are not what they should be or do not fit the policy.
    """
    if threshold is not None and not np.isfinite(threshold):
        raise InputError(f"--threshold must be a finite number, not {threshold}.")
    tree_path = tree_path_of(out)
    check_output(out, overwrite=overwrite)
    require_free_tree(tree_path, overwrite=overwrite)
    texts = {"--image": image, "--boundaries": boundaries, "--superpixels": superpixels}
    volumes, stated = open_for_policy(
        policy, texts, voxel_size_nm, texture=texture, embedding=embedding
    )
    size = stated or policy.voxel_size_nm
    labels = require_volume(volumes["--superpixels"], "--superpixels", "superpixels")
    map_ = require_volume(volumes["--boundaries"], "--boundaries", "boundaries")
    graph = build_region_graph(
        labels,
        require_volume(volumes["--image"], "--image", "image"),
        map_,
        voxel_size_nm=size or (1.0, 1.0, 1.0),
    )
    channels = read_channels(volumes)
    graph = with_channels(graph, labels, map_, channels)
    tree = MergeTree.of_episode(graph.ids, play_episode(graph, policy.network, threshold=-np.inf))
    cut = policy.threshold if threshold is None else threshold
    clusters = tree.cut(cut)
    write_volume(
        out,
        relabel(labels, graph.ids, clusters),
        voxel_size_nm=size,
        overwrite=overwrite,
        attributes={"threshold": cut, "policy": json.dumps(policy.provenance)},
    )
    save_tree(tree_path, tree)
    sizes = graph.regions[:, st.SIZE]
    positions = graph.regions[:, st.REGION_POSITION : st.REGION_POSITION + 3]
    membrane = membrane_share(graph.regions[:, st.BOUNDARY], sizes)
    return {
        "n_superpixels": graph.n_regions,
        "n_segments": len(np.unique(clusters)),
        "threshold": cut,
        "merge_tree": str(tree_path),
        **keep_doubts(policy, tree, tree_path, sizes, positions, membrane, cut),
    }


def keep_doubts(
    policy: Policy,
    tree: MergeTree,
    tree_path: Path,
    sizes: npt.NDArray[np.integer],
    positions: npt.NDArray[np.integer],
    membrane: float,
    threshold: float,
) -> dict[str, Any]:
    """Write the doubts of a segmentation beside its tree, and say what VI is expected.

    Args:
        policy: that made the tree; where it does not know its own error nothing is written.
        tree: complete.
        tree_path: where it lies.
        sizes: (R,) integer, voxels of every superpixel.
        positions: (R, 3) integer, sums of z, y and x over these voxels.
        membrane: share of these voxels that is membrane.
        threshold: where the segmentation is cut.
    """
    path = doubts_path_of(tree_path)
    path.unlink(missing_ok=True)  # of what was replaced
    if policy.error is None:
        return {}
    save_doubts(path, rank_doubts(tree, sizes, positions, threshold), tree.ids, tree.merges)
    expected = policy.error(expected_error(tree, sizes, threshold).vi, membrane)
    return {"expected_vi": expected, "doubts": str(path)}


def tree_path_of(out: str) -> Path:
    """Return where the merge tree of a segmentation lies: `SEG.zarr` → `SEG.merge_tree.npz`."""
    address = Address.parse_output(out, argument="--out")
    name = address.file.name.removesuffix(".zarr")
    if address.dataset is not None:
        name = f"{address.file.stem}.{address.dataset.replace('/', '.')}"
    return address.file.with_name(f"{name}.merge_tree.npz")


def require_free_tree(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a merge tree, in a file or in a folder of shards, that nobody gave up.

    Raises:
        InputError: there is one, and not `overwrite`.
    """
    for form in (path, path.with_suffix("")):
        if form.exists() and not overwrite:
            raise InputError(f"--out: the merge tree {form} exists; --overwrite replaces it.")


def save_tree(path: Path, tree: MergeTree) -> None:
    """Write a merge tree, whole or not at all; shards of one that it replaces go."""
    buffer = io.BytesIO()
    np.savez(buffer, ids=tree.ids, merges=tree.merges, heights=tree.heights)
    try:
        write_whole(path, buffer.getvalue())
        if path.with_suffix("").is_dir():
            shutil.rmtree(path.with_suffix(""))
    except OSError as error:
        raise InputError(f"--out: {path} cannot be written ({error.strerror}).") from error


def load_tree(path: Path, *, argument: str) -> MergeTree:
    """Read a merge tree.

    Raises:
        InputError: where there is none or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return MergeTree(stored["ids"], stored["merges"], stored["heights"])
    except (*DAMAGE, MemoryError, tokenize.TokenError, zipfile.BadZipFile) as error:
        reason = str(error).split(". ")[0].rstrip(".") or type(error).__name__
        raise InputError(f"{argument}: {path} holds no merge tree: {reason}.") from error
