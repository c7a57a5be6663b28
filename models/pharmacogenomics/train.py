"""Builds the family's tables from a folder of CPIC tables; nothing is learnt, "training" is condensing."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NOT_GIVEN = ("", "N/A", "None")
EXTRA_GENES = ("VKORC1",)  #: no CPIC recommendation row, but the dose of warfarin asks for it
SYMBOLS = "0123456789abcdefghijklmnopqrstuvwxyz"  #: one character a phenotype in the diplotype table

Row = Mapping[str, str]


def read(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of `NAME-table.csv`. Raises ValueError, naming the file, when it is not there."""
    path = folder / f"{name}-table.csv"
    if not path.is_file():
        raise ValueError(f"{path.name} is not in the folder; expected the CPIC tables")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return [{k: v.strip() for k, v in row.items()} for row in csv.DictReader(stream)]


def genes_of(folder: Path) -> list[str]:
    """The genes that a diplotype row or a recommendation row speaks of, and EXTRA_GENES."""
    told = {row["Gene"] for row in read(folder, "diplotype")}
    for row in read(folder, "recommendation"):
        told |= {row["Gene1"], row["Gene2"]}
    return sorted((told | set(EXTRA_GENES)) - set(NOT_GIVEN))


def _names(cell: str) -> list[str]:
    return [] if cell in NOT_GIVEN else cell.split(",")


def _allele(row: Row) -> dict[str, Any]:
    score = row["ActivityScore"]
    return {
        "function": row["Function"],
        "score": None if score in NOT_GIVEN else float(score),
        "GRCh37": _names(row["GRCh37Core"]),
        "GRCh38": _names(row["GRCh38Core"]),
        "structural": row["SV"].upper() == "TRUE",
    }


def _variant(row: Row) -> list[str]:
    """[name in GRCh37, in GRCh38, rsID, other names in GRCh37, in GRCh38]."""
    keys = ("GRCh37Name", "GRCh38Name", "rsID", "GRCh37Synonym", "GRCh38Synonym")
    return ["" if row[k] in NOT_GIVEN else row[k] for k in keys]


def genes(folder: Path) -> dict[str, Any]:
    """gene -> method, reference, alleles with function, score and variants, phenotypes with priority."""
    wanted, found = genes_of(folder), {}
    alleles, variants = read(folder, "allele"), read(folder, "variant")
    phenotypes, equations = read(folder, "phenotype"), read(folder, "equation")
    for row in read(folder, "gene"):
        gene = row["Gene"]
        if gene in wanted:
            found[gene] = {
                "method": "" if row["PhenotypeMethod"] in NOT_GIVEN else row["PhenotypeMethod"].lower(),
                "reference": row["RefAllele"],
                "default": {b: row[f"{b}Default"] for b in ("GRCh37", "GRCh38")},
                "alleles": {a["StarAllele"]: _allele(a) for a in alleles if a["Gene"] == gene},
                "variants": [_variant(v) for v in variants if v["Gene"] == gene],
                "phenotypes": {p["Phenotype"]: p["Priority"] for p in phenotypes if p["Gene"] == gene},
                "equations": [[q["Phenotype"], q["Equation"]] for q in equations if q["Gene"] == gene],
            }
    return dict(sorted(found.items()))


def diplotypes(folder: Path) -> dict[str, Any]:
    """gene -> alleles, phenotypes, and one character a pair of alleles, row by row of the upper triangle."""
    pairs: dict[str, dict[frozenset[str], str]] = {}
    for row in read(folder, "diplotype"):
        pairs.setdefault(row["Gene"], {})[frozenset(row["Diplotype"].split("/"))] = row["Phenotype"]
    found = {}
    for gene, told in sorted(pairs.items()):
        alleles = sorted({allele for pair in told for allele in pair})
        phenotypes = sorted(set(told.values()))
        table = [
            "".join(
                SYMBOLS[phenotypes.index(told[key])] if (key := frozenset((one, other))) in told else "."
                for other in alleles[place:]
            )
            for place, one in enumerate(alleles)
        ]
        found[gene] = {"alleles": alleles, "phenotypes": phenotypes, "table": table}
    return found


def _first(rows: Iterable[Row], column: str) -> str:
    """The highest level that any row gives ("A" before "B", "1A" before "2A")."""
    return min((row[column] for row in rows if row[column] not in NOT_GIVEN), default="")


def _guideline(rows: Iterable[Row]) -> dict[str, Any]:
    rows = list(rows)
    pmids = sorted({p for row in rows for p in row["PMID"].split(";") if p})
    return {
        "rxnorm": next((row["RxNorm"] for row in rows if row["RxNorm"] not in NOT_GIVEN), ""),
        "atc": next((row["ATC"] for row in rows if row["ATC"] not in NOT_GIVEN), ""),
        "guideline": next((row["Guideline"] for row in rows if row["Guideline"] not in NOT_GIVEN), ""),
        "pmids": pmids,
        "level": _first(rows, "CPICLevel"),
        "evidence": _first(rows, "PharmGKBLevel"),
        "label": sorted({row["FDALabel"] for row in rows} - set(NOT_GIVEN)),
    }


def _told(guidelines: list[dict[str, str]], drug: str, genes: list[str]) -> list[dict[str, str]]:
    """The guideline rows of a drug and its genes, else (ribavirin) the only one of its gene."""
    exact = [g for g in guidelines if g["Drug"] == drug and g["Gene"] in genes]
    near = [
        {**g, "RxNorm": "", "ATC": "", "FDALabel": ""} for g in guidelines if g["Gene"] in genes and g["PMID"]
    ]
    return exact or (near if len({g["Guideline"] for g in near}) == 1 else [])


def recommendations(folder: Path) -> dict[str, Any]:
    """drug -> its genes, its guideline, and the recommendation of each combination of phenotypes."""
    guidelines, found = read(folder, "cpic"), dict[str, Any]()
    texts: dict[str, int] = {}
    for row in read(folder, "recommendation"):
        names = [g for g in (row["Gene1"], row["Gene2"]) if g not in NOT_GIVEN]
        drug = found.setdefault(
            row["Drug"],
            {
                "genes": names,
                **_guideline(_told(guidelines, row["Drug"], names)),
                "rows": [],
            },
        )
        phenotypes = [row[f"Phenotype{i + 1}"] for i in range(len(names))]
        text = row["Recommendation"]
        place = None if text in NOT_GIVEN else texts.setdefault(text, len(texts))
        drug["rows"].append([*("" if p in NOT_GIVEN else p for p in phenotypes), place])
    return {"texts": list(texts), "drugs": dict(sorted(found.items()))}


def _write(path: Path, table: Mapping[str, Any]) -> None:
    """JSON with one entry a line, so that a new release of the tables can be read as a difference."""
    lines = []
    for key, value in table.items():
        if isinstance(value, dict) and key not in ("texts",):
            inner = ",\n".join(
                f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items()
            )
            lines.append(f"{json.dumps(key)}: {{\n{inner}\n}}")
        else:
            inner = ",\n".join(f"  {json.dumps(v, ensure_ascii=False)}" for v in value)
            lines.append(f"{json.dumps(key)}: [\n{inner}\n]")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def train(
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Writes `genes.json`, `diplotypes.json` and `recommendations.json` from a folder of CPIC tables.

    Beside them the panels, card, example, and metrics.json: the rows that come back as the tables have them.
    There is no probability, so no plot. seed and minutes are not needed: the same tables give the same
    files. Raises ValueError when a table is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, build in (("genes", genes), ("diplotypes", diplotypes), ("recommendations", recommendations)):
        table = build(data)
        _write(out / f"{name}.json", table)
        if progress:
            progress(f"{name}.json: {len(table)} entries")
    _carded(data, out)


def _carded(data: Path, out: Path) -> None:
    """The figures of the new tables, and the served card with them."""
    from models.card import read as read_card
    from models.pharmacogenomics import evaluate
    from models.pharmacogenomics.model import Pharmacogenomics
    from models.training import package

    served = read_card(HERE)
    if out.resolve() != HERE.resolve():
        shutil.copyfile(HERE / "panel.toml", out / "panel.toml")
    found = evaluate.measured(Pharmacogenomics(served.model_copy(update={"folder": out})), data)
    (out / "metrics.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    told = {
        "dataset": "the tables condensed, every diplotype and recommendation row",
        "metric": "matched_fraction",
        **found["matched_fraction"],
        "n": found["rows"],
    }
    package.again(
        out,
        served,
        version=f"{served.version.split('+')[0]}+{package.sha256(out / 'diplotypes.json')[:8]}",
        figures=[told],
    )
