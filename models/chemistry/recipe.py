"""How a family on molecules is trained and served, as its recipe.toml says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

FILE = "recipe.toml"
MEMBERS = ("kernel ridge", "support vectors", "gradient boosting", "extremely randomised trees")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Part):
    """The columns of the data set's own layout."""

    smiles: str
    answer: str
    classes: tuple[str, ...] = ()  #: how no and yes are written; none: the answer is a number
    aim: str = ""  #: the measured value that the classes were cut from; ridge and trees learn it where given
    aim_within: tuple[float, float] | None = (
        None  #: values outside are drawn in: far off the cut they tell little
    )


class Kernel(_Part):
    """The kernel machine: ridge regression in the space of similarities."""

    descriptors: float  #: share of the descriptors' similarity; the rest is the fragments'
    width: float  #: similarity is exp(-width * mean squared distance) of standardised descriptors
    ridge: float


class Support(_Part):
    """The support vector machine on a kernel of the same making; it learns the answer itself."""

    descriptors: float  #: share of the descriptors' similarity
    penalty: float  #: C


class Trees(_Part):
    """The gradient boosted trees; several, each with a seed of its own."""

    copies: int
    rounds: int
    rate: float
    leaves: int
    columns: float  #: share of the columns that each node may choose from
    penalty: float  #: on the size of leaf values


class Forest(_Part):
    """The extremely randomised trees, where a recipe has them."""

    trees: int
    leaf: int  #: molecules that a leaf must hold
    columns: float  #: share of the columns that each node may choose from


class Gate(_Part):
    """Outside of what a molecule is not answered about."""

    similarity: float  #: least Tanimoto similarity (ECFP6 counts) to the likest training molecule
    fewest_atoms: int  #: heavy ones
    most_atoms: int


class Asked(_Part):
    """The finding."""

    code: str
    system: str
    meaning: str
    unit: str = ""  #: of a value; UCUM where it has one
    value_name: str = ""  #: how people call the value


class Recipe(_Part):
    """A family's whole recipe."""

    name: str
    answers: Literal["class", "value"]
    folds: Literal["scaffold", "structure"]  #: what is kept in one fold
    columns: Columns
    kernel: Kernel
    support: Support
    trees: Trees
    forest: Forest | None = None
    gate: Gate
    asked: Asked

    @property
    def classifies(self) -> bool:
        """Whether the answer is a probability rather than a value."""
        return self.answers == "class"

    @property
    def members(self) -> tuple[str, ...]:
        """Those that are blended, in the order of their scores."""
        return MEMBERS if self.forest else MEMBERS[:3]


def read(folder: Path) -> Recipe:
    """The recipe in a family's folder. Raises OSError and ValueError (pydantic's) of a wrong one."""
    return Recipe(**tomllib.loads((folder / FILE).read_text("utf-8")))
