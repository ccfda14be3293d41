"""The tasks of a run over blocks, each a function of the job and of tables on disk alone."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agglo.blocks.agglomeration import (
    NodeMerges,
    agglomerate_node,
    joined_graph,
    leaf_graph,
    packed_graph,
    unpacked_graph,
)
from agglo.blocks.homes import bucket_of, find_homes
from agglo.blocks.job import SUPERPIXELS, BlockJob
from agglo.blocks.names import NO_NAMES, NameTable, names_of
from agglo.blocks.routes import (
    Parcel,
    added_parcels,
    names_of_parcel,
    packed_parcels,
    parcels_of,
    unpacked_parcel,
)
from agglo.blocks.shard import read_shard, write_shard
from agglo.blocks.superpixel_sizes import sizes_of
from agglo.blocks.superpixels import block_superpixels
from agglo.blocks.work import TaskWork, WorkMeter
from agglo.channel_volumes import read_channels
from envs import statistics as st
from envs.channel_sums import with_channels
from envs.halved_labels import halve_labels
from envs.merge_tree import relabel
from envs.region_graph import RegionGraph, build_region_graph, core_with_rim


class BlockWorker:
    """An actor that does one task at a time; what it knows is the job."""

    def __init__(self, job: BlockJob) -> None:
        job.require_output()
        self._job = job
        self._meter = WorkMeter()

    def do(self, stage: str, task: int, sources: Sequence[int] = ()) -> TaskWork:
        """Do a task of a stage; its result is on the disk when this returns."""
        self._meter.begin(stage)
        TASKS[stage](self._job, task, sources)
        return self._meter.end()


def make_superpixels(job: BlockJob, block: int, _: Sequence[int] = ()) -> None:
    """Flood a block."""
    box = job.tree.box(block)
    superpixels = block_superpixels(
        job.read_boundaries(box.slices), box, job.tree.shape, job.voxel_size_nm, job.watershed
    )
    job.output.write(box.start, superpixels, SUPERPIXELS)
    job.output.sync(box.start, box.shape, SUPERPIXELS)


def sum_block(job: BlockJob, block: int, _: Sequence[int] = ()) -> None:
    """Sum a block's voxels and faces."""
    read, core = core_with_rim(job.tree.box(block).slices, job.tree.shape)
    boundaries, superpixels = job.read_boundaries(read), job.read_superpixels(read)
    graph = build_region_graph(
        superpixels,
        job.read_image(read),
        boundaries,
        voxel_size_nm=job.voxel_size_nm,
        origin_vox=(read[0].start, read[1].start, read[2].start),
        core=core,
    )
    if job.channels:
        channels = read_channels(job.channels, read)
        graph = with_channels(graph, superpixels, boundaries, channels, core=core)
    arrays = {
        "ids": graph.ids,
        "regions": graph.regions,
        "edges": graph.edges,
        "contacts": graph.contacts,
        "highest": boundaries.max(),
    }
    if job.superpixels is not None:
        bucket = bucket_of(graph.ids, job.n_buckets)
        for number in range(job.n_buckets):
            here = bucket == number
            arrays[f"{number}.ids"] = graph.ids[here]
            arrays[f"{number}.is_inside"] = graph.regions[here, st.SIZE] > 0
    write_shard(job.table("sums", block), arrays)


def match_bucket(job: BlockJob, bucket: int, _: Sequence[int] = ()) -> None:
    """Find the homes of the regions of a bucket."""
    names = (f"{bucket}.ids", f"{bucket}.is_inside")
    listed = [read_shard(job.table("sums", b), *names) for b in range(job.tree.n_blocks)]
    homes = find_homes(*([one[name] for one in listed] for name in names))
    arrays = {f"{block}": here for block, here in enumerate(homes)}
    write_shard(job.table("homes", bucket), arrays)


def route_block(job: BlockJob, block: int, _: Sequence[int] = ()) -> None:
    """Share out the sums of a block among the nodes where they are added up."""
    sums = read_shard(job.table("sums", block), "ids", "regions", "edges", "contacts")
    graph = RegionGraph(**sums, voxel_size_nm=job.voxel_size_nm)
    homes = _homes(job, block, graph.ids)
    inside = graph.regions[:, st.SIZE] > 0
    arrays = packed_parcels(parcels_of(graph, homes, job.tree))
    arrays |= {"inside": graph.ids[inside], "homes": homes[inside]}
    write_shard(job.table("routes", block), arrays)


def agglomerate(job: BlockJob, node: int, sources: Sequence[int]) -> None:
    """Merge what is ready in a node; `sources` are the blocks that have sums for it."""
    parcel = added_parcels(_read_parcel(job, node, block) for block in sources)
    level, size = job.tree.level(node), job.voxel_size_nm
    if level == 0:
        graph = leaf_graph(parcel, job.policy, size)
        write_shard(job.table("sizes", node), sizes_of(graph.residue.graph)._asdict())
    else:
        children = [
            unpacked_graph(read_shard(job.table("left", child)), size)
            for child in job.tree.children(node)
        ]
        graph = joined_graph(children, parcel.contacts, job.policy, size)
    made, left = agglomerate_node(graph, job.policy, level)
    write_shard(job.table("left", node), packed_graph(left))
    write_shard(job.table("merges", node), made._asdict())


def name_clusters(job: BlockJob, node: int, _: Sequence[int] = ()) -> None:
    """Look up what the clusters at the start of a node are called in the end."""
    made = NodeMerges(**read_shard(job.table("merges", node)))  # type: ignore[arg-type]
    above = NO_NAMES
    if node != job.tree.root:
        above = NameTable(**read_shard(job.table("names", job.tree.parent(node))))
    names = names_of(made, above, job.threshold)
    write_shard(job.table("names", node), names._asdict())


def relabel_block(job: BlockJob, block: int, _: Sequence[int] = ()) -> None:
    """Write a block of the segmentation."""
    box = job.tree.box(block)
    known = read_shard(job.table("routes", block), "inside", "homes")
    ids, homes = known["inside"], known["homes"]
    names = np.empty_like(ids)
    for home in np.unique(homes).tolist():
        here = homes == home
        names[here] = NameTable(**read_shard(job.table("names", home))).of(ids[here])
    segmentation = relabel(job.read_superpixels(box.slices), ids, names)
    job.output.write(box.start, segmentation)
    job.output.sync(box.start, box.shape)


def shrink_node(job: BlockJob, node: int, _: Sequence[int] = ()) -> None:
    """Write a block of the segmentation at a lower resolution, from the one before, by chunks."""
    level = job.tree.level(node)
    shrunk, finer = job.tree.shrunk(level), job.tree.shrunk(level - 1).shape
    box = shrunk.box(node - job.tree.nodes(level)[0])
    edges = job.tree.chunk_vox()
    ranges = (range(*ends) for ends in zip(box.start, box.stop, edges, strict=True))
    for start in itertools.product(*ranges):
        ends = map(min, map(operator.add, start, edges), box.stop)
        read = tuple(
            slice(2 * begin, min(2 * end, size))
            for begin, end, size in zip(start, ends, finer, strict=True)
        )
        halved = halve_labels(job.output.read(read, level=level - 1))
        job.output.write(start, halved, level=level)
    job.output.sync(box.start, box.shape, level=level)


def _homes(job: BlockJob, block: int, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return the homes of the regions that a block knows."""
    if job.superpixels is None:  # named by their first voxel, and in one block each
        return job.tree.blocks_of(ids - np.uint64(1))
    bucket = bucket_of(ids, job.n_buckets)
    homes = np.empty(len(ids), np.int64)
    for number in range(job.n_buckets):
        homes[bucket == number] = read_shard(job.table("homes", number), f"{block}")[f"{block}"]
    return homes


def _read_parcel(job: BlockJob, node: int, block: int) -> Parcel:
    return unpacked_parcel(node, read_shard(job.table("routes", block), *names_of_parcel(node)))


TASKS = {
    "superpixels": make_superpixels,
    "sums": sum_block,
    "homes": match_bucket,
    "routes": route_block,
    "agglomeration": agglomerate,
    "names": name_clusters,
    "segmentation": relabel_block,
    "pyramid": shrink_node,
}
"""The stages in their order; a task of a stage needs the whole of the ones before.

There are superpixels where none were given, homes where they were, and a pyramid of more than one
resolution.
"""
