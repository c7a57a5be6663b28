"""The opened model: a cropped MR volume in, outlines and volumes of both parts of the hippocampus out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from db.errors import Abstained
from db.records import SNOMED, WETREAD, Code, Diagnosis, Finding
from models.backends import REFERENCE, build
from models.card import ModelCard
from models.hippocampus_mr import frame
from models.hippocampus_mr.mask import MASK, areas, nifti
from models.hippocampus_mr.network import STRIDE, unpack
from models.hippocampus_mr.segment import Outline, outlines
from models.payloads import Payload, Volume

# No terminology that we know of names the volume of a part; the whole is the structure's own code.
ANTERIOR = Code(value="anterior-hippocampus-volume", system=WETREAD, meaning="Volume of anterior hippocampus")
POSTERIOR = Code(
    value="posterior-hippocampus-volume", system=WETREAD, meaning="Volume of posterior hippocampus"
)
WHOLE = Code(value="5366008", system=SNOMED, meaning="Hippocampal structure")
CAUTION = (
    "volumes of a hippocampus cropped by hand or by another program, of research participants; "
    "the line between anterior and posterior is a convention at the head's end"
)
PARTS = (
    ("anterior", ANTERIOR, (1,)),
    ("posterior", POSTERIOR, (2,)),
    ("whole", WHOLE, (1, 2)),
)
STRUCTURE = ("5366008", "SCT", "Hippocampus")  #: as DICOM codes it (PS3.16 CID 7140)
MODIFIERS = {"anterior": ("255549009", "SCT", "Anterior"), "posterior": ("255551008", "SCT", "Posterior")}


class HippocampusMr:
    """Anterior and posterior hippocampus on a cropped MR volume."""

    def __init__(self, card: ModelCard, device: str) -> None:
        self.card = card
        self.device = device
        self.network = unpack(load_file(card.folder / "unet.safetensors"), device)
        self.backend = REFERENCE
        self._compute: Callable[[Tensor], Tensor] = self.network
        self.limits: dict[str, Any] = json.loads((card.folder / "limits.json").read_text("utf-8"))

    def use(self, backend: str) -> None:
        """Computes the network by another back-end."""
        example = torch.zeros(2, 1, 2 * STRIDE, 3 * STRIDE, 4 * STRIDE, device=self.device)
        self._compute = build(backend, self.network, example, dict.fromkeys((2, 3, 4), STRIDE))
        self.backend = backend

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a payload, in order. Raises FloatingPointError when an answer is not finite."""
        diagnoses: dict[int, Diagnosis] = {}
        ready: dict[int, Volume] = {}
        for place, payload in enumerate(payloads):
            try:
                ready[place] = _accepted(payload)
            except Abstained as refusal:
                diagnoses[place] = Diagnosis.abstain(refusal.code, refusal.sentence)
        found = outlines(self._compute, list(ready.values()), self.device)
        for (place, volume), one in zip(ready.items(), found, strict=True):
            try:
                diagnoses[place] = self._diagnosis(volume, one)
            except Abstained as refusal:
                diagnoses[place] = Diagnosis.abstain(refusal.code, refusal.sentence)
        return [diagnoses[place] for place in range(len(payloads))]

    def _diagnosis(self, volume: Volume, found: Outline) -> Diagnosis:
        """Raises Abstained when the outline is no hippocampus'."""
        if found.sureness < self.card.threshold("expected_dice"):
            raise Abstained(
                "no-hippocampus",
                f"no hippocampus was outlined with any certainty (expected Dice {found.sureness:.2f})",
            )
        findings = [self._finding(name, code, labels, volume, found) for name, code, labels in PARTS]
        if all(finding.abstained for finding in findings):
            raise Abstained("implausible-volume", "no part has a size that was ever met in training")
        return Diagnosis(findings=tuple(findings), artifacts={MASK: nifti(found.mask, volume.affine)})

    def _finding(
        self,
        name: str,
        code: Code,
        labels: tuple[int, ...],
        volume: Volume,
        found: Outline,
    ) -> Finding:
        inside = np.isin(found.mask, labels)
        voxel = float(abs(np.linalg.det(volume.affine[:3, :3])))
        value, limits = round(float(inside.sum()) * voxel, 1), self.limits[name]
        low, high = limits["plausible_mm3"]
        reason = None
        if not low <= value <= high:
            reason = f"implausible-volume: {value:.0f} mm3 lies outside {low:.0f} to {high:.0f} mm3"
        spread = limits["relative_error_95"]
        evidence = {
            "kind": "segmentation",
            "artifact": MASK,
            "labels": list(labels),
            "structure": list(STRUCTURE),
            "modifier": list(MODIFIERS.get(name, ())),
            "measured_mm3": value,
            "interval_mm3": [round(value * (1 - spread), 1), round(value * (1 + spread), 1)],
            "plausible_mm3": [low, high],
            "slices": areas(inside, volume),
            "doubtful_voxels": int((inside & (found.doubt > 0.3)).sum()),
            "expected_dice": round(found.sureness, 4),
            "mirrored": found.mirrored,
            "expected_dice_other_way": round(found.other, 4),
            "caution": CAUTION,
        }
        return Finding(
            code=code, positive=False if reason else None, value=None if reason else value, unit="mm3",
            site=name, abstained=reason is not None, reason=reason, evidence=evidence,
        )  # fmt: skip


def _accepted(payload: Payload) -> Volume:
    """The volume; raises Abstained by header and geometry."""
    if not isinstance(payload, Volume):
        raise Abstained("wrong-modality", "a volume was expected")
    frame.refuse(payload)
    return payload
