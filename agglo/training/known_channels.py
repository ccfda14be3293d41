"""What a training knows of its channels: how many there are, and what made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agglo.training.volume_set import VolumeSet
from agglo.volumes import open_volume
from agglo.volumes.attributes import CHANNELS_OF, name_of_maker
from analysis.input_error import InputError
from envs.feature_groups import CHANNEL_GROUPS


class KnownChannels(NamedTuple):
    """What a training knows of its channels.

    Attributes:
        n_texture: how many channels of texture every volume has.
        made_by: what made the channels of a group, None if it was not said; of those looked at.
    """

    n_texture: int
    made_by: dict[str, str | None]


def know_channels(sets: Sequence[VolumeSet], groups: Sequence[str]) -> KnownChannels:
    """Look into the headers of the channels that some groups of features need.

    Args:
        sets: training volumes, one at least.
        groups: of features.

    Raises:
        InputError: a volume lacks channels, or those of two volumes are not of one kind.
    """
    n_texture, made_by = 0, {}
    for group in CHANNEL_GROUPS:
        if group not in groups:
            continue
        seen: dict[tuple[int, str | None], str] = {}
        for one in sets:
            text = getattr(one, group)
            if text is None:
                raise InputError(
                    f"--features: {group} needs volumes of channels, so --{group} must name one "
                    f"for each of the {len(sets)} image volumes."
                )
            with open_volume(text, argument=f"--{group}") as volume:
                made = volume.attributes.get(CHANNELS_OF)
                # Of an embedding any number of coordinates will do.
                n_channels = len(volume) if group == "texture" else 0
                seen.setdefault((n_channels, made), text)
        if len(seen) > 1:
            (first, *_), (second, *_) = list(seen.items())[:2]
            raise InputError(
                f"--{group}: {seen[first]} and {seen[second]} are not of one kind: "
                f"{_kind(first)} and {_kind(second)}."
            )
        ((n_channels, made_by[group]),) = seen
        n_texture += n_channels
    return KnownChannels(n_texture, made_by)


def _kind(seen: tuple[int, str | None]) -> str:
    n_channels, made = seen
    number = f"{n_channels} channels " if n_channels else "channels "
    return number + ("of nobody knows what" if made is None else f"of {name_of_maker(made)}")
