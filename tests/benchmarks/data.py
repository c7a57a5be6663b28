"""The files that are measured on: CT-like slices, chest films and notes, all invented."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from builders import dicom_bytes, film_dicom, note_bytes

ROOT = "1.2.826.0.1.3680043.10.1.7"
_runs = itertools.count(1)


def slices(folder: Path, studies: int, each: int, side: int = 512) -> list[Path]:
    """CT-like instances of 16 bits, `each` a study, every one with pixels of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1)
    rows, columns = np.mgrid[:side, :side] - side / 2
    body = np.where(rows**2 / 1.6 + columns**2 < (side * 0.42) ** 2, 1040, 0)
    paths, run = [], next(_runs)
    for study, number in itertools.product(range(studies), range(each)):
        uid = f"{ROOT}.{run}.{study + 1}"
        pixels = (body + noise.integers(0, 60, (side, side))).astype(np.uint16)
        path = folder / f"{study:04}-{number:04}.dcm"
        path.write_bytes(
            dicom_bytes(
                pixels=pixels,
                modality="CT",
                bits=12,
                patient_id=f"P-{run}-{study}",
                study_uid=uid,
                series_uid=f"{uid}.1",
                sop_uid=f"{uid}.1.{number + 1}",
                InstanceNumber=number + 1,
                RescaleSlope=1,
                RescaleIntercept=-1024,
                ImagePositionPatient=[0, 0, float(number)],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            )
        )
        paths.append(path)
    return paths


def films(folder: Path, studies: int, each: int = 1) -> list[Path]:
    """Chest films as DX objects, `each` a study, made from the family's invented ones."""
    from models.chest_xray import variations

    folder.mkdir(parents=True, exist_ok=True)
    paths, run = [], next(_runs)
    for index, image in enumerate(variations(studies * each)):
        study, number = divmod(index, each)
        uid = f"{ROOT}.{run}.{study + 1}"
        path = folder / f"{study:04}-{number:04}.dcm"
        path.write_bytes(
            film_dicom(
                image.pixels, view="AP", patient_id=f"P-{run}-{study}", study_uid=uid,
                series_uid=f"{uid}.1", sop_uid=f"{uid}.1.{number + 1}", InstanceNumber=number + 1,
            )
        )  # fmt: skip
        paths.append(path)
    return paths


def note(number: int) -> bytes:
    """A short note, unlike every other."""
    return note_bytes(f"Visit {number}: cough for {number % 9 + 1} days. No fever.", patient_id=str(number))
