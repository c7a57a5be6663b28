"""Augmentation: one resampling does crop, turn, scale and elastic change; then contrast, blur and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

CROP = (32, 48, 32)  #: voxels; the volumes are about 35 x 51 x 36


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far each change may go; chances are per crop."""

    turn_degrees: float = 15.0
    scale: tuple[float, float] = (0.85, 1.2)
    elastic_mm: float = 2.5  #: deviation of the displacement at 8 mm knots, at most
    elastic_chance: float = 0.4
    gamma: tuple[float, float] = (0.7, 1.5)
    noise: float = 0.15  #: deviation, of a standardised image
    coarse_chance: float = 0.2  #: low resolution
    blur_chance: float = 0.2
    chance: float = 0.3  #: of each other change of intensity


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _turn(changes: Augmentation) -> Tensor:
    """A random rotation about all three axes times a scale. (3, 3)."""
    matrix = torch.eye(3)
    if torch.rand(()) < 0.6:
        for a, b in ((0, 1), (0, 2), (1, 2)):
            angle = math.radians(_uniform(-changes.turn_degrees, changes.turn_degrees))
            plane = torch.eye(3)
            plane[a, a] = plane[b, b] = math.cos(angle)
            plane[a, b], plane[b, a] = -math.sin(angle), math.sin(angle)
            matrix = matrix @ plane
    return matrix / _uniform(*changes.scale)


def _places(size: tuple[int, ...], changes: Augmentation) -> Tensor:
    """Where in a volume of this size each voxel of a random crop is taken from, in voxels. (*CROP, 3)."""
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in CROP]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) @ _turn(changes).T
    if torch.rand(()) < changes.elastic_chance:
        knots = torch.randn(1, 3, *(n // 8 + 1 for n in CROP)) * _uniform(0, changes.elastic_mm)
        grid = grid + F.interpolate(knots, CROP, mode="trilinear", align_corners=True)[0].movedim(0, -1)
    centre = [
        (n - 1) / 2 + _uniform(-1, 1) * (max(n - c, 0) / 2 + 2) for n, c in zip(size, CROP, strict=True)
    ]
    return grid + torch.tensor(centre)


def crop(image: Tensor, onehot: Tensor, changes: Augmentation) -> tuple[Tensor, Tensor]:
    """A changed crop of one volume.

    image (1, D, H, W), standardised; onehot (2, D, H, W), anterior and posterior. Returns the crop
    (1, *CROP) and its labels (*CROP), int64; what lies outside repeats the edge and is background.
    """
    size = tuple(image.shape[1:])
    span = torch.tensor([max(n - 1, 1) for n in size], dtype=torch.float32)
    grid = (2 * _places(size, changes) / span - 1).flip(-1)[None]  # grid_sample wants x, y, z
    seen = F.grid_sample(image[None], grid, padding_mode="border", align_corners=True)[0]
    parts = F.grid_sample(onehot[None], grid, padding_mode="zeros", align_corners=True)[0]
    labels = torch.cat([1 - parts.sum(0, keepdim=True), parts]).argmax(0)
    return seen, labels


def intensity(x: Tensor, changes: Augmentation) -> Tensor:
    """Blur, low resolution, contrast, brightness, gamma and noise on one crop (1, D, H, W)."""
    if torch.rand(()) < changes.coarse_chance:
        small = [max(4, round(n / _uniform(1, 2))) for n in x.shape[1:]]
        x = F.interpolate(F.interpolate(x[None], small, mode="nearest"), x.shape[1:], mode="trilinear")[0]
    if torch.rand(()) < changes.blur_chance:
        x = torch.lerp(x, F.avg_pool3d(x[None], 3, 1, 1, count_include_pad=False)[0], _uniform(0, 1))
    if torch.rand(()) < changes.chance:
        mean = x.mean()
        x = (x - mean) * _uniform(0.7, 1.3) + mean
    if torch.rand(()) < changes.chance:
        x = x + _uniform(-0.3, 0.3)
    if torch.rand(()) < changes.chance:
        low, high = x.min(), x.max()
        mean, deviation = x.mean(), x.std()
        y = ((x - low) / (high - low + 1e-6)) ** _uniform(*changes.gamma)
        x = (y - y.mean()) / (y.std() + 1e-6) * deviation + mean
    if torch.rand(()) < changes.chance:
        x = x + torch.randn_like(x) * _uniform(0, changes.noise)
    return x
