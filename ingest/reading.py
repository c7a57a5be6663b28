"""Inputs are parsed and decoded in a child process within bounds: a bomb costs itself alone.

What the readers refuse they refuse by their own rules; the limits here are for what those rules overlook.
"""

from __future__ import annotations

import importlib
import resource
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from db.errors import Rejected, Unavailable
from db.jobs import Input
from db.logs import get, place
from db.records import Evidence, Identity, Kind
from ingest import carriage, frames, identify, unpack
from ingest.readers import note
from ingest.shelter import Answer, Died, Shelters, serve
from models.card import Needs
from models.payloads import Payload, Table, Variants

log = get("reading")
SECONDS = 10.0  #: for one input; the largest films take one
SERIES_SECONDS = 60.0  #: for a series; a thousand slices take some ten
MEMORY = 512 * 2**20  #: bytes beyond the child's own, for what a file says of itself
PIXEL_MEMORY = 4 * frames.DECODED_LIMIT  #: the same for its pixels: a frame and the copies it is worked on in

TOGETHER = 16  #: files that are asked about at once
KEPT = 4096  #: answers to questions that will be asked

_children = Shelters("ingest.reading", SECONDS)
State = tuple[int, int, int, int]
_foreseen: dict[State, dict[str, Any]] = {}  #: by the state of the file that it was read from
_looking = threading.Lock()
_ahead: threading.Thread | None = None
_COSTLY = "Check how the file was made; export it again if it is genuine."


def allow(most: int) -> None:
    """So many inputs may be read at once, each in a child of its own."""
    _children.allow(most)


class Broken(Exception):  # noqa: N818
    """Our own bug in a reader, by kind and place: `ValueError at ingest/frames.py:81`."""


def missing(path: Path, suffix: str) -> str | None:
    """What a file still lacks to be whole, None when nothing (or when no reader can tell).

    Of a whole DICOM object the evidence comes with the answer, and is kept for `read`.
    """
    try:
        state = _state(path)
        if state in _foreseen:  # asked before waiting for whoever looks ahead, who is at others by now
            return None
        with _looking:
            state = _state(path)
            if state in _foreseen:
                return None
            answer = _ask({"do": "missing", "path": str(path), "suffix": suffix})[0]
            _keep(state, answer)
    except (Rejected, Broken, OSError):
        return None
    found: str | None = answer["gap"]
    return found


def foresee(paths: Iterable[Path]) -> threading.Thread | None:
    """Looks at the DICOM files among these while their asker is busy, so that the answers are there.

    None while an earlier call is still at it.
    """
    global _ahead  # noqa: PLW0603 - one child, one thread that keeps it busy
    if _ahead is not None and _ahead.is_alive():
        return None
    suffixes = identify.by_name("dicom").SUFFIXES
    wanted = [path for path in paths if path.suffix.lower() in suffixes]
    _ahead = threading.Thread(target=_look_ahead, args=(wanted,), name="foresee", daemon=True)
    _ahead.start()
    return _ahead


def _look_ahead(paths: Sequence[Path]) -> None:
    for start in range(0, len(paths), TOGETHER):
        try:
            _look_at(paths[start : start + TOGETHER])
        except (Rejected, Broken, OSError):  # each of them is asked about alone when its turn comes
            continue
        except Unavailable:  # whoever needs the answer will hear of it
            return


def _look_at(paths: Sequence[Path]) -> None:
    """Asks about several files at once, so that the child need not wait for us between them."""
    with _looking:
        states = {path: _state(path) for path in paths if path.exists()}
        wanted = [path for path, state in states.items() if state not in _foreseen]
        if not wanted:
            return
        question = {"do": "several", "files": [[str(path), path.suffix.lower()] for path in wanted]}
        for path, answer in zip(wanted, _ask(question)[0]["answers"], strict=True):
            _keep(states[path], answer)


def _keep(state: State, answer: dict[str, Any]) -> None:
    """Keeps the evidence that came with an answer."""
    if "evidence" in answer:
        while len(_foreseen) >= KEPT:
            del _foreseen[next(iter(_foreseen))]
        _foreseen[state] = answer["evidence"]


def _state(path: Path) -> State:
    """What is another when a file's bytes are others, and the same wherever it is moved."""
    info = path.stat()
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def is_foreseen(path: Path) -> bool:
    """Was it found to be a whole DICOM file, and what it says kept for `read`? Raises OSError."""
    return _state(path) in _foreseen


def read(
    path: Path, *, reader: str = "dicom", sidecar: bytes | None = None, parts: Sequence[str] = ()
) -> Evidence:
    """A file as Evidence. reader: its reader's name; sidecar and parts: whose it is (ingest/whose.py).

    Raises Rejected (`too-costly` beyond the limits), Broken, Unavailable, OSError.
    """
    found = _foreseen.pop(_state(path), None) if reader == "dicom" else None
    if found is None:
        question = {"do": "read", "path": str(path), "reader": reader, "parts": list(parts),
                    "sidecar": sidecar is not None}  # fmt: skip
        found = _ask(question, sidecar or b"")[0]["evidence"]
    identity = found.pop("identity")
    kinds = {"kind": Kind(found["kind"]), "also": tuple(map(Kind, found["also"]))}
    return Evidence(**{**found, **kinds}, identity=identity and Identity(**identity))


def rows(path: Path) -> list[bytes] | None:
    """A table of several people as one document each, None when it is one's. Raises as `read` does."""
    header, data = _ask({"do": "rows", "path": str(path)})
    sizes = header["sizes"]
    return None if sizes is None else _cut(data, sizes)


def payload(inputs: Sequence[tuple[Input, bytes]], needs: Needs) -> Payload:
    """A job's inputs with their archived bytes, as what a model that needs so is given.

    A series' instances become one volume; variants are joined to the table they came for.
    Raises Rejected, Broken, Unavailable.
    """
    if needs.scope == "series":
        return _series([data for _, data in inputs])
    found = _one(*inputs[0], needs)
    for source, data in inputs[1:]:
        other = _one(source, data, needs.model_copy(update={"kind": source.kind}))
        if not isinstance(found, Table) or not isinstance(other, Variants):
            raise TypeError(f"{type(other).__name__} cannot be joined to {type(found).__name__}")
        found = _joined(found, other)
    return found


def _one(source: Input, data: bytes, needs: Needs) -> Payload:
    if source.format == "note":
        return note.payload(data)
    question = {"do": "payload", "reader": source.format, "kind": needs.kind}
    return carriage.unpacked(*_ask(question, data))


def _series(instances: Sequence[bytes]) -> Payload:
    question = {"do": "volume", "sizes": [len(i) for i in instances], "seconds": SERIES_SECONDS}
    return carriage.unpacked(*_ask(question, b"".join(instances)))


def _joined(table: Table, variants: Variants) -> Table:
    """What the table itself says of a gene goes before what the variants give."""
    from models.pharmacogenomics.genotype import diplotypes

    called = {c.rsid: "/".join(_letters(c.alleles, (c.reference, *c.alternates)))
              for c in variants.calls if c.rsid and c.passed and min(c.alleles, default=-1) >= 0}  # fmt: skip
    return Table(values=table.values, genotype={**called, **diplotypes(variants), **table.genotype})


def _letters(alleles: Sequence[int], letters: Sequence[str]) -> list[str]:
    return [letters[a] for a in alleles]


def _cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return [data[a:b] for a, b in pairwise(ends)]


def _ask(question: dict[str, Any], data: bytes = b"") -> Answer:
    seconds = question.get("seconds", SECONDS)
    try:
        header, answer = _children.ask(question, data, seconds)
    except Died as death:
        limit = f"more than {seconds:.0f} seconds" if death.late else "the process that read it"
        raise Rejected("too-costly", f"reading it took {limit}", _COSTLY) from None
    except (OSError, EOFError) as error:
        raise Unavailable(f"no process to read it in: {type(error).__name__}") from None
    if "rejected" in header:
        raise Rejected(*header["rejected"])
    if "os_error" in header:
        raise OSError(header["os_error"], "the file cannot be read")
    if "broken" in header:
        log.error("reader_failed", error=header["broken"])
        raise Broken(header["broken"])
    return header, answer


# ── the child's side ──────────────────────────────────────────────────────────────────────────────


def _answer(question: dict[str, Any], data: bytes) -> Answer:
    """Whatever befalls, an answer without a word of the patient's."""
    try:
        _limit(PIXEL_MEMORY if question["do"] in ("payload", "volume") else MEMORY)
        return _DO[question["do"]](question, data)
    except Rejected as why:
        return {"rejected": [why.code, why.sentence, why.advice]}, b""
    except (MemoryError, RecursionError):
        return {"rejected": ["too-costly", "reading it took more memory than is allowed", _COSTLY]}, b""
    except OSError as error:
        return {"os_error": error.errno or 5}, b""
    except Exception as error:  # noqa: BLE001
        return {"broken": place(error)}, b""


def _limit(memory: int) -> None:
    """Lowers the soft limit below the hard one that the process serves under."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard - PIXEL_MEMORY + memory, hard))


def _missing(question: dict[str, Any], _: bytes) -> Answer:
    """What a file lacks; of a DICOM object that lacks nothing its evidence: it says itself whose it is."""
    path = Path(question["path"])
    with suppress(Rejected):  # it may lack something, which is told below, or be refused when its turn comes
        if question["suffix"] != unpack.SUFFIX and identify.name_of(path, question["suffix"]) == "dicom":
            return {"gap": None, "evidence": _plain(identify.by_name("dicom").read(path))}, b""
    return {"gap": identify.missing(path, question["suffix"])}, b""


def _several(question: dict[str, Any], _: bytes) -> Answer:
    """The same of several files; nothing of one that cannot be looked at."""
    answers = []
    for path, suffix in question["files"]:
        try:
            answers.append(_missing({"path": path, "suffix": suffix}, b"")[0])
        except Exception:  # noqa: BLE001 - it is asked about alone when its turn comes
            answers.append({})
    return {"answers": answers}, b""


def _read(question: dict[str, Any], data: bytes) -> Answer:
    """The file's facts; where it is both incomplete and wrong, the more telling reason."""
    path, reader = Path(question["path"]), identify.by_name(question["reader"])
    lacking = reader.whole(path)
    try:
        evidence = reader.read(path, sidecar=data if question["sidecar"] else None, parts=question["parts"])
    except Rejected as why:
        if lacking is None or why.code == "no-pixels":
            raise
        evidence = None
    if lacking is not None or evidence is None:
        raise Rejected("truncated", lacking or "", "Send the whole file again.")
    return {"evidence": _plain(evidence)}, b""


def _plain(evidence: Evidence) -> dict[str, Any]:
    return {**vars(evidence), "identity": evidence.identity and vars(evidence.identity)}


def _rows(question: dict[str, Any], _: bytes) -> Answer:
    found = importlib.import_module("ingest.readers.table").split(Path(question["path"]))
    return {"sizes": found and [len(row) for row in found]}, b"".join(found or ())


def _payload(question: dict[str, Any], data: bytes) -> Answer:
    return carriage.packed(identify.by_name(question["reader"]).payload(data, Kind(question["kind"])))


def _volume(question: dict[str, Any], data: bytes) -> Answer:
    from ingest.volume import assemble

    return carriage.packed(assemble(_cut(data, question["sizes"])))


_DO = {
    "missing": _missing,
    "several": _several,
    "read": _read,
    "rows": _rows,
    "payload": _payload,
    "volume": _volume,
}

if __name__ == "__main__":
    import pydicom.pixels  # noqa: F401 - what comes late would count against the first input

    for name in identify.ORDER:
        identify.by_name(name)
    serve(_answer, memory=PIXEL_MEMORY, seconds=SECONDS)
