"""Channels of a volume, made by actors that write their own blocks: how such a run goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from agglo.actor_room import actor_room
from agglo.block_ledger import BlockLedger
from agglo.pool import ActorPool
from agglo.progress import progress
from agglo.volumes import ArrayLayout, BlockHandle, BlockWriter, Volume, VoxelSize, check_output
from agglo.volumes.attributes import CHANNELS_OF
from agglo.volumes.fingerprint import fingerprint
from predict.blockwise import plan_blocks
from predict.box import Box, Triple, whole


class Maker(Protocol):
    """What makes channels of volumes; it pickles."""

    @property
    def n_channels(self) -> int:
        """Return how many there are."""
        ...

    @property
    def made_by(self) -> str:
        """Return what names all that decides them, for the attribute `CHANNELS_OF`."""
        ...

    def channels(self, block: Box) -> npt.NDArray[np.uint8]:
        """Return those of a block, (c, z, y, x), the same wherever the volume is cut."""
        ...


M = TypeVar("M", bound=Maker)


class ChannelActor:
    """Make the channels of blocks of one volume and write them where they belong."""

    def __init__(self, maker: Maker, output: BlockHandle) -> None:
        self.maker, self.output = maker, output

    def make(self, block: Box) -> None:
        """Make a block, whole cells of the output's grid, and see it on the disk."""
        channels = self.maker.channels(block)
        self.output.write((0, *block.start), channels)
        self.output.sync((0, *block.start), channels.shape)


@dataclass(frozen=True, slots=True)
class ChannelRun:
    """A run that writes the channels of volumes, or goes on with one that was cut short.

    Attributes:
        kind: what the channels are, for sentences and the ledger's name.
        out: address of the channels.
        volumes: what they are made of, by argument; all of one shape (z, y, x).
        voxel_size_nm: of the volumes, if it is known.
        settings: what else decides the channels; a run of others is not gone on with.
        block_vox: what an actor makes at once, whole chunks of the output.
        resume: go on with what an equal run has done.
        overwrite: replace an output that exists.
    """

    kind: str
    out: str
    volumes: Mapping[str, Volume]
    voxel_size_nm: VoxelSize | None
    settings: Mapping[str, Any]
    block_vox: Triple
    resume: bool
    overwrite: bool

    def write(
        self, begin: Callable[[Path], M], end: Callable[[M], None] = lambda _: None
    ) -> dict[str, Any]:
        """Write the channels, (c, z, y, x) uint8. A Ray session must have been joined.

        Args:
            begin: returns what makes them; given the ledger's folder, where it may keep files of
                its own until the channels are whole.
            end: given it when all blocks are written, before the output has its name.

        Returns:
            What was done: voxels, blocks, channels, what made them, and seconds.

        Raises:
            InputError: see the sentence; nothing is left then but what `resume` can go on with.
        """
        started = time.perf_counter()
        shape = next(iter(self.volumes.values())).shape
        blocks = plan_blocks(whole(shape), self.block_vox)
        addresses = {name: str(v.address.absolute()) for name, v in self.volumes.items()}
        description = {
            "volumes": {
                name: [addresses[name], fingerprint(volume)]
                for name, volume in self.volumes.items()
            },
            **self.settings,
            "voxel_size_nm": self.voxel_size_nm,
            "blocks": [len(blocks), *self.block_vox],
        }
        own = check_output(self.out, overwrite=self.overwrite).address
        with BlockLedger(own.file, own.dataset, [own.file], kind=self.kind) as ledger:
            (ledger.resume if self.resume else ledger.begin)(description)
            try:
                maker = begin(ledger.path)
                writer = BlockWriter(
                    self.out,
                    ArrayLayout((maker.n_channels, *shape), np.uint8),
                    voxel_size_nm=self.voxel_size_nm,
                    overwrite=self.overwrite,
                    attributes={
                        CHANNELS_OF: maker.made_by,
                        **{name[2:]: address for name, address in addresses.items()},
                    },
                    token=ledger.token,
                    is_begun=self.resume,
                )
                ledger.record()
                n_before = len(ledger.done)
                self._make_blocks((maker, writer.handle), blocks, ledger)
                end(maker)
                writer.commit()
            except BaseException as error:
                ledger.give_up(error, len(blocks), self.out)
                raise
            ledger.remove()
        return {
            "n_voxels": whole(shape).n_voxels,
            "n_blocks": len(blocks),
            "n_blocks_done_before": n_before,
            "n_channels": maker.n_channels,
            "made_by": maker.made_by,
            "seconds": time.perf_counter() - started,
        }

    def _make_blocks(
        self, arguments: tuple[Maker, BlockHandle], blocks: Sequence[Box], ledger: BlockLedger
    ) -> None:
        """Make the blocks that the ledger does not list, with an actor for each CPU at most."""
        missing = [index for index in range(len(blocks)) if index not in ledger.done]
        if not missing:
            return
        n_actors = max(1, min(len(missing), int(actor_room(1, 0))))
        with (
            ActorPool(ChannelActor, arguments, n_actors=n_actors) as pool,
            progress(self.kind, len(blocks)) as bar,
        ):
            bar.advance(len(ledger.done))

            def on_result(index: int, _: None) -> None:
                ledger.record(index)
                bar.advance()

            tasks = ((index, (blocks[index],)) for index in missing)
            pool.run("make", tasks, on_result=on_result)
