"""WFDB records: a header and its signal files become one container, and that a recording in millivolts."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from db.errors import Rejected
from db.records import Evidence, Kind
from ingest import signals
from ingest.leads import facts as recording_facts
from ingest.signals import Header
from ingest.whose import whose
from models.payloads import Recording

SUFFIX = ".hea"  #: of a header
SIGNAL_SUFFIXES = frozenset((".dat", ".mat"))  #: what signal files are named
SUFFIXES = SIGNAL_SUFFIXES | {SUFFIX}
MAX_BYTES = 288 * 2**20  #: of a container: signals.SAMPLES at 32 bits, and its header
_HEADER = "record.hea"  # the container's first entry
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same record always makes the same bytes
_AGAIN = "Send the header and its signal files again."


def claims(head: bytes, suffix: str) -> bool:
    """Whether this is a container (by content), or a record's header (text that is named so)."""
    return _is_container(head) or (suffix == SUFFIX and b"\0" not in head)


def is_signal(suffix: str) -> bool:
    """Whether a file so named may be a record's signals: it means nothing without its header."""
    return suffix in SIGNAL_SUFFIXES


def whole(path: Path) -> str | None:
    """None when the container has its directory, or the header describes every signal it tells of.

    Also None where more bytes could not mend it: `read` says why. Whether the signal files are there is
    the caller's to know (`signals_named`). Raises OSError.
    """
    with path.open("rb") as file:
        if _is_container(file.read(64)):
            return None if zipfile.is_zipfile(file) else "the container ends before its directory"
        file.seek(0)
        data = file.read(signals.HEADER_BYTES + 1)
    if not data.strip():
        return "the header is empty so far"
    try:
        signals.parse(data)
    except Rejected as why:
        return why.sentence if why.code == "truncated" else None
    return None


def signals_named(header: bytes) -> tuple[str, ...]:
    """The files that lie beside this header when the record is whole; plain names, never paths.

    Raises Rejected (`malformed`, `multi-segment`, `sampling-rate`, `signal-format`, `uncalibrated`,
    `too-large`, `truncated`, `empty`).
    """
    return signals.parse(header).files


def pack(header: bytes, files: Mapping[str, bytes]) -> bytes:
    """One record as a container: a zip, stored, of `record.hea` under neutral names and `0.dat`, `1.dat`, ...

    files: the signal files' bytes by the names that the header gives. The record's name, its dates and its
    comments are left behind. The same record makes the same bytes whatever its files were named.
    Raises Rejected as `signals_named` does, and `no-signals` when a file is not given.
    """
    parsed = signals.parse(header)
    text, names = signals.neutral(parsed)
    if sum(map(len, files.values())) > MAX_BYTES:
        raise _too_large()
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER, _EPOCH), text)
        for file, name in names.items():
            if file not in files:
                raise _absent(parsed.files.index(file) + 1, len(names))
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[file])
    return made.getvalue()


def read(path: Path, *, sidecar: bytes | None = None, parts: Sequence[str] = ()) -> Evidence:
    """A container, or a header whose signal files lie beside it; every sample is read once.

    Raises Rejected (as `pack` does, and `no-leads`, `truncated`, `checksum`, `empty`, `too-large`,
    `bad-sidecar`, `contradiction`) and OSError.
    """
    owner = whose(sidecar, {}, parts)
    with path.open("rb") as file:
        head = file.read(64)
        data = head + file.read(MAX_BYTES) if _is_container(head) else b""
    header, files = _opened(data) if data else _beside(path)
    samples = _samples(header, files)
    leads = header.leads
    return Evidence(
        kind=Kind.RECORDING,
        case_key=owner.case_key,
        identity=owner.identity,
        content=_content(header, files),
        format="ecg",
        facts={
            **recording_facts(header.rate_hz, leads, samples),
            "other_signals": len(header.signals) - len(leads),
        },
    )


def payload(data: bytes, kind: Kind = Kind.RECORDING) -> Recording:
    """The leads of a container in millivolts, in the record's order. Raises Rejected as `read` does."""
    if not _is_container(data[:64]):
        raise Rejected("malformed", "the bytes are no container of a WFDB record", _AGAIN)
    header, files = _opened(data)
    if not header.leads:
        raise _no_leads()
    return Recording(signals=signals.millivolts(header, files), rate_hz=header.rate_hz, leads=header.leads)


def _is_container(head: bytes) -> bool:
    """A zip's local header of an entry that is stored, not encrypted, and named as ours is."""
    name = _HEADER.encode()
    return (
        head.startswith(b"PK\x03\x04")
        and head[6:10] == bytes(4)
        and head[26:28] == len(name).to_bytes(2, "little")
        and head[30 : 30 + len(name)] == name
    )


def _opened(data: bytes) -> tuple[Header, dict[str, bytes]]:
    """The container's header and signal files, none longer than the container itself."""
    if len(data) > MAX_BYTES:
        raise _too_large()
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > signals.SIGNALS + 1 or sum(entry.file_size for entry in entries) > len(data):
                raise Rejected("malformed", "the container's directory tells of more than it holds", _AGAIN)
            if any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries):
                raise Rejected(
                    "malformed", "the container's entries should be stored, not compressed", _AGAIN
                )
            held = {entry.filename: archive.read(entry) for entry in entries}
    except (Rejected, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - zipfile raises half a dozen kinds on damaged bytes
        raise Rejected("malformed", "the container of the record is damaged", _AGAIN) from None
    header = signals.parse(held.pop(_HEADER, b""))
    return header, _complete(header, held)


def _beside(path: Path) -> tuple[Header, dict[str, bytes]]:
    with path.open("rb") as file:
        header = signals.parse(file.read(signals.HEADER_BYTES + 1))
    found, left = {}, MAX_BYTES
    for name in header.files:
        place = path.parent / name
        if not place.is_file() or place.is_symlink():
            continue
        with place.open("rb") as file:
            found[name] = file.read(left + 1)
        left -= len(found[name])
        if left < 0:
            raise _too_large()
    return header, _complete(header, found)


def _complete(header: Header, files: dict[str, bytes]) -> dict[str, bytes]:
    for place, name in enumerate(header.files, 1):
        if name not in files:
            raise _absent(place, len(header.files))
    return files


def _samples(header: Header, files: Mapping[str, bytes]) -> int:
    """How many samples each lead has, once every checksum holds."""
    if not header.leads:
        raise _no_leads()
    for _ in signals.blocks(header, files):
        pass
    return signals.length(header, files)


def _content(header: Header, files: Mapping[str, bytes]) -> str:
    """A digest of the samples as stored and of what they mean, not of what the record is called."""
    found = hashlib.sha256(signals.neutral(header)[0])
    for name in header.files:
        found.update(hashlib.sha256(files[name]).digest())
    return found.hexdigest()


def _absent(place: int, count: int) -> Rejected:
    return Rejected(
        "no-signals", f"signal file {place} of {count} that the header names is not there",
        "Send every file that the header names, beside it.",
    )  # fmt: skip


def _too_large() -> Rejected:
    return Rejected("too-large", f"the record has more than {MAX_BYTES} bytes", "Cut it into parts.")


def _no_leads() -> Rejected:
    return Rejected(
        "no-leads",
        "no signal of the record is an ECG: none is measured in volts",
        "Send the record with its ECG.",
    )
