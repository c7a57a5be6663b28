"""Inputs are parsed and decoded in a child process within bounds: a bomb costs itself alone.

What the readers refuse they refuse by their own rules; the limits here are for what those rules overlook.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from db.errors import Rejected, Unavailable
from db.logs import get
from db.records import Evidence, Identity, Kind
from ingest import carriage, identify
from ingest.answers import COSTLY, SECONDS, cut
from ingest.readers import note
from ingest.shelter import Answer, Died, Shelters
from models.card import Needs
from models.payloads import Payload, Table, Variants

if TYPE_CHECKING:
    from db.jobs import Input

log = get("reading")
SERIES_SECONDS = 60.0  #: of processor time for a series; a thousand slices take some ten
TOGETHER = 16  #: files that are asked about at once
TOGETHER_SECONDS = 3.0  #: of processor time for all of them
TOGETHER_BYTES = 64 << 20  #: larger ones are asked about alone
KEPT = 4096  #: answers to questions that will be asked

_children = Shelters("ingest.answers", SECONDS)
State = tuple[int, int, int, int]
T = TypeVar("T")
_foreseen: dict[State, dict[str, Any]] = {}  #: by the state of the file that it was read from
_refused: dict[State, Rejected] = {}  #: what was too costly to look at, which `read` need not try again
_looking = threading.Lock()
_ahead: threading.Thread | None = None


def allow(most: int) -> None:
    """So many inputs may be read at once, each in a child of its own."""
    _children.allow(most)


def warm() -> threading.Thread:
    """Starts the first child while its asker is busy, so that the first input need not wait for it."""
    thread = threading.Thread(target=_warm, name="warm", daemon=True)
    thread.start()
    return thread


def _warm() -> None:
    with suppress(OSError):  # whoever needs it will hear of it
        _children.children[0].warm()


class NoAnswer(Unavailable):
    """None came, or the child was ended from outside, with processor time left: the input may be well."""


class Broken(Exception):  # noqa: N818
    """Our own bug in a reader, by kind and place: `ValueError at ingest/frames.py:81`."""


def missing(path: Path, suffix: str) -> str | None:
    """What a file still lacks to be whole, None when nothing (or when no reader can tell).

    Of a whole DICOM object the evidence comes with the answer, and is kept for `read`.
    """
    try:
        state = _state(path)
        if _is_answered(state):  # asked before waiting for whoever looks ahead, who is at others by now
            return None
        with _looking:
            state = _state(path)
            if _is_answered(state):
                return None
            try:
                answer = _ask({"do": "missing", "path": str(path), "suffix": suffix})[0]
            except Rejected as why:
                _put(_refused, state, why.with_traceback(None))
                return None
            _keep(state, answer)
    except NoAnswer as why:  # it is asked about again, before it is judged
        return str(why)
    except (Broken, OSError):
        return None
    found: str | None = answer["gap"]
    return found


def _is_answered(state: State) -> bool:
    return state in _foreseen or state in _refused


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
        wanted = [path for path, state in states.items()
                  if not _is_answered(state) and state[2] <= TOGETHER_BYTES]  # fmt: skip
        if not wanted:
            return
        files = [[str(path), path.suffix.lower()] for path in wanted]
        question = {"do": "several", "files": files, "seconds": TOGETHER_SECONDS}
        for path, answer in zip(wanted, _ask(question)[0]["answers"], strict=True):
            _keep(states[path], answer)


def _keep(state: State, answer: dict[str, Any]) -> None:
    """Keeps the evidence that came with an answer."""
    if "evidence" in answer:
        _put(_foreseen, state, answer["evidence"])


def _put(kept: dict[State, T], state: State, value: T) -> None:
    while len(kept) >= KEPT:
        del kept[next(iter(kept))]
    kept[state] = value


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
    state = _state(path)
    if (why := _refused.pop(state, None)) is not None:
        raise why
    found = _foreseen.pop(state, None) if reader == "dicom" else None
    if found is None:
        question = {"do": "read", "path": str(path), "reader": reader, "parts": list(parts),
                    "sidecar": sidecar is not None}  # fmt: skip
        found = _ask_of_file(question, sidecar or b"")[0]["evidence"]
    identity = found.pop("identity")
    kinds = {"kind": Kind(found["kind"]), "also": tuple(map(Kind, found["also"]))}
    return Evidence(**{**found, **kinds}, identity=identity and Identity(**identity))


def rows(path: Path) -> list[bytes] | None:
    """A table of several people as one document each, None when it is one's. Raises as `read` does."""
    header, data = _ask_of_file({"do": "rows", "path": str(path)})
    sizes = header["sizes"]
    return None if sizes is None else cut(data, sizes)


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


def _ask_of_file(question: dict[str, Any], data: bytes = b"") -> Answer:
    """Asks once more where there was no answer; after that the file may not hold up the others."""
    with suppress(NoAnswer):
        return _ask(question, data)
    try:
        return _ask(question, data)
    except NoAnswer as why:
        raise Rejected("too-costly", f"{why}, twice", COSTLY) from None


def _ask(question: dict[str, Any], data: bytes = b"") -> Answer:
    seconds = question.get("seconds", SECONDS)
    try:
        header, answer = _children.ask(question, data, seconds)
    except Died as death:
        log.warning("reader_ended", asked=question["do"], spent=death.spent, excused=death.excused)
        if death.excused:
            raise NoAnswer("the process that reads gave no answer") from None
        took = f"over {seconds:.0f} seconds of processor time" if death.spent else "the process that read it"
        raise Rejected("too-costly", f"reading it took {took}", COSTLY) from None
    except OSError as error:
        raise Unavailable(f"no process to read it in: {type(error).__name__}") from None
    if "rejected" in header:
        raise Rejected(*header["rejected"])
    if "os_error" in header:
        raise OSError(header["os_error"], "the file cannot be read")
    if "broken" in header:
        log.error("reader_failed", error=header["broken"])
        raise Broken(header["broken"])
    return header, answer
