"""The shape of a boundary network as JSON says it, and back."""

from __future__ import annotations

from typing import Any

from predict.box import Triple
from predict.convnet import ConvNetConfig
from predict.dawmr import DawmrConfig
from predict.dawmr_shape import FeatureConfig, ScaleConfig
from predict.unet import UNetConfig

Network = UNetConfig | ConvNetConfig | DawmrConfig

_KINDS: dict[type, str] = {UNetConfig: "unet", ConvNetConfig: "convnet", DawmrConfig: "dawmr"}


def kind_of(network: Network) -> str:
    """Return the name of a kind of network, as `--model` takes it."""
    return _KINDS[type(network)]


def network_of(described: dict[str, Any]) -> Network:
    """Return the shape of a network from what `dataclasses.asdict` and `kind_of` said of it.

    Version 1 of model folders knew U-Nets only, and named no kind; before version 5 there were no
    embeddings.

    Raises:
        KeyError, TypeError, ValueError: the description is of no network.
    """
    kind = described.get("kind", "unet")
    if kind == "dawmr":
        return DawmrConfig(
            iterations=tuple(map(_features, described["iterations"])),
            hidden=described["hidden"],
            in_channels=described["in_channels"],
            dropout=described["dropout"],
        )
    widths = tuple(described["widths"])
    kernels = tuple(map(_triple, described["kernels"]))
    n_in = described["in_channels"]
    if kind == "convnet":
        return ConvNetConfig(widths, kernels, n_in)
    if kind != "unet":
        raise ValueError(f"network of kind {kind!r}")
    return UNetConfig(
        widths=widths,
        shrinks=tuple(map(_triple, described["shrinks"])),
        kernels=kernels,
        head_width=described["head_width"],
        in_channels=n_in,
        embedding=described.get("embedding", 0),
    )


def _features(described: dict[str, Any]) -> FeatureConfig:
    scales = tuple(
        ScaleConfig(
            _triple(scale["factor"]), _triple(scale["patch"]), tuple(map(_triple, scale["pools"]))
        )
        for scale in described["scales"]
    )
    return FeatureConfig(
        scales, tuple(described["atoms"]), described["threshold"], described["contrast_floor"]
    )


def _triple(values: list[int]) -> Triple:
    z, y, x = values
    return z, y, x
