"""Training volumes from NIfTI: images and labels in the training frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.errors import Rejected
from models.payloads import Volume

CLIP = (0.5, 99.5)  #: percentiles; file maxima run from 4 to 1.7 million


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One volume in the training frame: indices grow to the right, the front and the head (RAS)."""

    name: str
    image: NDArray[np.float32]  #: (left to right, back to front, foot to head), as the file has it
    label: NDArray[np.uint8]  #: 0 background, 1 anterior, 2 posterior
    spacing_mm: tuple[float, float, float]

    def payload(self) -> Volume:
        """The volume as service is given it."""
        affine = np.diag([-self.spacing_mm[0], -self.spacing_mm[1], self.spacing_mm[2], 1.0])
        return Volume(voxels=self.image, affine=affine, modality="MR", spacing_mm=self.spacing_mm)


def standardise(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clipped to its own 0.5-99.5 percentiles, then mean 0 and deviation 1: scanners share no scale."""
    low, high = np.percentile(image, CLIP)
    clipped = np.clip(image, low, high)
    result: NDArray[np.float32] = ((clipped - clipped.mean()) / (clipped.std() + 1e-6)).astype(np.float32)
    return result


def _canonical(path: Path) -> Any:
    """A NIfTI image with its axes turned to the training frame."""
    import nibabel

    return nibabel.as_closest_canonical(nibabel.load(path))  # type: ignore[no-untyped-call]


def read(folder: Path) -> list[Labelled]:
    """Every volume of a folder with `images/` and `labels/` of the same file names, by name.

    Raises Rejected where the layout is another, or an image and its label differ in size.
    """
    found: list[Labelled] = []
    for path in sorted((folder / "images").glob("*.nii*")):
        other = folder / "labels" / path.name
        if not other.is_file():
            raise Rejected("unknown-layout", f"labels/ lacks the label of image {len(found) + 1}")
        image, label = _canonical(path), _canonical(other)
        if image.shape != label.shape:
            raise Rejected(
                "sizes-differ", f"image {len(found) + 1} is {image.shape}, its label {label.shape}"
            )
        zooms = image.header.get_zooms()
        found.append(
            Labelled(
                name=path.name.split(".")[0],
                image=np.asarray(image.dataobj, np.float32),
                label=np.asarray(label.dataobj).astype(np.uint8),
                spacing_mm=(float(zooms[0]), float(zooms[1]), float(zooms[2])),
            )
        )
    if not found:
        raise Rejected("unknown-layout", "expected a folder with images/*.nii.gz and labels/*.nii.gz")
    return found
