"""Units as files write them, turned into the unit that a feature is given to models in (UCUM)."""

from __future__ import annotations

import math
import re
from functools import cache, lru_cache
from typing import Any

from db.errors import Rejected
from models.features import Feature

LENGTH = 40  #: characters of a unit; the longest in use have half as many

# How people and instruments write what UCUM writes otherwise (https://ucum.org/ucum). `K/uL` would be
# kelvins, and `G/L` gauss, by the letter; no laboratory measures those.
_SPELLED = {
    "years": "a", "year": "a", "yrs": "a", "yr": "a", "y": "a", "months": "mo", "month": "mo",
    "weeks": "wk", "week": "wk", "days": "d", "day": "d", "hours": "h", "hour": "h", "hr": "h",
    "mmhg": "mm[Hg]", "mm hg": "mm[Hg]", "cmh2o": "cm[H2O]", "inches": "[in_i]",
    "inch": "[in_i]", "in": "[in_i]",
    "lb": "[lb_av]", "lbs": "[lb_av]", "pounds": "[lb_av]", "ft": "[ft_i]", "oz": "[oz_av]",
    "c": "Cel", "°c": "Cel", "degc": "Cel", "celsius": "Cel",
    "f": "[degF]", "°f": "[degF]", "degf": "[degF]", "fahrenheit": "[degF]",
    "bpm": "/min", "beats/min": "/min", "beats/minute": "/min", "breaths/min": "/min", "1/min": "/min",
    "k/ul": "10*3/uL", "k/mm3": "10*3/uL", "thou/ul": "10*3/uL", "10e3/ul": "10*3/uL", "10e9/l": "10*9/L",
    "thousand/ul": "10*3/uL", "thousands/ul": "10*3/uL", "gm/dl": "g/dL", "gm/l": "g/L", "kgs": "kg",
    "ml/24h": "mL/d", "ml/24hr": "mL/d", "ml/24 h": "mL/d", "ml/24 hr": "mL/d",
    "giga/l": "10*9/L", "giga.l-1": "10*9/L", "tera/l": "10*12/L", "tera.l-1": "10*12/L",
    "m/ul": "10*6/uL", "10e6/ul": "10*6/uL", "10e12/l": "10*12/L", "cells/ul": "/uL", "/mm3": "/uL",
    "ratio": "1", "score": "1", "points": "1", "count": "1", "ph": "1", "[ph]": "1", "percent": "%",
    "kg/m^2": "kg/m2", "kg/m²": "kg/m2", "sec": "s", "seconds": "s", "minutes": "min", "ml": "mL", "l": "L",
    "iu/l": "U/L", "iu/ml": "U/mL", "miu/l": "mU/L", "uiu/ml": "uU/mL", "meq/l": "meq/L",
}  # fmt: skip
_EXACT = {"G/L": "10*9/L", "T/L": "10*12/L", "G/l": "10*9/L", "T/l": "10*12/L"}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_WORDS = re.compile(r"[A-Za-z0-9*/.()\[\]'%_+-]*")
_POWER = re.compile(r"\d{4}|[*^a-zA-Z\]][+-]?\d{3}")  # 10*999999999 would be computed
_ARBITRARY = re.compile(r"\[[^\]]*[uU]\]")  # what no other unit can be turned into: allergy units, ...


def convert(number: float, unit: str, feature: Feature) -> float:
    """A number in `unit` as one in the feature's unit; without a unit it is taken to be in that one.

    unit: UCUM, or a common spelling of it. International units of enzymes and hormones count as U.
    A molar unit is taken only where the feature's `units` gives its factor; equivalents (`meq`) are no
    moles, since the charge is not known here. Raises Rejected (`unit`), which does not quote the file.
    """
    wanted = spelled(feature.unit)
    given = spelled(unit) if unit.strip() else wanted
    if given is not None:
        for known, factor in ((feature.unit, 1.0), *feature.units.items()):
            line = _line(given, spelled(known) or "1")
            if line is not None:
                # twelve figures: temperatures come with noise in the thirteenth
                return float(f"{(number * line[0] + line[1]) * factor:.12g}")
    accepted = ", ".join((feature.unit or "1", *feature.units))
    raise Rejected(
        "unit", f"a unit that cannot be turned into {accepted}",
        "Give the value in that unit, or its unit in UCUM; see docs/inputs.md.",
    )  # fmt: skip


@lru_cache(4096)
def spelled(unit: str) -> str | None:
    """The unit in UCUM without annotations (`{cells}/uL` is `/uL`), "1" for none; None for no unit at all."""
    unit = unit.strip().replace("µ", "u").replace("μ", "u")
    if len(unit) > LENGTH:
        return None
    unit = re.sub(r"\{[^{}]*\}", "", unit)
    unit = re.sub(r"mc(?=g|L|l|mol)", "u", unit)  # micro, without the Greek letter
    unit = re.sub("10([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda match: f"10*{match[1].translate(_RAISED)}", unit)
    unit = _EXACT.get(unit) or _SPELLED.get(unit.lower()) or unit
    unit = re.sub(r"^[xX]?\s?10\s?[\^*eE]\s?", "10*", unit).replace("[IU]", "U").replace("[iU]", "U")
    unit = re.sub(r"/+$", "", unit.replace(" ", ""))
    if not _WORDS.fullmatch(unit) or _POWER.search(unit):
        return None
    return unit or "1"


@lru_cache(4096)
def _line(given: str, wanted: str) -> tuple[float, float] | None:
    """(slope, intercept) from one unit to another, None where no straight line leads there."""
    if given == wanted:
        return 1.0, 0.0
    if given.lower() == wanted.lower() and {given, wanted} != {"mg", "Mg"}:
        return 1.0, 0.0  # mg/DL, ML: nobody means another unit by it
    if _ARBITRARY.search(given + wanted) or ("eq" in given) != ("eq" in wanted):
        return None
    try:
        zero, one, two = (_converted(float(n), given, wanted) for n in range(3))
    except Exception:  # noqa: BLE001 - whatever the parser or the arithmetic makes of a hostile unit
        return None
    slope = one - zero
    straight = math.isfinite(slope) and math.isclose(two - one, slope, rel_tol=1e-9)  # decibels are not
    return (slope, zero) if straight and slope > 0 else None


def _converted(number: float, given: str, wanted: str) -> float:
    registry = _registry()
    source, target = registry.from_ucum(given), registry.from_ucum(wanted)
    scaled = type(source)(number * source.magnitude, source.units)  # multiplying would refuse a temperature
    return float(scaled.to(target.units).magnitude / target.magnitude)


@cache
def _registry() -> Any:
    """UCUM's units for pint; most of a second, hence only where a unit is not the feature's own."""
    import ucumvert

    return ucumvert.PintUcumRegistry()
