from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from analysis.input_error import InputError
from envs import statistics as st
from envs.channels import (
    NO_CHANNELS,
    ChannelCounts,
    Channels,
    columns_of,
    count_channels,
    require_channels,
)
from tests.envs.random_tissue import random_channels


def test_columns_by_hand() -> None:
    assert columns_of(0, 0) == (st.N_REGION_STATISTICS, st.N_CONTACT_STATISTICS) == (23, 26)
    assert columns_of(2, 0) == (25, 28)
    assert columns_of(0, 3) == (27, 27)
    assert columns_of(2, 3) == (29, 29)


@given(hs.integers(0, 99), hs.integers(0, 99))
def test_columns_tell_which_channels_there_are(texture: int, embedding: int) -> None:
    assert count_channels(*columns_of(texture, embedding)) == ChannelCounts(texture, embedding)


@pytest.mark.parametrize("columns", [(22, 26), (23, 25), (24, 26), (23, 27), (23, 99)])
def test_columns_of_no_channels_are_refused(columns: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="which no channels beside 23 and 26 statistics do"):
        count_channels(*columns)


def test_channels_are_8_bit_and_of_one_shape() -> None:
    require_channels(NO_CHANNELS, (2, 3, 4))
    channels = random_channels(0, (2, 3, 4), 2, 5)
    assert channels.counts == (2, 5)
    require_channels(channels, (2, 3, 4))
    with pytest.raises(InputError, match=r"texture has shape \(2, 2, 3, 4\) but superpixels has"):
        require_channels(channels, (2, 4, 3))
    wide: Any = channels.embedding.astype(np.float32)
    with pytest.raises(InputError, match="embedding must be uint8, not float32"):
        require_channels(Channels(channels.texture, wide), (2, 3, 4))
