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
LONGEST = 39  #: letters that have room beside a bar
#: UCUM units as people write them, where they write them otherwise
WRITTEN = {
    "1": "", "a": "years", "mm[Hg]": "mmHg", "Cel": "°C", "kg/m2": "kg/m²", "10*3/uL": "×10³/µL",
    "u[IU]/mL": "µIU/mL", "mL/d": "mL a day", "mo": "months", "d": "days", "mg/wk": "mg a week",
    "mg/d": "mg a day",
}  # fmt: skip


class Feature(BaseModel):
    """One thing that is known of a patient."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    meaning: str
    label: str = ""  #: what pictures call it, in few words, where its name in words will not do
    kind: Literal["number", "category"]
    unit: str = ""  #: UCUM, of a number: models are given it in this one; "1" for counts and ratios
    low: float | None = None  #: a number below is a slip of the pen: refused
    high: float | None = None  #: likewise above
    categories: Mapping[str, str] = {}  #: name -> meaning
    synonyms: Mapping[str, str] = {}  #: what else a category is called ("m", "1") -> its name
    names: tuple[str, ...] = ()  #: what else the column is called
    units: Mapping[str, float] = {}  #: further UCUM units (molar ones) -> factor to `unit`
    codes: tuple[str, ...] = ()  #: "http://loinc.org|2085-9": the codes that FHIR and HL7 name it by
    drugs: tuple[str, ...] = ()  #: substances: a medication in whose name one stands makes it `yes`


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


def label(name: str) -> str:
    """What a feature is called in few words."""
    known = dictionary().get(name)
    return known.label if known and known.label else name.replace("_", " ")


def rounded(value: float) -> str:
    """A number with the three figures that matter; a thousand and more in whole numbers."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def told(name: str, value: float | str | None) -> str:
    """A feature with its value as people write it: `creatinine 2.6 mg/dL`, `sex: female`.

    A category is told by its meaning, or by its own name where that has no room beside a bar.
    """
    if value is None:
        return f"{label(name)}: not known"
    known = dictionary().get(name)
    if isinstance(value, str):
        meant = f"{label(name)}: {known.categories.get(value, value) if known else value}"
        return meant if len(meant) <= LONGEST else f"{label(name)}: {value.replace('_', ' ')}"
    unit = known.unit if known else ""
    return f"{label(name)} {rounded(value)} {WRITTEN.get(unit, unit)}".rstrip()
