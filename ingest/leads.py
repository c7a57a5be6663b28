"""What an ECG's leads are called and measured in, whatever format they come in."""

from __future__ import annotations

import re

_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}
_NAMES = (
    *("I", "II", "III", "aVR", "aVL", "aVF", "-aVR", "V", "MV", *(f"V{n}" for n in range(1, 10))),
    *("V3R", "V4R", "V5R", "V6R", "MLI", "MLII", "MLIII", *(f"MV{n}" for n in range(1, 7))),
    *("MCL1", "MCL6", "CM1", "CM2", "CM4", "CM5", "CC5", "D1", "D2", "D3", "D4", "A-I", "A-S", "E-S"),
    *("X", "Y", "Z", "VX", "VY", "VZ", "ECG", *(f"ECG{n}" for n in range(1, 13))),
)
_LEADS = {name.upper(): name for name in _NAMES}
_PREFIX = re.compile(r"(?:ECG )?(?:LEAD )?", re.IGNORECASE)
_OTHER = re.compile(
    r"EEG|EMG|EOG|RESP|PLETH|PPG|ABP|ART|CVP|PAP|BP|SPO2|CO2|FLOW|EDA|GSR|TEMP|SOUND", re.IGNORECASE
)


def lead_name(said: str) -> str:
    """A lead's name of a fixed vocabulary ("Lead II (Einthoven)" is "II"); "" for words that are none of it.

    What a file calls a signal is free text and may say anything, so nothing else is kept.
    """
    plain = " ".join(said.split("(", maxsplit=1)[0].split())
    return _LEADS.get(plain.upper()) or _LEADS.get(_PREFIX.sub("", plain, count=1).upper(), "")


def millivolts_each(unit: str, said: str) -> float:
    """What one `unit` is in mV; 0 where it is no voltage, or the words name no ECG (an EEG, a pulse)."""
    return 0.0 if _OTHER.match(said.strip()) else _MILLIVOLTS.get(unit.strip().lower(), 0.0)


def named(leads: list[str]) -> tuple[str, ...]:
    """Those without a name are called by their place."""
    return tuple(name or f"lead {place}" for place, name in enumerate(leads, 1))


def facts(rate_hz: float, leads: tuple[str, ...], samples: int) -> dict[str, str | int | float | bool | None]:
    """What is recorded of an ECG, whatever format it came in."""
    return {
        "rate_hz": rate_hz,
        "leads": len(leads),
        "lead_names": ", ".join(leads),
        "samples": samples,
        "seconds": round(samples / rate_hz, 3),
    }
