"""What the child that reads is asked and answers, within its memory and without a word of the patient's.

Started by `ingest/reading.py`; it does without the database's imports, to be there soon.
"""

from __future__ import annotations

import importlib
import resource
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from db.errors import Rejected
from db.logs import place
from db.records import Evidence, Kind
from ingest import carriage, frames, identify, unpack
from ingest.shelter import Answer, serve

SECONDS = 10.0  #: of processor time for one input; the largest films take one
MEMORY = 512 * 2**20  #: bytes beyond the child's own, for what a file says of itself
PIXEL_MEMORY = 4 * frames.DECODED_LIMIT  #: the same for its pixels: a frame and the copies it is worked on in
SEVERAL_SECONDS = 1.0  #: of it, after which the rest of several files is left to be asked about alone
COSTLY = "Check how the file was made; export it again if it is genuine."


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Pieces of these sizes."""
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return [data[a:b] for a, b in pairwise(ends)]


def _answer(question: dict[str, Any], data: bytes) -> Answer:
    """Whatever befalls, an answer without a word of the patient's."""
    try:
        _limit(PIXEL_MEMORY if question["do"] in ("payload", "volume") else MEMORY)
        return _DO[question["do"]](question, data)
    except Rejected as why:
        return {"rejected": [why.code, why.sentence, why.advice]}, b""
    except (MemoryError, RecursionError):
        return {"rejected": ["too-costly", "reading it took more memory than is allowed", COSTLY]}, b""
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
    answers: list[dict[str, Any]] = []
    until = time.process_time() + SEVERAL_SECONDS
    for path, suffix in question["files"]:
        if time.process_time() > until:
            answers.append({})
            continue
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

    return carriage.packed(assemble(cut(data, question["sizes"])))


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
