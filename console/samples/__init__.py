"""Sample cases for a first look: one of each kind of input, all invented or generated, and broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import registry
from models.card import ModelCard
from models.payloads import Payload, Table

HERE = Path(__file__).parent
FILMS = Path(__file__).parents[2] / "models" / "chest_xray" / "example"
FROM_PYDICOM = ("CT_small.dcm", "MR_small.dcm", "reportsi.dcm", "MR_truncated.dcm")
FOLDERS = {  # what lies beside this module, by the folder that it is dropped into
    "notes": ("cough.txt", "rash.txt", "chest.txt"),
    "records": ("labs.csv", "patient.fhir.json", "report.hl7", "summary.cda.xml"),
    "genes": ("splice.fasta", "peptide.fasta"),
    "ecg": ("ecg.hea", "ecg.dat"),
    "molecules": ("molecule.smi",),
    "patient=DEMO-0008/encounter=DEMO-E8": ("genotype.vcf",),
}
JOINED = "patient=DEMO-0008/encounter=DEMO-E8/table.csv"  #: what is read with the genotype of its case


def write(folder: Path) -> int:
    """Writes every sample below a folder; returns how many."""
    return put(folder, files())


def files() -> dict[str, bytes]:
    """Every sample by its name below the inbox."""
    return _films() | _still() | _of_examples() | _broken()


def put(folder: Path, content: dict[str, bytes]) -> int:
    """Writes files below a folder by their names; returns how many."""
    for name, data in content.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return len(content)


def example(card: ModelCard) -> dict[str, bytes]:
    """The input that came with a model, as files of its kind."""
    from console.samples import made

    return made.files(registry.family(card.name).example(), card.name)


def film(pixels: NDArray[np.uint8], patient: str, accession: str = "") -> bytes:
    """A frontal chest radiograph as a DX object around 8-bit grey pixels (rows, columns)."""
    from console.samples import made

    return made.film(pixels, patient, accession)


def _films() -> dict[str, bytes]:
    """A film of nobody's, and one whose case has a note that contradicts it (chest.txt)."""
    normal, pneumonia = (_grey(FILMS / f"film-{what}.png") for what in ("normal", "pneumonia"))
    return {
        "films/film-normal.dcm": film(normal, "DEMO-film-normal"),
        "films/film-pneumonia.dcm": film(pneumonia, "DEMO-0007", "DEMO-A7"),
    }


def _still() -> dict[str, bytes]:
    return {f"{at}/{name}": (HERE / name).read_bytes() for at, names in FOLDERS.items() for name in names}


def _of_examples() -> dict[str, bytes]:
    """Examples of models where a kind has no file here: tables as one list, a series, gene expressions."""
    from console.samples import made

    found: dict[str, bytes] = {}
    tables = []
    for card in registry.cards():
        if card.needs.kind == "expression" or card.needs.scope == "series":
            found |= example(card)
        elif card.needs.kind == "table":
            table = _table(registry.family(card.name).example())
            if card.needs.joins:
                found[JOINED] = made.row(table.values)
            else:
                whose = {"patient_id": f"DEMO-{card.name.upper()}", "encounter": "1"}
                tables.append({**whose, **table.values})
    return found | {"records/visits.json": made.as_json(tables)}


def _table(payload: Payload) -> Table:
    if not isinstance(payload, Table):
        raise TypeError(f"a table was expected, got {type(payload).__name__}")
    return payload


def _broken() -> dict[str, bytes]:
    return {
        **{f"other/{name}": _pydicom(name) for name in FROM_PYDICOM},
        "other/letter.dcm": b"Not a DICOM file, though it is named as one.\n",
    }


def _grey(path: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def _pydicom(name: str) -> bytes:
    """A file of pydicom's own wheel."""
    import pydicom

    return (Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes()
