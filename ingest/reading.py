"""DICOM is parsed and decoded in a child process within bounds: a bomb costs itself alone.

What the readers refuse they refuse by their own rules; the limits here are for what those rules overlook.
"""

from __future__ import annotations

import resource
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from db.errors import Rejected, Unavailable
from db.logs import get, place
from db.records import Evidence, Identity, Kind
from ingest import frames, identify
from ingest.readers import dicom, note
from ingest.shelter import Answer, Died, Shelter, serve
from models.payloads import Image, Payload

log = get("reading")
SECONDS = 10.0  #: for one input; the largest films take one
MEMORY = 512 * 2**20  #: bytes beyond the child's own, for what a file says of itself
PIXEL_MEMORY = 4 * frames.DECODED_LIMIT  #: the same for its pixels: a frame and the copies it is worked on in

_child = Shelter("ingest.reading", SECONDS)
_COSTLY = "Check how the file was made; export it again if it is genuine."


class Broken(Exception):  # noqa: N818
    """Our own bug in a reader, by kind and place: `ValueError at ingest/frames.py:81`."""


def missing(path: Path, suffix: str) -> str | None:
    """What a file still lacks to be whole, None when nothing (or when no reader can tell)."""
    try:
        found: str | None = _ask({"do": "missing", "path": str(path), "suffix": suffix})[0].get("gap")
    except (Rejected, Broken):
        return None
    return found


def read(path: Path) -> Evidence:
    """A DICOM file as Evidence.

    Raises Rejected (`too-costly` beyond the limits), Broken, Unavailable, OSError.
    """
    found = _ask({"do": "read", "path": str(path)})[0]["evidence"]
    identity = found.pop("identity")
    kinds = {"kind": Kind(found["kind"]), "also": tuple(map(Kind, found["also"]))}
    return Evidence(**{**found, **kinds}, identity=identity and Identity(**identity))


def payload(kind: str, data: bytes) -> Payload:
    """Archived bytes as what a model is given. Raises Rejected, Broken, Unavailable."""
    if kind == Kind.NOTE:
        return note.payload(data)
    header, pixels = _ask({"do": "payload"}, data)
    fields = header["image"]
    spacing = fields.pop("spacing_mm")
    shape = fields.pop("shape")
    return Image(
        **fields,
        spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
        pixels=np.frombuffer(pixels, dtype=np.float32).reshape(shape).copy(),
    )


def _ask(question: dict[str, str], data: bytes = b"") -> Answer:
    try:
        header, answer = _child.ask(question, data)
    except Died as death:
        limit = f"more than {SECONDS:.0f} seconds" if death.late else "the process that read it"
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
        _limit(PIXEL_MEMORY if question["do"] == "payload" else MEMORY)
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
    return {"gap": identify.missing(Path(question["path"]), question["suffix"])}, b""


def _read(question: dict[str, Any], _: bytes) -> Answer:
    """The file's facts; where it is both incomplete and wrong, the more telling reason."""
    path = Path(question["path"])
    lacking = dicom.whole(path)
    try:
        evidence = dicom.read(path)
    except Rejected as why:
        if lacking is None or why.code == "no-pixels":
            raise
        evidence = None
    if lacking is not None or evidence is None:
        raise Rejected("truncated", lacking or "", "Send the whole file again.")
    return {"evidence": asdict(evidence)}, b""


def _payload(_: dict[str, Any], data: bytes) -> Answer:
    image = dicom.payload(data)
    fields = {name: value for name, value in vars(image).items() if name != "pixels"}
    return {"image": {**fields, "shape": image.pixels.shape}}, image.pixels.tobytes()


_DO = {"missing": _missing, "read": _read, "payload": _payload}

if __name__ == "__main__":
    import pydicom.pixels  # noqa: F401 - what comes late would count against the first input

    serve(_answer, memory=PIXEL_MEMORY, seconds=SECONDS)
