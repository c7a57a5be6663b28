"""Past results again: explained from their stored evidence, or read anew to the same numbers."""

from __future__ import annotations

import os
import stat
from itertools import zip_longest
from math import isclose
from pathlib import Path
from typing import Any

from db import reports, retention
from db.archive import Archive
from db.errors import Misconfigured
from db.jobs import Input
from db.records import Code, Diagnosis, Finding
from db.store import Store
from ingest import bundle, identify, reading
from ingest.readers import ecg
from models import registry
from models.backends import REFERENCE, names
from models.card import Needs
from models.drawing import figure, page
from models.payloads import Payload
from models.registry import Explanation

TOLERANCE = 1e-6
SUFFIXES = {"image/png": ".png", "text/html": ".html", "application/dicom": ".dcm"}


def _result(store: Store, result_id: str) -> dict[str, Any]:
    with store.read() as connection:
        found = reports.results(connection, result_id=result_id)
    if not found:
        raise Misconfigured(f"no result {result_id}; see `wetread results`")
    return found[0]


def _all_of(store: Store, job_id: str) -> list[dict[str, Any]]:
    with store.read() as connection:
        return sorted(
            reports.results(connection, job_id=job_id), key=lambda r: int(r["result_id"].split("-")[1])
        )


def _require_input(store: Store, result: dict[str, Any]) -> None:
    """Raises Misconfigured, plainly, once retention removed what the result was read from."""
    with store.read() as connection:
        gone = retention.removed_at(connection, result["job_id"])
    if gone is not None:
        raise Misconfigured(
            f"{result['result_id']}: its input was removed on {gone:%Y-%m-%d} when its term was over "
            "(`wetread retention`); the result, its evidence and its audit remain"
        )


def _payload(store: Store, archive: Archive, job_id: str, model: str) -> Payload:
    with store.read() as connection:
        found = reports.inputs(connection, job_id)
    return reading.payload([(i, archive.get(i.digest)) for i in found], registry.card(model).needs)


def _audited(store: Store, result: dict[str, Any], action: str) -> None:
    """Whoever looks at a patient's data again leaves a trace."""
    with store.write() as writer:
        writer.audit(f"result:{result['result_id']}", action, case=result["case_id"])


def explanation(store: Store, archive: Archive, result_id: str) -> Explanation:
    """The stored evidence of one result, drawn on its input; the model does not run again.

    Raises Misconfigured for an unknown result, or one that holds no finding to explain.
    """
    result = _result(store, result_id)
    if result["finding"] is None:
        raise Misconfigured(f"{result_id} abstained ({result['reason']}): there is no finding to draw")
    _require_input(store, result)
    with store.read() as connection:
        digests = reports.artifacts(connection, result["job_id"])
    artifacts = {name: archive.get(digest) for name, digest in digests.items()}
    payload = _payload(store, archive, result["job_id"], result["model"])
    _audited(store, result, "result:explained")
    rows = _all_of(store, result["job_id"])
    # the asked one first, with its companions: a note is read as a whole
    rows.sort(key=lambda r: r["result_id"] != result_id)
    findings = [finding(r) for r in rows if r["finding"] is not None]
    return registry.family(result["model"]).render(payload, findings, artifacts)


def segmented(store: Store, archive: Archive, result_id: str) -> Explanation:
    """A segmentation's mask as a DICOM SEG of the series it was drawn on.

    Raises Misconfigured for an unknown result, or one without a segmentation.
    """
    from console.seg import segmentation
    from models.hippocampus_mr.mask import MASK

    result = _result(store, result_id)
    _require_input(store, result)
    with store.read() as connection:
        digests = reports.artifacts(connection, result["job_id"])
        inputs = reports.inputs(connection, result["job_id"])
    if MASK not in digests:
        raise Misconfigured(f"{result_id} has no segmentation; a .dcm is written of those alone")
    _audited(store, result, "result:explained")
    findings = [finding(r) for r in _all_of(store, result["job_id"]) if r["finding"] is not None]
    content = segmentation(
        [archive.get(i.digest) for i in inputs], archive.get(digests[MASK]), findings,
        registry.card(result["model"]),
    )  # fmt: skip
    return Explanation(media_type="application/dicom", content=content)


def handed_over(found: Explanation, out: Path) -> str:
    """Writes an explanation, for its owner alone; says what was written, and the name that would open it.

    A picture is put on a page where the file is named as one.
    """
    if found.media_type == "image/png" and out.suffix.lower() == SUFFIXES["text/html"]:
        title = "Evidence of a result"
        found = Explanation(media_type="text/html", content=page(title, figure(found.content, title)))
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # not /dev/stdout's or /dev/null's
            os.fchmod(descriptor, 0o600)
        file.write(found.content)
    said = f"{out} ({found.media_type})"
    suffix = SUFFIXES.get(found.media_type, out.suffix)
    if out.suffix.lower() == suffix:
        return said
    return f"{said}; to open it, name it {out.with_suffix(suffix).name}"


def tried(name: str, source: Path | None, device: str) -> tuple[Diagnosis, Explanation | None]:
    """A model's answer to a file (or to its own example), with its evidence drawn; nothing is recorded.

    Raises Rejected when the file cannot be read; the explanation is None when the model abstains.
    """
    from worker.runtime import choose_device

    card, family = registry.card(name), registry.family(name)
    payload = family.example() if source is None else read_inputs(source, card.needs)
    diagnosis = registry.load(name, choose_device(device)).examine([payload])[0]
    if diagnosis.abstained:
        return diagnosis, None
    return diagnosis, family.render(payload, diagnosis.findings, diagnosis.artifacts)


def read_inputs(source: Path, needs: Needs) -> Payload:
    """A file as what a model that needs so is given, or a folder of a series' instances. Raises Rejected."""
    paths = sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
    inputs = []
    for path in paths:
        reader, data = identify.name_of(path, path.suffix.lower()), path.read_bytes()
        if path.suffix.lower() == bundle.HEADER and (named := bundle.signals(path)):
            data = ecg.pack(data, {name: (path.parent / name).read_bytes() for name in named})
        inputs.append((Input(evidence_id="", kind=needs.kind, format=reader, digest=""), data))
    return reading.payload(inputs, needs)


def finding(row: dict[str, Any]) -> Finding:
    """A stored row as the finding it was."""
    code = row["finding"]
    same = (
        "positive", "probability", "threshold", "value", "unit", "laterality", "site", "qualifier",
        "abstained", "reason", "evidence",
    )  # fmt: skip
    return Finding(
        code=Code(value=code["code"], system=code["system"], meaning=code["meaning"]),
        **{k: row[k] for k in same},
    )


def replayed(store: Store, archive: Archive, result_id: str, device: str) -> dict[str, Any]:
    """The same input through the same weights again, each finding then and now.

    Raises Misconfigured when the model's version or weights are no longer here.
    """
    from worker.runtime import choose_device

    result = _result(store, result_id)
    name = result["model"]
    if name == "none":
        raise Misconfigured(f"{result_id}: no model read this input; there is nothing to replay")
    _require_input(store, result)
    card = registry.card(name)
    if (card.version, card.weights_sha256) != (result["model_version"], result["weights_sha256"]):
        raise Misconfigured(
            f"{name}: the result is of version {result['model_version']}, weights "
            f"{result['weights_sha256'][:12]}; here are {card.version}, {card.weights_sha256[:12]}: install "
            "that release, or import that model, to replay it"
        )
    model = registry.load(name, choose_device(device))
    if result["backend"] not in (None, REFERENCE):  # as it was computed then; a bf16 answer is no fp32 one
        use = getattr(model, "use", None)
        if use is None or result["backend"] not in names(model.device):
            raise Misconfigured(f"{result_id} was computed by {result['backend']}; `make fast` installs it")
        use(result["backend"])
    _audited(store, result, "result:replayed")
    before = _all_of(store, result["job_id"])
    after = model.examine([_payload(store, archive, result["job_id"], name)])[0]
    rows = _compare(before, after)
    return {
        "model": name, "version": card.version, "device": model.device, "then_device": result["device"],
        "findings": rows, "same": all(r["same"] for r in rows),
    }  # fmt: skip


Row = tuple[str | None, bool | None, float | None, float | None]  #: code, positive, probability, value
NOTHING: Row = (None, None, None, None)


def _compare(before: list[dict[str, Any]], after: Diagnosis) -> list[dict[str, Any]]:
    now: list[Row] = [(f.code.value, f.positive, f.probability, f.value) for f in after.findings] or [NOTHING]
    then: list[Row] = [
        (r["finding"] and r["finding"]["code"], r["positive"], r["probability"], r["value"]) for r in before
    ]
    rows = []
    for old, new in zip_longest(then, now, fillvalue=NOTHING):
        same = old[:2] == new[:2] and _close(old[2], new[2]) and _close(old[3], new[3])
        rows.append({
            "finding": old[0] or new[0], "then": _number(old), "now": _number(new),
            "then_positive": old[1], "now_positive": new[1], "same": same,
        })  # fmt: skip
    return rows


def _number(row: Row) -> float | None:
    """What is shown of a row: its probability, or what it measured."""
    return row[3] if row[2] is None else row[2]


def _close(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
