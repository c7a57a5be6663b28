"""How many doses are within 20 % of the stable one, and the mean error, on an IWPC file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation import bootstrap
from models.warfarin_dose import equations
from models.warfarin_dose.iwpc import read, refused
from models.warfarin_dose.patient import Patient

if TYPE_CHECKING:
    from models.warfarin_dose.model import WarfarinDose

Floats = NDArray[np.float64]


def within_20_percent(truth: Floats, told: Floats) -> float:
    """The percentage of doses that miss the stable dose by at most a fifth of it."""
    return float(100 * (np.abs(told - truth) <= 0.2 * truth).mean())


def mae_mg_per_week(truth: Floats, told: Floats) -> float:
    """The mean absolute error in mg a week."""
    return float(np.abs(told - truth).mean())


METRICS = (within_20_percent, mae_mg_per_week)


def evaluate(
    data: Path, *, folds: int | None = None, device: str = "cpu", name: str = "warfarin-dose"
) -> dict[str, Any]:
    """Both metrics with 95 % intervals, `n`, and the same of the published equations beside them.

    Every patient of the file who reached a stable dose counts, those whose genes are not known too (by
    the clinical equation), and those on whom the model would keep silent, whose share is `abstained`. With
    folds the serving recipe is trained anew in each.
    """
    from models import registry
    from models.warfarin_dose.model import WarfarinDose

    patients, doses = read(data)
    served = registry.load(name, device)
    assert isinstance(served, WarfarinDose)  # noqa: S101 - the registry opens the family it was asked for
    if folds:
        from models.warfarin_dose.train import out_of_fold

        told = out_of_fold(patients, doses, folds)
    else:
        told = served.weekly(patients)
    answered = _answered(data, told, served)
    pharmacogenetic = np.array([equations.dose(equations.pharmacogenetic(p)) for p in patients])
    clinical = np.array([equations.dose(equations.clinical(p)) for p in patients])
    return {
        **{m.__name__: bootstrap(m, doses, told) for m in METRICS},
        "n": len(doses),
        "equation_within_20_percent": bootstrap(within_20_percent, doses, pharmacogenetic),
        "clinical_within_20_percent": bootstrap(within_20_percent, doses, clinical),
        "genotyped": int(sum(p.genes for p in patients)),
        "abstained": round(1 - float(answered.mean()), 4),
        "within_20_percent_where_answered": bootstrap(within_20_percent, doses[answered], told[answered]),
    }


def _answered(data: Path, told: Floats, served: WarfarinDose) -> NDArray[np.bool_]:
    """(n,) whether the patient as the file has them would be told this dose."""
    low, high = served.calibration["doses"]
    return np.asarray(~np.array(refused(data)) & (told >= low) & (told <= high))


def _decade(patient: Patient) -> str:
    """Years of age as the file has them, "60 to 69"."""
    return "" if np.isnan(patient.decade) else f"{10 * patient.decade:.0f} to {10 * patient.decade + 9:.0f}"


def curves(data: Path, *, folds: int | None = None) -> dict[str, Any]:
    """Stable and told doses, subgroups by age, sex and race, for plots (see `models.training.curves`).

    With folds by models that did not see the patient; else by those that serve.
    """
    from models import registry
    from models.warfarin_dose.model import WarfarinDose

    patients, doses = read(data)
    served = registry.load("warfarin-dose", "cpu")
    assert isinstance(served, WarfarinDose)  # noqa: S101 - the registry opens the family it was asked for
    if folds:
        from models.warfarin_dose.train import out_of_fold

        told = out_of_fold(patients, doses, folds)
    else:
        told = served.weekly(patients)
    sexes = {1.0: "male", 0.0: "female"}
    return {
        "y": doses,
        "value": told,
        "unit": "mg a week",
        "answered": _answered(data, told, served),
        "groups": {
            "age": np.array([_decade(p) for p in patients]),
            "sex": np.array([sexes.get(p.male, "") for p in patients]),
            "race": np.array([p.race or "other or unknown" for p in patients]),
        },
        "unseen": bool(folds),
    }
