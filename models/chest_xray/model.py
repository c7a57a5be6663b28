"""The opened model: films in, one diagnosis each; gate, networks, operating points, heat map."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from db.errors import Abstained
from db.records import SNOMED, Code, Diagnosis, Finding
from models.backends import REFERENCE, build, pinned
from models.card import ModelCard
from models.chest_xray.gate import Gate, refuse_header, refuse_pixels
from models.chest_xray.measure import bacterial, pneumonia
from models.chest_xray.network import FILM, Ensemble, Together
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

    abreast = True

    def __init__(self, card: ModelCard, device: str) -> None:
        self.card = card
        self.device = device
        films = Ensemble.read(card.folder / "films.safetensors", FILM, device)
        self.members = films.members
        self.temperature, self.kind_temperature = films.temperatures
        self.backend = REFERENCE
        self.network = Together(self.members).eval()
        self._compute: Callable[[Tensor], Tensor] = self.network
        self.gate = Gate(load_file(card.folder / "gate.safetensors"), device)

    def use(self, backend: str) -> None:
        """Computes the networks' logits, the gate's too, by another back-end."""
        example = torch.zeros(2, 1, FILM.side, FILM.side, device=self.device)
        self._compute = build(backend, self.network, example)
        self.gate.use(backend)
        self.backend = backend

    def examine(self, payloads: Sequence[Payload]) -> list[Diagnosis]:
        """One diagnosis a payload, in order. Raises FloatingPointError when an answer is not finite."""
        return self.examine_prepared([self.prepare(payload) for payload in payloads])

    def prepare(self, payload: Payload) -> Prepared | Abstained:
        """The film as the networks take it, or why it is refused, by header or for too little content."""
        try:
            if not isinstance(payload, Image):
                raise Abstained("wrong-modality", "an image was expected")
            refuse_header(payload)
            refuse_pixels(payload)
            return prepare(payload.pixels, FILM.side)
        except Abstained as refusal:
            return refusal

    def examine_prepared(self, prepared: Sequence[Prepared | Abstained]) -> list[Diagnosis]:
        """As `examine`, of what `prepare` made."""
        films = [p for p in prepared if isinstance(p, Prepared)]
        parts = (films[start : start + BATCH] for start in range(0, len(films), BATCH))
        answers = (diagnosis for part in parts for diagnosis in self._read(part))
        return [
            next(answers) if isinstance(p, Prepared) else Diagnosis.abstain(p.code, p.sentence)
            for p in prepared
        ]

    def _read(self, films: list[Prepared]) -> list[Diagnosis]:
        squares = pinned(torch.from_numpy(np.stack([f.pixels for f in films]))[:, None], self.device)
        with torch.inference_mode():
            refusals = self.gate.refuse(squares)
            keep = [i for i, refusal in enumerate(refusals) if refusal is None]
            told = self._compute(squares[keep]).cpu() if keep else torch.zeros(0, FILM.classes)
        answers = told[:, : FILM.classes].double().numpy()
        if not np.isfinite(answers).all():
            raise FloatingPointError("the network returned a number that is not finite")
        sick = pneumonia(answers, self.temperature) >= self.card.threshold("pneumonia")
        shown = iter(_shown(told[torch.from_numpy(sick), FILM.classes :])) if sick.any() else iter(())
        maps = {i: next(shown) for i, called in zip(keep, sick, strict=True) if called}
        told_by_film = dict(zip(keep, answers, strict=True))
        return [
            Diagnosis.abstain(refusal.code, refusal.sentence)
            if refusal is not None
            else self._diagnosis(told_by_film[i], films[i], maps.get(i))
            for i, refusal in enumerate(refusals)
        ]

    def heat(self, squares: Tensor) -> NDArray[np.float32]:
        """Grad-CAM (Selvaraju 2017) of pneumonia against normal, mean of the members.

        squares: prepared films (n, 1, side, side). Returns (n, side, side), each scaled to a largest
        value of 1.
        """
        with torch.inference_mode():
            return _shown(self._compute(squares)[:, FILM.classes :])

    def _diagnosis(
        self, logits: NDArray[np.float64], film: Prepared, heat: NDArray[np.float32] | None
    ) -> Diagnosis:
        probability = float(pneumonia(logits[None], self.temperature)[0])
        threshold = self.card.threshold("pneumonia")
        if heat is None:
            evidence: dict[str, object] = {"kind": "probability", "caution": CAUTION}
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
            _finding(code, p, t, _against(p, other), reason)
            for (code, p), t, other in zip(points, thresholds, ("viral", "bacterial"), strict=True)
        )
        return one, two


def _against(probability: float, other: str) -> dict[str, object]:
    """What the answer to one of two kinds rests on: the calibrated odds against the other kind."""
    sure = min(max(probability, 1e-6), 1 - 1e-6)
    return {
        "kind": "comparison",
        "given": "pneumonia",
        "against": f"{other} pneumonia",
        "log_odds": round(math.log(sure / (1 - sure)), 4),
    }


def _shown(cells: Tensor) -> NDArray[np.float32]:
    """Maps (n, cells) as smooth ones (n, side, side) of the film's side, each with a largest value of 1."""
    side = round(cells.shape[1] ** 0.5)
    maps = cells.float().reshape(len(cells), 1, side, side)
    smooth = F.interpolate(maps, (FILM.side, FILM.side), mode="bicubic", align_corners=False).clamp_min(0)
    peak = smooth.amax((2, 3), keepdim=True).clamp_min(1e-12)
    found: NDArray[np.float32] = (smooth / peak)[:, 0].cpu().numpy()
    return found


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
    PIL.Image.fromarray(np.round(heat * 255).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
