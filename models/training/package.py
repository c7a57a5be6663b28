"""A trained family as a folder that serves: card with hashes, weights, an example and what it answers."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from db.records import Diagnosis
from models.card import ModelCard, read

SERVED = {".safetensors", ".toml", ".json"}  #: files that cannot run code
LEARNT = Path(__file__).parent / "learnt.toml"
OWN_LIMIT = (
    "Trained anew on the user's own data: what the limits below say of patients learnt from holds of the "
    "release's data, not of these."
)
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(data: Path) -> str:
    """The SHA-256 of a data set: of the file, or of the sorted names and SHA-256s of a folder's files."""
    if data.is_file():
        return sha256(data)
    names = sorted(path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file())
    lines = "".join(f"{sha256(data / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def released(name: str, data: Path) -> bool:
    """Whether the data are, byte for byte, those that the release's weights of a family learnt from."""
    learnt = tomllib.loads(LEARNT.read_text("utf-8")).get(name)
    return learnt is not None and digest(data) == learnt


def marked(served: ModelCard, weights: Path) -> str:
    """The version of what was trained on a user's own data: the release's, and which weights they are."""
    return f"{served.version}+{sha256(weights)[:8]}"


def credited(out: Path, name: str, data: Path) -> ModelCard:
    """The card that a training of a family wrote into out, naming data and version as the user's own.

    Unless they are the release's: then the card stays as it is. Of a user's data nothing is told but
    their SHA-256: a file's name may be a person's. The version says which weights it is (`marked`), so that
    no result of theirs passes for one of the release's.
    """
    card = read(out)
    if released(name, data):
        return card
    fields = card.model_dump(mode="json", exclude={"weights", "folder"})
    fields["data"] = [
        {
            "name": f"the user's own data, SHA-256 {digest(data)}",
            "licence": "the user's own",
            "source": "the installation where this model was trained",
            "use": "training and validation, as the figures say",
        }
    ]
    fields["limits"] = [OWN_LIMIT, *(limit for limit in card.limits if limit != OWN_LIMIT)]
    example, told = {}, out / "example" / "expected.json"
    if "+" not in card.version:
        fields["version"] = f"{card.version}+{card.weights_sha256[:8]}"
        if told.is_file():
            said = {**json.loads(told.read_text("utf-8")), "version": fields["version"]}
            example = {told.name: json.dumps(said, indent=2) + "\n"}
    return write(out, fields, [w.file for w in card.weights], example)


def write(
    out: Path,
    card: Mapping[str, Any],
    weights: Sequence[str],
    example: Mapping[str, bytes | str] | None = None,
) -> ModelCard:
    """Writes card.toml with the weights' SHA-256s, and the example files under example/; gives the card.

    card: the fields of models.card.ModelCard without `weights` and `folder`. weights: names of files
    that are in out already. example: name -> content. Checkpoints of the training are removed. Raises
    ValueError of weights that could run code; Misconfigured, leaving the old card, when it is no card.
    """
    wrong = [name for name in weights if Path(name).suffix not in SERVED]
    if wrong or not weights:
        raise ValueError(f"weights are safetensors, toml or json files; got {', '.join(wrong) or 'none'}")
    hashed = [{"file": name, "sha256": sha256(out / name)} for name in sorted(weights)]
    fields = {k: v for k, v in card.items() if k not in ("weights", "folder")}
    trial = out / ".card"
    trial.mkdir(exist_ok=True)
    (trial / "card.toml").write_text(toml({**fields, "weights": hashed}), encoding="utf-8")
    read(trial)
    (trial / "card.toml").replace(out / "card.toml")
    trial.rmdir()
    for name, content in (example or {}).items():
        path = out / "example" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    written = read(out)
    written.verify()
    return written


def again(
    out: Path,
    served: ModelCard,
    *,
    version: str,
    figures: Iterable[Mapping[str, Any]],
    data: Iterable[Mapping[str, Any]] | None = None,
    operating_points: Iterable[Mapping[str, Any]] | None = None,
    notes: str | None = None,
) -> ModelCard:
    """The card of a family that was trained anew into out, with its example answered by the new weights.

    What a training cannot change (question, limits, needs, reasons to abstain) is taken from the card that
    is served now, and so are the operating points, data and notes that are not given. The same names
    of weights files must lie in out; those that training did not make anew are copied.
    """
    card = served.model_dump(mode="json", exclude={"weights", "folder"})
    card |= {"version": version, "figures": [dict(f) for f in figures]}
    given = {"data": data, "operating_points": operating_points}
    card |= {name: [dict(v) for v in values] for name, values in given.items() if values is not None}
    card |= {} if notes is None else {"notes": notes}
    names = [w.file for w in served.weights]
    for name in names:
        if not (out / name).is_file():
            shutil.copyfile(served.folder / name, out / name)
    samples = served.folder / "example"
    example = {p.name: p.read_bytes() for p in samples.iterdir() if p.is_file()} if samples.is_dir() else {}
    written = write(out, card, names, example)
    answered(written)
    return written


def comparison(lines: Sequence[Mapping[str, Any]]) -> str:
    """A card's table of the learners that were compared: a line each, figures with their 95 % intervals.

    lines: "model" and figures, which are numbers, lists of them, or intervals of `models.evaluation`; the
    columns are those that every line has.
    """
    names = [name for name in lines[0] if name != "model" and all(name in line for line in lines)]
    rows = [["", *names], *([str(line["model"]), *(_cell(line[n]) for n in names)] for line in lines)]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    told = ["  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip() for row in rows]
    return "\n".join(told)


def _cell(figure: Any) -> str:
    """A figure as a table shows it."""
    if isinstance(figure, Mapping):
        return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"
    if isinstance(figure, list):
        return ", ".join(map(str, figure))
    return f"{figure:.3f}"


def answered(card: ModelCard) -> None:
    """Writes example/expected.json: what the card's weights answer to the family's example."""
    family = importlib.import_module(f"models.{(card.family or card.name).replace('-', '_')}")
    (diagnosis,) = family.load(card, "cpu").examine([family.example()])
    path = card.folder / "example" / "expected.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(expected(card, diagnosis), indent=2) + "\n", encoding="utf-8")


def expected(card: ModelCard, diagnosis: Diagnosis) -> dict[str, Any]:
    """What an example's expected.json says: each finding's code, answer and probability."""
    return {
        "model": card.name,
        "version": card.version,
        "findings": [
            {
                "code": finding.code.value,
                "positive": finding.positive,
                "qualifier": finding.qualifier,
                "probability": None if finding.probability is None else round(finding.probability, 6),
            }
            for finding in diagnosis.findings
        ],
    }


def toml(table: Mapping[str, Any]) -> str:
    """A table as TOML: plain keys first, then tables, then lists of tables. None is left out."""
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    kept = {name: value for name, value in table.items() if value is not None}
    plain = {n: v for n, v in kept.items() if not isinstance(v, Mapping) and not _tables(v)}
    lines = [f"{_key(name)} = {_value(value)}" for name, value in plain.items()]
    for name, value in kept.items():
        below = (*path, name)
        title = ".".join(_key(part) for part in below)
        if isinstance(value, Mapping):
            lines += ["", f"[{title}]", *_lines(value, below)]
        elif _tables(value):
            for entry in value:
                lines += ["", f"[[{title}]]", *_lines(entry, below)]
    return lines


def _tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f'"{_escaped(name)}"'


def _value(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    raise TypeError(f"{type(value).__name__} has no place in TOML")


def _string(text: str) -> str:
    """A basic string, over several lines where the text has them."""
    if "\n" not in text:
        return f'"{_escaped(text)}"'
    return '"""\n' + "\n".join(_escaped(line) for line in text.split("\n")) + '"""'


def _escaped(text: str) -> str:
    """The text as it stands between the quotes of one line."""
    return "".join(
        f"\\{c}" if c in '"\\' else f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c for c in text
    )
