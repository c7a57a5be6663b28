"""A model's card: what it is for, what it needs, how good it is, and which exact weights it is."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from db.errors import Misconfigured


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Needs(_Part):
    """Which inputs owe this model a job."""

    kind: Literal[
        "image", "note", "table", "variants", "expression", "sequence", "recording", "molecule", "none"
    ]  #: "none": it reads no input (synthesis)
    scope: Literal["instance", "series", "note"]  #: one job for each of these; a series once it is whole
    modalities: tuple[str, ...] = ()  #: DICOM modalities (images only); empty means any
    features: tuple[str, ...] = ()  #: a table must hold all of these (tables only)
    genes: tuple[str, ...] = ()  #: variants must speak of one of these (variants only)
    alphabet: Literal["", "dna", "protein"] = ""  #: of a sequence; empty means any
    joins: tuple[Literal["variants"], ...] = ()  #: read again with these, when the same case has them


class DataSet(_Part):
    """Where the model learned, or was measured."""

    name: str
    licence: str
    source: str
    use: str  #: training, validation, evaluation


class Figure(_Part):
    """One measured figure with its 95 % confidence interval."""

    dataset: str  #: which data, and that it was not trained on
    metric: str
    value: float
    low: float
    high: float
    n: int  #: cases measured
    published: str = ""  #: the figure to compare with, and its source


class OperatingPoint(_Part):
    """The threshold that turns a probability into positive or negative."""

    finding: str
    threshold: float
    chosen: str  #: on which data, by which rule


class Weights(_Part):
    """One file the model is made of (safetensors, or a rule or term table)."""

    file: str
    sha256: str


class ModelCard(_Part):
    """The card of one model family at one version."""

    name: str
    version: str
    title: str
    question: str  #: the clinical question it answers
    intended_use: str
    limits: tuple[str, ...]
    abstains: tuple[str, ...]  #: reason codes it may abstain with
    licence: str = "Apache-2.0"  #: of the weights
    needs: Needs
    data: tuple[DataSet, ...]
    figures: tuple[Figure, ...]
    operating_points: tuple[OperatingPoint, ...] = ()
    weights: tuple[Weights, ...]
    notes: str = ""  #: comparisons on validation, choices and their reasons
    family: str = ""  #: the name whose code opens it, where that is not its own
    folder: Path = Field(exclude=True)

    @property
    def weights_sha256(self) -> str:
        """The identity of the weights: the file's SHA-256, or that of the sorted list of several."""
        if len(self.weights) == 1:
            return self.weights[0].sha256
        lines = "".join(f"{w.sha256}  {w.file}\n" for w in sorted(self.weights, key=lambda w: w.file))
        return hashlib.sha256(lines.encode()).hexdigest()

    def threshold(self, finding: str) -> float:
        """The operating point of a finding. Raises Misconfigured when the card has none."""
        for point in self.operating_points:
            if point.finding == finding:
                return point.threshold
        raise Misconfigured(f"{self.name}: card.toml has no operating point for {finding!r}; add one")

    def verify(self) -> None:
        """Raises Misconfigured, naming the file, unless every weights file has the card's SHA-256."""
        for weights in self.weights:
            path = self.folder / weights.file
            if not path.is_file():
                raise Misconfigured(f"{self.name}: {weights.file} is missing; restore it from the release")
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != weights.sha256:
                raise Misconfigured(
                    f"{self.name}: {weights.file} has sha256 {found[:12]}…, the card says "
                    f"{weights.sha256[:12]}…; restore the file, or sign a new version on the card"
                )


def read(folder: Path) -> ModelCard:
    """The card in a family's folder. Raises Misconfigured with the file's name when it is malformed."""
    path = folder / "card.toml"
    try:
        return ModelCard(**tomllib.loads(path.read_text("utf-8")), folder=folder)
    except FileNotFoundError:
        raise Misconfigured(
            f"{path.parent.name}: no card.toml; a training that was stopped leaves none: run it again"
        ) from None
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path.parent.name}/card.toml: {error}") from error
