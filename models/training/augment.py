"""Training images and signals as others might have taken them: turned, cropped, brighter, noisier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Images:
    """How far 2-D images, (batch, channels, rows, columns) in 0..1, may be changed; 0 switches a change off.

    Every draw comes from torch's global generator, so a seeded run repeats. For what the anatomy does
    not allow (a mirrored chest has its heart on the right) leave the flip off.
    """

    flip: float = 0.0  #: chance of left for right
    rotation_degrees: float = 10.0
    crop: float = 0.15  #: up to this share of each side is cut away and the rest enlarged
    shift: float = 0.1  #: of the side
    gamma: float = 0.3  #: of the logarithm
    contrast: float = 0.2
    brightness: float = 0.1
    noise: float = 0.03  #: standard deviation
    erase: float = 0.0  #: side of a box that is blanked, of the image's side, at most

    def __call__(self, x: Tensor) -> Tensor:
        """The changed batch, same shape."""
        return self._shaded(self._placed(x)).clamp(0, 1)

    def _placed(self, x: Tensor) -> Tensor:
        """Rotation, crop, shift and flip in one resampling."""
        import torch
        import torch.nn.functional as F

        count, _, rows, columns = x.shape
        angle = _even(count) * math.radians(self.rotation_degrees)
        size = 1 - self.crop * torch.rand(count)
        mirror = 1 - 2 * (torch.rand(count) < self.flip).float()
        ratio = rows / columns  # a turn is one of the picture, not of its unit square
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = angle.cos() * size * mirror
        theta[:, 0, 1] = -angle.sin() * size * ratio
        theta[:, 1, 0] = angle.sin() * size * mirror / ratio
        theta[:, 1, 1] = angle.cos() * size
        theta[:, :, 2] = _even(count, 2) * (2 * self.shift)
        grid = F.affine_grid(theta.to(x.device), list(x.shape), align_corners=False)
        # the edge again, not black: a black border is no film's and is learnt
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _shaded(self, x: Tensor) -> Tensor:
        """Gamma, contrast, brightness, noise and a blank box."""
        import torch

        def draw(far: float) -> Tensor:
            return (_even(len(x), 1, 1, 1) * far).to(x.device)

        x = x.clamp(1e-4, 1) ** draw(self.gamma).exp()
        x = (x - 0.5) * (1 + draw(self.contrast)) + 0.5 + draw(self.brightness)
        x = x + self.noise * torch.randn(x.shape).to(x.device)
        return self._erased(x) if self.erase else x

    def _erased(self, x: Tensor) -> Tensor:
        import torch

        count, _, rows, columns = x.shape
        half = self.erase * torch.rand(count, 1, 1) / 2
        down = torch.linspace(0, 1, rows)[None, :, None] - torch.rand(count, 1, 1)
        across = torch.linspace(0, 1, columns)[None, None, :] - torch.rand(count, 1, 1)
        box = (down.abs() < half) & (across.abs() < half)
        return x.masked_fill(box[:, None].to(x.device), 0.0)


@dataclass(frozen=True, kw_only=True)
class Signals:
    """How far signals, (batch, leads, samples), may be changed; 0 switches a change off.

    Seeded as `Images` is. Noise and drift are relative to each signal's own standard deviation.
    """

    gain: float = 0.2  #: of the logarithm, each lead apart
    flip: float = 0.0  #: chance of a lead upside down (electrodes swapped)
    drop: float = 0.0  #: chance of a lead flat, never all of them
    shift: float = 0.05  #: of the length, earlier or later; the edge value goes on
    stretch: float = 0.1  #: faster or slower, of the logarithm
    drift: float = 0.1  #: slow wander of the baseline
    noise: float = 0.03  #: standard deviation

    def __call__(self, x: Tensor) -> Tensor:
        """The changed batch, same shape."""
        import torch

        count, leads, _ = x.shape
        x = self._timed(x)
        scale = x.std(dim=2, keepdim=True)
        sign = 1 - 2 * (torch.rand(count, leads, 1) < self.flip).float()
        x = x * ((_even(count, leads, 1) * self.gain).exp() * sign).to(x.device)
        x = x + scale * (self.drift * self._wander(x) + self.noise * torch.randn(x.shape).to(x.device))
        return self._dropped(x) if self.drop else x

    def _timed(self, x: Tensor) -> Tensor:
        """Shift and stretch in one resampling."""
        import torch
        import torch.nn.functional as F

        count = len(x)
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = (_even(count) * self.stretch).exp()
        theta[:, 0, 2] = _even(count) * (2 * self.shift)
        theta[:, 1, 1] = 1
        grid = F.affine_grid(theta.to(x.device), [count, x.shape[1], 1, x.shape[2]], align_corners=False)
        return F.grid_sample(x[:, :, None], grid, padding_mode="border", align_corners=False)[:, :, 0]

    @staticmethod
    def _wander(x: Tensor) -> Tensor:
        """(batch, leads, samples) slow sines of half a turn to two over the signal."""
        import torch

        count, leads, samples = x.shape
        turns = 0.5 + 1.5 * torch.rand(count, leads, 1)
        phase = torch.rand(count, leads, 1)
        time = torch.linspace(0, 1, samples)
        return torch.sin(2 * math.pi * (turns * time + phase)).to(x.device)

    def _dropped(self, x: Tensor) -> Tensor:
        import torch

        count, leads, _ = x.shape
        kept = torch.rand(count, leads, 1) >= self.drop
        spared = torch.randint(0, leads, (count, 1, 1))
        kept = kept | (torch.arange(leads)[None, :, None] == spared)
        return x * kept.to(x.device)


def _even(*shape: int) -> Tensor:
    """Even draws from -1 to 1, on the CPU so that every device draws the same."""
    import torch

    return torch.rand(*shape) * 2 - 1
