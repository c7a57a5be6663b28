"""A family on tables as data: features, classes, columns of the data set, members of the ensemble."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from db.errors import Misconfigured
from models.features import Feature, dictionary


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Class(_Part):
    """One answer of the classifier."""

    labels: tuple[str, ...]  #: as the data set spells it
    value: str = ""  #: code; the first class of two is the absence of the second and has none
    system: str = ""
    meaning: str


class Derived(_Part):
    """A column computed from two features; not known where either is not."""

    name: str
    how: Literal["product", "ratio", "difference"]
    of: tuple[str, str]
    scale: float = 1.0  #: what the second is multiplied with first


class Bend(_Part):
    """Where a line may bend: a column of how far a feature lies beyond a point."""

    of: str
    at: float
    side: Literal["above", "below"]


class Helper(_Part):
    """A column that is known of training patients alone and tells how ill they were; never an input."""

    column: str
    how: Literal["plain", "log", "logit", "is"]
    word: str = ""  #: what the column must be, of `is`
    least: float = 1.0  #: what lies below is taken for this before a logarithm


class Member(_Part):
    """One estimator of the ensemble; its parameters are scikit-learn's, or those of `shared.Plan`."""

    name: str
    kind: Literal["logistic", "boosting", "forest", "extra-trees", "support", "perceptron", "shared"]
    view: Literal["plain", "curves", "trees"]
    parameters: Mapping[str, Any] = {}
    seeds: int = 1  #: so many fits with different seeds are averaged
    keep: int = 0  #: so many columns are selected by their F score first; 0: all
    weight: float = 1.0  #: of its log-odds in the mean; 0: compared only


class Recipe(_Part):
    """How a family is made; `recipe.toml` of its folder."""

    name: str
    target: str  #: column of the data set
    features: tuple[str, ...]  #: what the model is given, by name
    columns: Mapping[str, str] = {}  #: feature -> the data set's column, where it has another name
    also: Mapping[str, str] = {}  #: feature -> another that may hold its value
    absent: Mapping[str, tuple[str, ...]] = {}  #: feature -> what else means "not known" in the data set
    only: Mapping[str, tuple[str, ...]] = {}  #: feature -> categories that were learnt from, if it is given
    logs: tuple[str, ...] = ()  #: features seen through log(1 + x)
    derived: tuple[Derived, ...] = ()
    bends: tuple[Bend, ...] = ()
    helpers: tuple[Helper, ...] = ()
    knots: int = 6  #: pieces of a curve in the view `curves`
    folds: int = 10  #: of the predictions that it is calibrated and compared on
    divisions: int = 1  #: into folds, each by another seed, that the figures are the mean of
    fewest_known: float = 0.5  #: share of the features that must be known
    informative: tuple[str, ...] = ()  #: features whose absence tells, unless all of them are absent
    groups: Mapping[str, str] = {}  #: column of the data set -> what subgroups it makes
    risk: bool = False  #: the answer is a risk: its level is calibrated too, and given as the value
    specificity: float | None = None  #: the threshold is chosen for it; else it is 1/2
    sought: str = ""  #: the operating point's name on the card
    classes: tuple[Class, ...]
    members: tuple[Member, ...]
    folder: Path

    def feature(self, name: str) -> Feature:
        """The dictionary's entry of a feature. Raises Misconfigured when there is none."""
        try:
            return dictionary()[name]
        except KeyError:
            raise Misconfigured(f"{self.name}/recipe.toml: no schema has a feature {name!r}") from None


@cache
def read(folder: Path) -> Recipe:
    """The recipe in a family's folder. Raises Misconfigured with the file's name when it is malformed."""
    try:
        return Recipe(**tomllib.loads((folder / "recipe.toml").read_text("utf-8")), folder=folder)
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(f"{folder.name}/recipe.toml: {error}") from error
