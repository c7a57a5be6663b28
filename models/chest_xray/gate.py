"""The gate: refuses what the networks were not made for, by its header and by its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from db.errors import Abstained
from models.backends import build
from models.chest_xray.network import GATE, ResidualNetwork, Strangeness, average_logits, unpack
from models.payloads import Image

MODALITIES = ("CR", "DX", "RG")
FRONTAL = ("", "AP", "PA", "APAX", "PAAX", "AP AXIAL", "PA AXIAL", "ANTERO-POSTERIOR", "POSTERO-ANTERIOR")
LATERAL_WORDS = ("LATERAL", "OBLIQUE", "DECUBITUS", "LORDOTIC")
CHEST_WORDS = ("CHEST", "THORAX", "LUNG", "RIB", "PULMON", "TORAX", "POITRINE")
SMALLEST = 128  #: rows and columns; training films had 275 or more
SMOOTHEST = 0.55  #: correlation of neighbouring places below which a picture is noise
SIDE = 32  #: rows and columns on which the shape of a film is judged


def refuse_header(image: Image) -> None:
    """Raises Abstained unless the header allows a single grey frontal chest radiograph.

    What the header does not say is not held against the film: its pixels decide.
    """
    if image.modality not in MODALITIES:
        raise Abstained("wrong-modality", f"read {' and '.join(MODALITIES)} radiographs only")
    if image.frames > 1:
        raise Abstained("multi-frame", f"the object holds {image.frames} frames; one film was expected")
    if image.colour:
        raise Abstained("colour", "the channels differ; a film is grey")
    if image.burned_in:
        raise Abstained("burned-in", "text is burned into the pixels")
    if image.body_part and not any(word in image.body_part.upper() for word in CHEST_WORDS):
        raise Abstained("not-chest", "BodyPartExamined names another part than the chest")
    words = image.description.upper()
    if image.view_position.upper() not in FRONTAL or any(word in words for word in LATERAL_WORDS):
        raise Abstained("not-frontal", "the view is not a frontal (PA or AP) one")


def refuse_pixels(image: Image) -> None:
    """Raises Abstained when there is too little to look at."""
    pixels = image.pixels
    if not np.isfinite(pixels).all():
        raise Abstained("empty", "pixel values are not finite")
    if min(pixels.shape) < SMALLEST:
        rows, columns = pixels.shape
        raise Abstained("too-small", f"the film has {rows} x {columns} pixels; {SMALLEST} a side are needed")
    if pixels.max() - pixels.min() < 0.02 or pixels.std() < 0.01:
        raise Abstained("empty", "all pixels have nearly the same grey")


def smoothness(square: NDArray[np.float32]) -> float:
    """Correlation of each place with its right neighbour: near 1 in any picture, near 0 in noise."""
    left, right = square[:, :-1].ravel(), square[:, 1:].ravel()
    spread = float(left.std() * right.std())
    return float(((left - left.mean()) * (right - right.mean())).mean()) / spread if spread > 1e-6 else 0.0


def small(squares: Tensor, side: int) -> Tensor:
    """Prepared films (n, 1, s, s) shrunk to (n, 1, side, side), every pixel weighed."""
    return F.interpolate(squares, (side, side), mode="bilinear", antialias=True, align_corners=False)


def shapes(squares: Tensor) -> Tensor:
    """What the shape model sees: (n, SIDE * SIDE), each row standardised, double precision."""
    flat = small(squares, SIDE).flatten(1).double()
    return (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + 1e-4)


@dataclass(frozen=True, kw_only=True)
class ShapeModel:
    """Probabilistic principal components (Tipping & Bishop 1999) of what films look like."""

    mean: Tensor  #: (d,)
    components: Tensor  #: (k, d), orthonormal rows
    variances: Tensor  #: (k,)
    noise: float  #: variance left in each other direction

    @classmethod
    def learn(cls, rows: Tensor, count: int) -> ShapeModel:
        """From standardised films (n, d); n must exceed count."""
        mean = rows.mean(0)
        _, singular, right = torch.linalg.svd(rows - mean, full_matrices=False)
        variances = singular**2 / (len(rows) - 1)
        noise = float(variances[count:].sum() / (rows.shape[1] - count))
        return cls(mean=mean, components=right[:count], variances=variances[:count], noise=max(noise, 1e-6))

    def distance(self, rows: Tensor) -> Tensor:
        """Mahalanobis distance squared per dimension: about 1 for a film like those learnt. (n,)."""
        centred = rows - self.mean
        along = centred @ self.components.T
        left = (centred**2).sum(1) - (along**2).sum(1)
        total = (along**2 / self.variances).sum(1) + left.clamp_min(0) / self.noise
        return total / rows.shape[1]


class Gate:
    """The pixel gate with its learnt parts and limits, on one device."""

    def __init__(self, tensors: Mapping[str, Tensor], device: str) -> None:
        network = {n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")}
        self.members: list[ResidualNetwork] = unpack(network, GATE, device)
        self.network = Strangeness(self.members).eval()
        self._compute: Callable[[Tensor], Tensor] = self.network
        self.shape = ShapeModel(
            mean=tensors["shape.mean"].double().to(device),
            components=tensors["shape.components"].double().to(device),
            variances=tensors["shape.variances"].double().to(device),
            noise=float(tensors["shape.noise"]),
        )
        self.strangeness_limit = float(tensors["limit.strangeness"])
        self.distance_limit = float(tensors["limit.distance"])

    def strangeness(self, squares: Tensor) -> Tensor:
        """Logit of being something other than a frontal, upright, whole film. (n,)."""
        return self._compute(small(squares, GATE.side))[:, 0]

    def use(self, backend: str) -> None:
        """Computes the network's logit by another back-end; the shape stays in double precision."""
        example = torch.zeros(2, 1, GATE.side, GATE.side, device=self.shape.mean.device)
        self._compute = build(backend, self.network, example)

    def refuse(self, squares: Tensor) -> list[Abstained | None]:
        """For each prepared film (n, 1, side, side), why it is refused, or None."""
        strange = self.strangeness(squares).tolist()
        distance = self.shape.distance(shapes(squares)).tolist()
        verdicts: list[Abstained | None] = []
        for square, s, d in zip(squares[:, 0].cpu().numpy(), strange, distance, strict=True):
            if not (np.isfinite(s) and np.isfinite(d)):
                raise FloatingPointError("the gate's network returned a number that is not finite")
            if smoothness(square) < SMOOTHEST:
                verdicts.append(Abstained("empty", "the pixels are noise, neighbours hardly agree"))
            elif s > self.strangeness_limit or d > self.distance_limit:
                sentence = "the picture does not look like an upright frontal chest film of a child"
                verdicts.append(Abstained("out-of-domain", sentence))
            else:
                verdicts.append(None)
        return verdicts


def margins(members: list[ResidualNetwork], squares: Tensor) -> Tensor:
    """Logit of the second class over the first, mean of members and mirror views. (n,)."""
    logits = average_logits(members, small(squares, GATE.side))
    return logits[:, 1] - logits[:, 0]
