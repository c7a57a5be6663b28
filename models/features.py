"""The dictionary of features: what a table's columns mean, in which unit, for every family that asks."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from db.errors import Misconfigured

HERE = Path(__file__).parent


class Feature(BaseModel):
    """One thing that is known of a patient."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    meaning: str
    kind: Literal["number", "category"]
    unit: str = ""  #: UCUM, of a number: models are given it in this one; "1" for counts and ratios
    low: float | None = None  #: a number below is a slip of the pen: refused
    high: float | None = None  #: likewise above
    categories: Mapping[str, str] = {}  #: name -> meaning
    synonyms: Mapping[str, str] = {}  #: what else a category is called ("m", "1") -> its name
    names: tuple[str, ...] = ()  #: what else the column is called
    units: Mapping[str, float] = {}  #: further UCUM units (molar ones) -> factor to `unit`
    codes: tuple[str, ...] = ()  #: "http://loinc.org|2085-9": the codes that FHIR and HL7 name it by


def read(folder: Path) -> dict[str, Feature]:
    """The features of a family's `schema.toml`. Raises Misconfigured with the file's name."""
    return _entries(folder / "schema.toml")


def _entries(path: Path) -> dict[str, Feature]:
    try:
        entries = tomllib.loads(path.read_text("utf-8"))
        return {name: Feature(**entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError) as error:
        raise Misconfigured(f"{path.parent.name}/{path.name}: {error}") from error


@cache
def dictionary() -> Mapping[str, Feature]:
    """Every feature that some family asks for, by its name: the common ones, and each family's own.

    Families that share a name must mean the same: raises Misconfigured where two entries differ.
    """
    found = _entries(HERE / "features.toml")
    for path in sorted(HERE.glob("*/schema.toml")):
        for name, feature in read(path.parent).items():
            if found.setdefault(name, feature) != feature:
                raise Misconfigured(f"{path.parent.name}/schema.toml: {name!r} means another thing elsewhere")
    return found
