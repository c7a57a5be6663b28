"""The convolutional networks: a small residual network at two sizes, and the average of several."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a network is made of; the weights file holds only numbers."""

    side: int  #: input rows and columns, pixels
    stem: int  #: channels of the first convolution
    kernel: int
    stride: int
    blocks: tuple[tuple[int, int], ...]  #: (channels, stride) of each residual block
    classes: int


#: Films at real resolution: normal, bacterial, viral. The last block keeps 10 x 10 places for Grad-CAM.
FILM = Architecture(
    side=160,
    stem=24,
    kernel=5,
    stride=2,
    blocks=((24, 2), (48, 2), (48, 1), (96, 2), (96, 1), (192, 1)),
    classes=3,
)
#: PneumoniaMNIST's 28 x 28 thumbnails, shown at 32: normal, pneumonia.
THUMBNAIL = Architecture(
    side=32,
    stem=32,
    kernel=3,
    stride=1,
    blocks=((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)),
    classes=2,
)
#: The gate's own network: a frontal, upright, whole film, or anything else.
GATE = Architecture(
    side=64,
    stem=16,
    kernel=3,
    stride=2,
    blocks=((16, 1), (32, 2), (64, 2)),
    classes=2,
)


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He 2015), the shortcut pooled where the block strides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            pool = [nn.AvgPool2d(2, ceil_mode=True)] if stride == 2 else []
            convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(*pool, convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, rows, columns) to (batch, outputs, rows / stride, columns / stride)."""
        y = F.relu(self.norm1(self.first(x)))
        return F.relu(self.norm2(self.second(y)) + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """Stem, residual blocks, mean over places, dropout, one linear layer."""

    def __init__(self, architecture: Architecture, dropout: float = 0.2) -> None:
        super().__init__()
        a = self.architecture = architecture
        layers: list[nn.Module] = [
            nn.Conv2d(1, a.stem, a.kernel, a.stride, a.kernel // 2, bias=False),
            nn.BatchNorm2d(a.stem),
            nn.ReLU(),
        ]
        channels = a.stem
        for outputs, stride in a.blocks:
            layers.append(Block(channels, outputs, stride))
            channels = outputs
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, a.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Standardised images (batch, 1, side, side) to logits (batch, classes)."""
        pooled: Tensor = self.body(x).mean((2, 3))
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


def standardise(x: Tensor) -> Tensor:
    """Each image to mean 0 and deviation 1, so that exposure and window do not count. (B, 1, H, W)."""
    return (x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-4)


def views(x: Tensor, zooms: tuple[float, ...]) -> list[Tensor]:
    """The image and its mirror, each at every zoom (1.1 shows the central 1/1.1). Lungs have two sides:
    a mirrored film is still a film, and the mean of the views is steadier than any one."""
    seen = []
    for zoom in zooms:
        y = x
        if zoom != 1:
            scale = torch.tensor([[1 / zoom, 0, 0], [0, 1 / zoom, 0]], dtype=x.dtype, device=x.device)
            grid = F.affine_grid(scale.expand(len(x), 2, 3), list(x.shape), align_corners=False)
            y = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        seen += [y, y.flip(3)]
    return seen


def average_logits(members: list[ResidualNetwork], x: Tensor, zooms: tuple[float, ...] = (1.0,)) -> Tensor:
    """Mean logits of all members over all views of images in 0..1. (B, 1, side, side) to (B, classes)."""
    total = torch.stack([m(standardise(v)) for v in views(x, zooms) for m in members])
    return total.mean(0)


def fused(member: ResidualNetwork) -> ResidualNetwork:
    """The member, in evaluation mode, with each normalisation multiplied into the convolution before it."""
    found = copy.deepcopy(member).eval()
    for module in list(found.modules()):
        parts = list(module.named_children())
        for (first, convolution), (second, norm) in pairwise(parts):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, first, fuse_conv_bn_eval(convolution, norm))
                setattr(module, second, nn.Identity())
    return found


class Together(nn.Module):
    """All members on a film and its mirror as one network, for a back-end to compute.

    What it gives, (batch, classes + cells): the mean logits, then the cells of a Grad-CAM map (Selvaraju
    2017) of sick against normal, summed over the members. Behind the last block come a mean and a linear
    layer alone, so that the map's gradient is known without a pass backwards.
    """

    def __init__(self, members: list[ResidualNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(fused(member) for member in members)

    def forward(self, x: Tensor) -> Tensor:
        """Images in 0..1, (batch, 1, side, side)."""
        upright, mirrored = views(x, (1.0,))
        upright, mirrored = standardise(upright), standardise(mirrored)
        told = [_explained(cast(ResidualNetwork, m), upright, mirrored) for m in self.members]
        logits = torch.stack([mean for mean, _ in told]).mean(0)
        cells = torch.stack([cam for _, cam in told]).sum(0)
        return torch.cat([logits, cells.flatten(1)], 1)


class Strangeness(nn.Module):
    """The gate's members on a picture and its mirror as one network: how strange the picture is."""

    def __init__(self, members: list[ResidualNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(fused(member) for member in members)

    def forward(self, x: Tensor) -> Tensor:
        """Images in 0..1, (batch, 1, side, side), to the second class's logit over the first's (batch, 1)."""
        both = torch.cat([standardise(view) for view in views(x, (1.0,))])
        logits = torch.stack([member(both) for member in self.members]).mean(0)
        margin = logits[:, 1:2] - logits[:, 0:1]
        # halves by reshape: `chunk` would fix the batch's size in an exported graph
        halves: Tensor = margin.reshape(2, -1, 1)
        return (halves[0] + halves[1]) / 2


def _explained(member: ResidualNetwork, upright: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
    """A member's mean logits over both views, and its map of the first (batch, rows, columns)."""
    features = member.body(upright)
    logits: Tensor = member.head(features.mean((2, 3)))
    weight = member.head.weight
    gradient = logits[:, 1:].softmax(1) @ weight[1:] - weight[0]
    cam = (gradient[:, :, None, None] * features).sum(1) / (features.shape[2] * features.shape[3])
    return (logits + member(mirrored)) / 2, cam.clamp_min(0)


def pack(members: list[nn.Module]) -> dict[str, Tensor]:
    """The members' numbers as one table of half-precision tensors, named `0.head.weight`, ...

    Half precision halves the file; counters of batches seen are of no use and left out.
    """
    return {
        f"{index}.{name}": tensor.detach().cpu().half().contiguous()
        for index, member in enumerate(members)
        for name, tensor in member.state_dict().items()
        if tensor.is_floating_point()
    }


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Members that answer together, with the temperatures of their questions (models/calibration.py)."""

    members: list[ResidualNetwork]
    temperatures: tuple[
        float, ...
    ]  #: pneumonia or not; and where three classes are known, bacterial or viral

    @classmethod
    def read(cls, path: Path, architecture: Architecture, device: str) -> Ensemble:
        """From a file that `write` made."""
        tensors = load_file(path)
        temperatures = tuple(tensors.pop("temperatures").tolist())
        return cls(members=unpack(tensors, architecture, device), temperatures=temperatures)

    def write(self, path: Path) -> None:
        """One safetensors file, the members' numbers in half precision."""
        save_file(pack(list(self.members)) | {"temperatures": torch.tensor(self.temperatures)}, path)


def unpack(tensors: Mapping[str, Tensor], architecture: Architecture, device: str) -> list[ResidualNetwork]:
    """The members of a table written by `pack`, single precision, in evaluation mode on the device."""
    count = 1 + max(int(name.split(".", 1)[0]) for name in tensors)
    members = []
    for index in range(count):
        member = ResidualNetwork(architecture)
        prefix = f"{index}."
        state = {n.removeprefix(prefix): t.float() for n, t in tensors.items() if n.startswith(prefix)}
        missing, unexpected = member.load_state_dict(state, strict=False)
        lost = [name for name in missing if not name.endswith("num_batches_tracked")]
        if lost or unexpected:
            raise ValueError(f"weights of another network: missing {lost[:3]}, unexpected {unexpected[:3]}")
        member.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        members.append(member.eval())
    return members
