"""Cropped hippocampus on T1 MR: anterior and posterior part outlined, their volumes in mm3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from db.records import Diagnosis, Finding
from models.card import ModelCard
from models.payloads import Payload, Volume
from models.registry import Explanation, Model

HERE = Path(__file__).parent


def load(card: ModelCard, device: str) -> Model:
    """The model with the card's weights on the device. Imports torch."""
    from models.hippocampus_mr.model import HippocampusMr

    return HippocampusMr(card, device)


def example() -> Volume:
    """An invented volume, no person's: see example/README.txt. As a transverse series in DICOM's frame."""
    import numpy as np
    from safetensors.numpy import load_file

    stored = load_file(HERE / "example" / "volume.safetensors")[
        "voxels"
    ]  # (foot-head, front-back, left-right)
    return Volume(
        voxels=stored.astype(np.float32),
        affine=np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64),
        modality="MR",
        spacing_mm=(1.0, 1.0, 1.0),
    )


def variations(count: int = 48) -> list[Volume]:
    """The invented volume turned, cut, mirrored, shaded and grained: to compare back-ends on."""
    from models.hippocampus_mr.invent import varied

    return varied(example(), count)


def alike(expected: Diagnosis, given: Diagnosis) -> tuple[int, int]:
    """(voxels outlined alike, voxels that either outlines) of two readings of one volume."""
    from models.hippocampus_mr.mask import MASK, read_mask

    one, other = (read_mask(diagnosis.artifacts[MASK]) for diagnosis in (expected, given))
    either = (one > 0) | (other > 0)
    return int((one == other)[either].sum()), int(either.sum())


def render(payload: Payload, findings: Sequence[Finding], artifacts: Mapping[str, bytes]) -> Explanation:
    """The slices with both parts outlined, their volumes and a legend, as a PNG."""
    from models.hippocampus_mr import view

    if not isinstance(payload, Volume):
        raise TypeError(f"a volume was expected, got {type(payload).__name__}")
    return view.render(payload, findings, artifacts)
