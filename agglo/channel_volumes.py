"""Volumes of dense channels beside image and boundary map: read, and checked against a policy.

Channels mean something only to a policy that was trained on channels of the same dictionary or
model. Whoever writes them says in the attribute `channels_of` what made them; where both sides say
it, it must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from agglo.policy_file import Policy
from agglo.volumes import Volume, VoxelSize, open_matching, require_volume
from agglo.volumes.attributes import CHANNELS_OF, name_of_maker
from analysis.input_error import InputError
from envs.channels import NO_CHANNEL, NO_CHANNELS, Channels
from envs.feature_groups import CHANNEL_GROUPS
from envs.feature_layout import layout_of
from envs.region_graph import Core

OPTIONS = tuple(f"--{group}" for group in CHANNEL_GROUPS)


def open_for_policy(
    policy: Policy,
    texts: Mapping[str, str | None],
    voxel_size_nm: VoxelSize | None,
    *,
    texture: str | None,
    embedding: str | None,
) -> tuple[dict[str, Volume], VoxelSize | None]:
    """Open the volumes that a policy is to be applied to; return them by argument, and their size.

    Args:
        policy: that is to be applied.
        texts: argument → address, without channels; what was not given is passed over.
        voxel_size_nm: for volumes that state none.
        texture: address of texture channels, if the policy looks at any.
        embedding: address of an embedding, if the policy looks at one.

    Raises:
        InputError: where one cannot be opened, two do not belong together, or the channels are not
            those that the policy looks at.
    """
    addresses = {**texts, "--texture": texture, "--embedding": embedding}
    volumes, size = open_matching(addresses, voxel_size_nm)
    require_fitting_channels(policy, volumes)
    return volumes, size


def require_fitting_channels(policy: Policy, volumes: Mapping[str, Volume]) -> None:
    """Check that there are the channels that a policy looks at, and no others.

    Args:
        policy: that is to be applied.
        volumes: opened, by argument, those of channels among them.

    Raises:
        InputError: the sentence says which are missing, too many, or of something else.
    """
    layout = layout_of(policy.network.n_features)
    looked_at = {"texture": layout.n_texture > 0, "embedding": layout.has_embedding}
    for group, is_looked_at in looked_at.items():
        volume = volumes.get(f"--{group}")
        if volume is None:
            if is_looked_at:
                raise InputError(f"--{group} is needed: the policy looks at {group}.")
            continue
        if not is_looked_at:
            raise InputError(f"--{group} was given, but the policy looks at no {group}.")
        if volume.ndim == 4 and group == "texture" and len(volume) != layout.n_texture:
            raise InputError(
                f"--texture: {volume.address} has {len(volume)} channels, but the policy looks at "
                f"{layout.n_texture}."
            )
        made, known = volume.attributes.get(CHANNELS_OF), policy.made_by.get(group)
        if made is not None and known is not None and made != known:
            raise InputError(
                f"--{group}: {volume.address} holds channels of {name_of_maker(made)}, but the "
                f"policy was trained on channels of {name_of_maker(known)}."
            )


def read_channels(volumes: Mapping[str, Volume], box: Core | None = None) -> Channels:
    """Read channels, all or of a box; none where no volume of them is among those given.

    Args:
        volumes: by argument.
        box: z, y, x.
    """
    if not set(OPTIONS) & set(volumes):
        return NO_CHANNELS
    texture, embedding = (_read(volumes.get(option), box) for option in OPTIONS)
    return Channels(texture, embedding)


def _read(volume: Volume | None, box: Core | None) -> npt.NDArray[np.uint8]:
    if volume is None:
        return NO_CHANNEL
    if box is None:
        return require_volume(volume, volume.argument, "channels")
    part = volume[(slice(None), *box)] if volume.ndim == 4 else volume
    return require_volume(part, f"{volume.argument}: {volume.address}", "channels")
