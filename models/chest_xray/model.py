"""The opened model: films in, one diagnosis each; gate, networks, operating points, heat map."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from db.errors import Abstained
from db.records import SNOMED, Code, Diagnosis, Finding
from models.card import ModelCard
from models.chest_xray.gate import Gate, refuse_header, refuse_pixels
from models.chest_xray.measure import bacterial, pneumonia
from models.chest_xray.network import FILM, Ensemble, ResidualNetwork, average_logits, standardise
from models.chest_xray.prepare import Prepared, prepare
from models.payloads import Image, Payload

PNEUMONIA = Code(value="233604007", system=SNOMED, meaning="Pneumonia")
BACTERIAL = Code(value="53084003", system=SNOMED, meaning="Bacterial pneumonia")
VIRAL = Code(value="75570004", system=SNOMED, meaning="Viral pneumonia")
HEAT_MAP = "grad-cam.png"
CAUTION = (
    "trained on children aged 1 to 5 from one hospital; the map shows where the network looked, "
    "not the extent of disease"
)
BATCH = 16  #: films a forward pass, so that memory stays flat however many are given


class ChestXray:
    """Pneumonia or not, bacterial or viral, on frontal chest radiographs."""

    def __init__(self, card: ModelCard, device: str) -> None:
        self.card = card
        self.device = device
        films = Ensemble.read(card.folder / "films.safetensors", FILM, device)
        self.members = films.members
        self.temperature, self.kind_temperature = films.temperatures
        self.gate = Gate(load_file(card.folder / "gate.safetensors"), device)

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a payload, in order. Raises FloatingPointError when an answer is not finite."""
        diagnoses: list[Diagnosis | None] = [None] * len(payloads)
        ready: list[tuple[int, Prepared]] = []
        for index, payload in enumerate(payloads):
            try:
                ready.append((index, self._accept(payload)))
            except Abstained as refusal:
                diagnoses[index] = Diagnosis.abstain(refusal.code, refusal.sentence)
        for start in range(0, len(ready), BATCH):
            part = ready[start : start + BATCH]
            for (index, _), diagnosis in zip(part, self._read([film for _, film in part]), strict=True):
                diagnoses[index] = diagnosis
        return [d for d in diagnoses if d is not None]

    @staticmethod
    def _accept(payload: Payload) -> Prepared:
        """The film prepared; raises Abstained by header and by too little content."""
        if not isinstance(payload, Image):
            raise Abstained("wrong-modality", "an image was expected")
        refuse_header(payload)
        refuse_pixels(payload)
        return prepare(payload.pixels, FILM.side)

    def _read(self, films: list[Prepared]) -> list[Diagnosis]:
        squares = torch.from_numpy(np.stack([f.pixels for f in films]))[:, None].to(self.device)
        with torch.inference_mode():
            refusals = self.gate.refuse(squares)
            keep = [i for i, refusal in enumerate(refusals) if refusal is None]
            logits = average_logits(self.members, squares[keep]) if keep else torch.zeros(0, FILM.classes)
        answers = logits.double().cpu().numpy()
        if not np.isfinite(answers).all():
            raise FloatingPointError("the network returned a number that is not finite")
        sick = pneumonia(answers, self.temperature) >= self.card.threshold("pneumonia")
        positive = [i for i, called in zip(keep, sick, strict=True) if called]
        maps = dict(zip(positive, self.heat(squares[positive]), strict=True)) if positive else {}
        told = dict(zip(keep, answers, strict=True))
        return [
            Diagnosis.abstain(refusal.code, refusal.sentence)
            if refusal is not None
            else self._diagnosis(told[i], films[i], maps.get(i))
            for i, refusal in enumerate(refusals)
        ]

    def heat(self, squares: Tensor) -> NDArray[np.float32]:
        """Grad-CAM (Selvaraju 2017) of pneumonia against normal, mean of the members.

        squares: prepared films (n, 1, side, side). Returns (n, side, side), each scaled to a largest
        value of 1.
        """
        from captum.attr import LayerGradCam

        seen = standardise(squares).clone().requires_grad_()
        total = torch.zeros(len(squares), 1, FILM.side, FILM.side, device=squares.device)
        for member in self.members:

            def margin(x: Tensor, member: ResidualNetwork = member) -> Tensor:
                logits: Tensor = member(x)
                return logits[:, 1:].logsumexp(1) - logits[:, 0]

            cam = LayerGradCam(margin, member.body[-1]).attribute(seen, relu_attributions=True).detach()
            total += F.interpolate(cam, (FILM.side, FILM.side), mode="bicubic", align_corners=False)
        total = total.clamp_min(0)
        peak = total.amax((2, 3), keepdim=True).clamp_min(1e-12)
        found: NDArray[np.float32] = (total / peak)[:, 0].float().cpu().numpy()
        return found

    def _diagnosis(
        self, logits: NDArray[np.float64], film: Prepared, heat: NDArray[np.float32] | None
    ) -> Diagnosis:
        probability = float(pneumonia(logits[None], self.temperature)[0])
        threshold = self.card.threshold("pneumonia")
        if heat is None:
            evidence: dict[str, object] = {"caution": CAUTION}
            return Diagnosis(findings=(_finding(PNEUMONIA, probability, threshold, evidence),))
        first = _finding(PNEUMONIA, probability, threshold, _where(heat, film))
        artifacts = {HEAT_MAP: _png(heat)}
        kind = self._kind(float(bacterial(logits[None], self.kind_temperature)[0]))
        return Diagnosis(findings=(first, *kind), artifacts=artifacts)

    def _kind(self, probability: float) -> tuple[Finding, Finding]:
        """Bacterial and viral, given pneumonia; both left open between the two operating points."""
        points = ((BACTERIAL, probability), (VIRAL, 1 - probability))
        thresholds = [self.card.threshold(name) for name in ("bacterial_pneumonia", "viral_pneumonia")]
        answered = any(p >= t for (_, p), t in zip(points, thresholds, strict=True))
        reason = None if answered else "indeterminate: bacterial and viral are too alike on this film"
        one, two = (
            _finding(code, p, t, {"given": "pneumonia"}, reason)
            for (code, p), t in zip(points, thresholds, strict=True)
        )
        return one, two


def _finding(
    code: Code, probability: float, threshold: float, evidence: dict[str, object], reason: str | None = None
) -> Finding:
    return Finding(
        code=code,
        positive=probability >= threshold,
        probability=probability,
        threshold=threshold,
        abstained=reason is not None,
        reason=reason,
        evidence=evidence,
    )


def _where(heat: NDArray[np.float32], film: Prepared) -> dict[str, object]:
    """The heat map's peak and extent in source pixels."""
    side = heat.shape[0]
    row, column = divmod(int(heat.argmax()), side)
    peak_row, peak_column = film.source((row + 0.5) / side, (column + 0.5) / side)
    return {
        "kind": "grad-cam",
        "artifact": HEAT_MAP,
        "peak_row": peak_row,
        "peak_column": peak_column,
        "rows": film.rows,
        "columns": film.columns,
        "top": film.top,  # the part of the film that the map covers
        "bottom": film.bottom,
        "left": film.left,
        "right": film.right,
        "caution": CAUTION,
    }


def _png(heat: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(np.round(heat * 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
