"""The mask of a volume as bytes, aligned with its voxels, and the areas it covers slice by slice."""

from __future__ import annotations

import gzip

import numpy as np
from numpy.typing import NDArray

from models.payloads import Volume

MASK = "mask.nii.gz"  #: the artifact's name


def nifti(mask: NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    """The mask as NIfTI: axes (slice, row, column) as the volume's, RAS mm; the same bytes each time.

    affine: the volume's, LPS.
    """
    from nibabel.nifti1 import Nifti1Image

    image = Nifti1Image(mask, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)  # type: ignore[no-untyped-call]
    return gzip.compress(image.to_bytes(), mtime=0)


def read_mask(content: bytes) -> NDArray[np.uint8]:
    """The mask that `nifti` wrote: (slices, rows, columns), 1 anterior, 2 posterior."""
    from nibabel.nifti1 import Nifti1Image

    image = Nifti1Image.from_bytes(gzip.decompress(content))
    return np.asarray(image.dataobj).astype(np.uint8)


def areas(inside: NDArray[np.bool_], volume: Volume) -> list[list[float]]:
    """[slice, area in mm2] of each slice that the part is in; slices count from 0, along the normal."""
    cell = float(np.linalg.norm(np.cross(volume.affine[:3, 1], volume.affine[:3, 2])))
    counts = inside.sum((1, 2))
    return [[int(i), round(float(counts[i]) * cell, 1)] for i in np.flatnonzero(counts)]
