"""From a series' own axes to the training frame and back: turned upright, 1 mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from db.errors import Abstained
from models.payloads import Volume

SPACING_MM = (0.8, 1.25)  #: of all three axes; training volumes have 1 mm and were scaled by .85 to 1.2
EXTENT_MM = (24.0, 70.0)  #: likewise; training volumes reach from 24 to 59 mm
LEAN_DEGREES = 25.0  #: by how much an axis may lie off the patient's; in training 15
NEAR = 0.02  #: a spacing this close to 1 mm is left as it is

Array = NDArray[np.float32]


def refuse(volume: Volume) -> None:
    """Raises Abstained unless the volume is a crop of a hippocampus' size on MR, by header and geometry."""
    if volume.modality != "MR":
        raise Abstained("wrong-modality", "an MR volume was expected")
    if not volume.even:
        raise Abstained("uneven-slices", "the slices are not parallel and equally far apart")
    extents = [n * s for n, s in zip(volume.voxels.shape, volume.spacing_mm, strict=True)]
    if not all(SPACING_MM[0] <= s <= SPACING_MM[1] for s in volume.spacing_mm) or not all(
        EXTENT_MM[0] <= e <= EXTENT_MM[1] for e in extents
    ):
        raise Abstained(
            "not-cropped-hippocampus",
            f"a crop of 24 to 70 mm a side at 0.8 to 1.25 mm was expected, got {_by(extents)} mm "
            f"at {_by(volume.spacing_mm)} mm",
        )
    if not np.isfinite(volume.voxels).all() or np.ptp(volume.voxels) == 0:
        raise Abstained("empty", "the voxels are all alike, or some are no numbers")
    if lean_degrees(volume) > LEAN_DEGREES:
        raise Abstained("oblique", "an axis lies more than 25 degrees off the patient's axes")


def _by(sizes: Any) -> str:
    return " x ".join(f"{s:.4g}" for s in sizes)


def lean_degrees(volume: Volume) -> float:
    """The largest angle between one of the volume's axes and the nearest of the patient's."""
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(axes).max(0), 0, 1))).max())


@dataclass(frozen=True, kw_only=True)
class Upright:
    """How one volume's axes lie to the training frame, whose indices grow to the right, front and head."""

    axes: tuple[int, ...]  #: which of the volume's axes each axis of the frame is
    flipped: tuple[int, ...]  #: axes of the frame that run against the volume's
    shape: tuple[int, ...]  #: of the upright array at its own spacing
    working: tuple[int, ...]  #: the same at 1 mm

    @classmethod
    def of(cls, volume: Volume) -> Upright:
        """From the volume's affine, which is LPS as DICOM's is. No axis may lean (`refuse`)."""
        ras = np.diag([-1.0, -1.0, 1.0]) @ volume.affine[:3, :3]
        axes = tuple(int(a) for a in np.abs(ras / np.linalg.norm(ras, axis=0)).argmax(1))
        shape = tuple(volume.voxels.shape[a] for a in axes)
        spacing = [volume.spacing_mm[a] for a in axes]
        return cls(
            axes=axes,
            flipped=tuple(place for place, a in enumerate(axes) if ras[place, a] < 0),
            shape=shape,
            working=tuple(
                n if abs(s - 1) <= NEAR else round(n * s) for n, s in zip(shape, spacing, strict=True)
            ),
        )

    def image(self, voxels: Array) -> Array:
        """The voxels upright at 1 mm."""
        upright = np.ascontiguousarray(np.flip(voxels.transpose(self.axes), self.flipped), np.float32)
        resized: Array = _resized(upright[None], self.working)[0]
        return resized

    def shares(self, shares: Array) -> Array:
        """Class shares (classes, ...) of the training frame on the volume's own grid, upright still."""
        return _resized(shares, self.shape)

    def own(self, upright: NDArray[Any]) -> NDArray[Any]:
        """An upright array in the volume's own order of axes."""
        return np.ascontiguousarray(np.flip(upright, self.flipped).transpose(np.argsort(self.axes)))


def _resized(stack: Array, size: tuple[int, ...]) -> Array:
    """(channels, ...) at another size, linearly between voxel centres."""
    if stack.shape[1:] == size:
        return stack
    found = F.interpolate(torch.from_numpy(stack)[None], size, mode="trilinear", align_corners=False)
    result: Array = found[0].numpy()
    return result
