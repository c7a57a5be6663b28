"""Training images as other hospitals might have taken them: place, contrast, exposure, sharpness, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far each change may go; every draw comes from torch's seeded generator."""

    rotation_degrees: float = 10.0
    zoom: tuple[float, float] = (0.8, 1.2)
    aspect: float = 0.1  #: relative stretch of rows against columns
    shift: float = 0.15  #: of the side
    gamma: float = 0.35  #: of the logarithm
    contrast: float = 0.25
    brightness: float = 0.15
    shading: float = 0.2  #: slow change of brightness over the film
    noise: float = 0.04
    cutout: float = 0.3  #: largest side of the box blanked, of the side
    padding: str = "border"  #: beyond the film: its edge again, or zeros (black)
    mixup: float = 0.2  #: Beta(a, a) of the mixing share; 0 switches it off


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.empty(count, 1, 1, 1).uniform_(low, high)


def _place(x: Tensor, side: int, a: Augmentation) -> Tensor:
    """Rotation, zoom, stretch, shift and mirror in one resampling: (B, 1, side, side)."""
    count = len(x)
    angle = torch.empty(count).uniform_(-1, 1) * math.radians(a.rotation_degrees)
    zoom = torch.empty(count).uniform_(math.log(a.zoom[0]), math.log(a.zoom[1])).exp()
    stretch = (torch.empty(count).uniform_(-1, 1) * a.aspect).exp()
    mirror = torch.randint(0, 2, (count,)) * 2.0 - 1
    shift = torch.empty(count, 2).uniform_(-a.shift, a.shift) * 2
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = angle.cos() / zoom * stretch * mirror
    theta[:, 0, 1] = -angle.sin() / zoom
    theta[:, 1, 0] = angle.sin() / zoom * mirror
    theta[:, 1, 1] = angle.cos() / zoom / stretch
    theta[:, :, 2] = shift
    grid = F.affine_grid(theta, [count, 1, side, side], align_corners=False)
    return F.grid_sample(x, grid, padding_mode=a.padding, align_corners=False)


def _shade(x: Tensor, a: Augmentation) -> Tensor:
    """Gamma, contrast, brightness and slow shading."""
    count, side = len(x), x.shape[-1]
    x = x.clamp(1e-4, 1) ** (_uniform(count, -a.gamma, a.gamma).exp())
    x = (x - 0.5) * _uniform(count, 1 - a.contrast, 1 + a.contrast) + 0.5
    field = torch.empty(count, 1, 4, 4).uniform_(-a.shading, a.shading)
    smooth = F.interpolate(field, (side, side), mode="bilinear", align_corners=True)
    return x + smooth + _uniform(count, -a.brightness, a.brightness)


def _blur(x: Tensor) -> Tensor:
    """Each image sharpened or softened by an unsharp mask of random sign."""
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return x + _uniform(len(x), -0.8, 0.6) * (x - soft)


def _cut(x: Tensor, a: Augmentation) -> Tensor:
    """Half of the images lose one box, filled with the image's mean: no one place may decide alone."""
    count, side = len(x), x.shape[-1]
    places = torch.arange(side).float().expand(count, side)
    boxes = []
    for _ in range(2):
        centre = torch.rand(count, 1) * side
        half = torch.rand(count, 1) * a.cutout * side / 2
        boxes.append((places - centre).abs() < half)
    hit = boxes[0][:, None, :, None] & boxes[1][:, None, None, :]
    hit &= torch.rand(count, 1, 1, 1) < 0.5
    return torch.where(hit, x.mean((2, 3), keepdim=True), x)


def augment(x: Tensor, side: int, a: Augmentation) -> Tensor:
    """Images in 0..1, (B, 1, rows, columns), as changed images (B, 1, side, side)."""
    x = _blur(_shade(_place(x, side, a), a))
    x = x + torch.randn_like(x) * torch.rand(len(x), 1, 1, 1) * a.noise
    return _cut(x, a)


def mix(x: Tensor, shares: Tensor, a: Augmentation) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang 2018): each image and its class shares blended with a random neighbour's."""
    if not a.mixup:
        return x, shares
    share = torch.distributions.Beta(a.mixup, a.mixup).sample((len(x),))
    other = torch.randperm(len(x))
    wide = share[:, None, None, None]
    return wide * x + (1 - wide) * x[other], share[:, None] * shares + (1 - share[:, None]) * shares[other]
