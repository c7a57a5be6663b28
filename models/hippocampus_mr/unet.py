"""The network as it serves: MONAI's DynUNet without the heads of training, in torch alone.

Importing MONAI takes a worker seconds that its users wait for. Names of the weights and every answer are
those of `network.build`, which a test holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

SLOPE = 0.01  #: of the leaky ReLU


class Wrapped(nn.Module):
    """One convolution under the name `conv`, as MONAI wraps it."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """The convolution."""
        found: Tensor = self.conv(x)
        return found


class Block(nn.Module):
    """Two convolutions, each with batch normalisation and leaky ReLU; the first may halve the sides."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Wrapped(nn.Conv3d(before, after, 3, stride, 1, bias=False))
        self.conv2 = Wrapped(nn.Conv3d(after, after, 3, 1, 1, bias=False))
        self.lrelu = nn.LeakyReLU(SLOPE, inplace=True)
        self.norm1, self.norm2 = nn.BatchNorm3d(after), nn.BatchNorm3d(after)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, before, ...) to (batch, after, ...)."""
        x = self.lrelu(self.norm1(self.conv1(x)))
        found: Tensor = self.lrelu(self.norm2(self.conv2(x)))
        return found


class Up(nn.Module):
    """Doubles the sides, joins what came down at that size, and a block."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.transp_conv = Wrapped(nn.ConvTranspose3d(before, after, 2, 2, bias=False))
        self.conv_block = Block(2 * after, after, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(batch, before, ...) and (batch, after, twice the sides) to the latter's shape."""
        found: Tensor = self.conv_block(torch.cat((self.transp_conv(x), skip), dim=1))
        return found


class UNet(nn.Module):
    """(batch, 1, ...) to logits (batch, classes, ...). filters: channels a level, from the finest on."""

    def __init__(self, filters: Sequence[int], classes: int) -> None:
        super().__init__()
        inner = pairwise(filters[:-1])
        self.input_block = Block(1, filters[0], 1)
        self.downsamples = nn.ModuleList(Block(before, after, 2) for before, after in inner)
        self.bottleneck = Block(filters[-2], filters[-1], 2)
        self.upsamples = nn.ModuleList(Up(before, after) for before, after in pairwise(filters[::-1]))
        self.output_block = Wrapped(Wrapped(nn.Conv3d(filters[0], classes, 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Down, across the bottom, and up again; every side of x is a multiple of network.STRIDE."""
        kept = [self.input_block(x)]
        for down in self.downsamples:
            kept.append(down(kept[-1]))
        x = self.bottleneck(kept[-1])
        for up, skip in zip(self.upsamples, reversed(kept), strict=True):
            x = up(x, skip)
        logits: Tensor = self.output_block(x)
        return logits
