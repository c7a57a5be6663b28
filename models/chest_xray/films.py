"""The two data layouts with labels and persons: an npz of thumbnails, a folder of class folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from db.errors import Rejected

CLASSES = ("normal", "bacterial_pneumonia", "viral_pneumonia")
SUFFIXES = (".jpeg", ".jpg", ".png")


@dataclass(frozen=True, kw_only=True)
class Film:
    """One film file, its class and whose it is."""

    path: Path
    label: int  #: index in CLASSES
    person: str


def person_of(name: str) -> str:
    """Whose film a file name says it is; the name itself where it says nothing.

    Kermany's sick children are `person<N>_bacteria_…` and `person<N>_virus_…` (one N is one child, in
    both classes), the healthy ones `[NORMAL2-]IM-<N>-…`.
    """
    if sick := re.match(r"person(\d+)_", name):
        return f"person-{int(sick[1])}"
    if healthy := re.match(r"(?:NORMAL2-)?IM-(\d+)", name):
        return f"im-{int(healthy[1])}"
    return name


def class_folder(data: Path, part: str) -> Path:
    """The folder that holds the class folders: `data` itself, or its `part`, or its only part."""
    for candidate in (data, data / part, data / "test", data / "train"):
        if any((candidate / name).is_dir() for name in CLASSES):
            return candidate
    raise Rejected("no-class-folders", f"expected folders named {', '.join(CLASSES)}; found none of them")


def films(data: Path, part: str = "train") -> list[Film]:
    """Every film under the class folders, by class and name. Raises Rejected when there is none."""
    folder = class_folder(data, part)
    found = [
        Film(path=path, label=label, person=person_of(path.name))
        for label, name in enumerate(CLASSES)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise Rejected("no-films", f"the class folders hold no file ending in {', '.join(SUFFIXES)}")
    return found


def pixels(path: Path) -> NDArray[np.float32]:
    """A film file as (rows, columns), float32 in 0..1; 16-bit greys keep their depth."""
    with PIL.Image.open(path) as image:
        grey = image if image.mode.startswith("I") else image.convert("L")
        scale = 65535.0 if image.mode.startswith("I") else 255.0
        return np.asarray(grey, dtype=np.float32) / np.float32(scale)


def folds(labels: Sequence[int], persons: Sequence[str], count: int, seed: int) -> NDArray[np.int64]:
    """The fold (0..count-1) of each film: classes spread evenly, no person in two folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold = np.zeros(len(labels), dtype=np.int64)
    for index, (_, held) in enumerate(splitter.split(np.zeros(len(labels)), labels, persons)):
        fold[held] = index
    return fold


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """PneumoniaMNIST's layout: (n, 28, 28) float32 in 0..1 and labels 0 normal, 1 pneumonia."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def thumbnails(data: Path, part: str) -> Thumbnails:
    """One part (train, val, test) of an npz. Raises Rejected when the arrays are absent or misshapen."""
    with np.load(data, allow_pickle=False) as arrays:
        names = (f"{part}_images", f"{part}_labels")
        if any(name not in arrays for name in names):
            raise Rejected("no-such-part", f"the npz has {', '.join(arrays)}; expected {' and '.join(names)}")
        images, labels = arrays[names[0]], arrays[names[1]].reshape(-1)
    if images.ndim != 3 or len(images) != len(labels):
        raise Rejected(
            "wrong-shape", f"images are {images.shape}, labels {labels.shape}; expected (n, 28, 28)"
        )
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    return Thumbnails(images=(images / scale).astype(np.float32), labels=labels.astype(np.int64))


def parts(data: Path) -> set[str]:
    """Which of train, val and test an npz has."""
    with np.load(data, allow_pickle=False) as arrays:
        return {name.removesuffix("_images") for name in arrays if name.endswith("_images")}
