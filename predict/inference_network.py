"""A trained network rewritten for prediction: the same function in fewer passes over memory."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from predict.boundary_network import BoundaryNetwork
from predict.compute_device import ComputeDevice
from predict.convnet import BoundaryConvNet
from predict.unet import BoundaryUNet, ResidualBlock

Network = TypeVar("Network", bound=BoundaryNetwork)


class FoldedBlock(nn.Module):
    """A residual block in evaluation: two convolutions, each followed by a rectification.

    Normalisation in evaluation is a scale and a shift of every channel, which go into the weights
    (Jacob et al. 2018, arXiv 1712.05877, section 3.2), and adding a block's input to a convolution
    of it is the same convolution with 1 more at the centre of each channel's own kernel.
    """

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.first = fuse_conv_bn_eval(block.first, block.first_norm)
        self.second = fuse_conv_bn_eval(block.second, block.second_norm)
        z, y, x = (size // 2 for size in self.second.kernel_size)
        with torch.no_grad():
            self.second.weight[:, :, z, y, x] += torch.eye(self.second.out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, width, z, y, x) features."""
        return self.second(self.first(x).relu_()).relu_()


def for_inference(network: Network, device: ComputeDevice) -> Network:
    """Return a copy of a network that computes the same faster, in the device's arithmetic.

    Args:
        network: in evaluation mode, on any device; not changed.
        device: where the copy will run. Where it computes in bfloat16 all weights become bfloat16,
            so that no tensor is converted on the way.
    """
    assert not network.training
    folded = copy.deepcopy(network).cpu().float()
    if isinstance(folded, BoundaryUNet):
        for blocks in (folded.encoder, folded.decoder):
            for index, block in enumerate(blocks):
                assert isinstance(block, ResidualBlock)
                blocks[index] = FoldedBlock(block)
    elif isinstance(folded, BoundaryConvNet):
        for index, (layer, norm) in enumerate(zip(folded.hidden, folded.norms, strict=True)):
            assert isinstance(layer, nn.Conv3d)
            assert isinstance(norm, nn.BatchNorm3d)
            folded.hidden[index] = fuse_conv_bn_eval(layer, norm)
            folded.norms[index] = nn.Identity()
    folded.requires_grad_(False)
    dtype = torch.bfloat16 if device.bfloat16 else torch.float32
    folded.to(device.torch_device, dtype, memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]
    return folded
