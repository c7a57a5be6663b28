"""Refused files, sealed, each with a reason.json that a person can act on; no patient data in it."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from db import ledger, revisions
from db.archive import seal_file, sha256_of, sync_folder
from db.errors import Misconfigured, Rejected, Unavailable
from db.keys import Keys
from db.records import FileState
from db.sealing import chunks, unseal
from db.store import Store

PAYLOAD, REASON, LINK = "payload.sealed", "reason.json", "not-a-file"


def put(place: Path, work: Path, keys: Keys, why: Rejected, *, stage: str, now: datetime) -> str | None:
    """Seals a refused file beside its reason; returns its SHA-256, None when it has no bytes to read.

    The work file is left for the caller to remove once the ledger knows. Raises Unavailable when it
    cannot be written, FileNotFoundError when the work file is gone.
    """
    try:
        return _put(place, work, keys, why, stage=stage, now=now)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable(f"quarantine: cannot write ({error.strerror}); is the disk full?") from error


def _put(place: Path, work: Path, keys: Keys, why: Rejected, *, stage: str, now: datetime) -> str | None:
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = None, 0
    if work.is_file() and not work.is_symlink():
        size = work.stat().st_size
        try:
            digest = sha256_of(work)
            with work.open("rb", buffering=0) as file:
                seal_file(place / PAYLOAD, chunks(file), keys)
        except PermissionError:
            digest = None
    describe(place, why, stage=stage, now=now, digest=digest, size=size)
    return digest


def describe(place: Path, why: Rejected, *, stage: str, now: datetime, digest: str | None, size: int) -> None:
    """Writes a refused file's reason.json, whole or not at all."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    reason = {
        "file_id": place.name, "code": why.code, "sentence": why.sentence, "what_to_do": why.advice,
        "stage": stage, "sha256": digest, "bytes": size, "quarantined_at": now.isoformat(),
        "wetread": version("wetread"),
    }  # fmt: skip
    temporary = place / f".{REASON}"
    temporary.write_text(json.dumps(reason, indent=2) + "\n", "utf-8")
    temporary.replace(place / REASON)
    sync_folder(place)


def keep_unreadable(folder: Path, file_id: str, work: Path) -> None:
    """Moves what cannot be sealed (a link, a pipe, a file without permission) beside its reason."""
    os.replace(work, folder / file_id / LINK)


def reason(folder: Path, file_id: str) -> dict[str, object]:
    """A quarantined file's reason. Raises Misconfigured when there is none of that id."""
    try:
        found: dict[str, object] = json.loads((folder / file_id / REASON).read_text("utf-8"))
    except (OSError, ValueError):
        raise Misconfigured(
            f"quarantine holds no file {file_id}: none came, or it was purged; see `wetread quarantine list`"
        ) from None
    return found


def keeps(folder: Path, file_id: str) -> bool:
    """Is the refused file still kept, and not purged?"""
    return (folder / file_id / REASON).is_file()


def extract(folder: Path, file_id: str, keys: Keys, target: Path) -> None:
    """The refused file's plain bytes to a path, readable by the owner alone."""
    reason(folder, file_id)
    sealed = folder / file_id / PAYLOAD
    if not sealed.is_file():
        raise Misconfigured(
            f"{file_id}: its bytes could not be read when it came: nothing to extract; send it again"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with sealed.open("rb") as file, os.fdopen(descriptor, "wb") as out:
        for chunk in unseal(file, keys):
            out.write(chunk)
    temporary.replace(target)


def release(store: Store, folder: Path, inbox: Path, file_id: str) -> None:
    """Sends a refused file round again under its old name, as the same row of the ledger.

    A file whose bytes were accepted, and whose series was not whole, takes its series round again.
    Raises Misconfigured when quarantine holds no such file, or holds nothing but its reason.
    """
    if taken := revisions.release(store, file_id):
        for one in taken:
            shutil.rmtree(folder / one, ignore_errors=True)
        return
    reason(folder, file_id)
    with store.read() as connection:
        name = ledger.name_of(connection, store.keys, file_id)
    target = inbox / PurePosixPath(name)
    if target.exists():
        target = target.with_name(f"{file_id}{target.suffix}")
    with store.write() as writer:
        ledger.reopen(writer, file_id, target.relative_to(inbox).as_posix())
        extract(folder, file_id, store.keys, target)
    shutil.rmtree(folder / file_id)


def purge(store: Store, folder: Path, file_id: str) -> None:
    """Removes a refused file's bytes for good; its row and the audit of it stay."""
    reason(folder, file_id)
    shutil.rmtree(folder / file_id)
    with store.write() as writer:
        writer.audit(f"file:{file_id}", "file:purged")


def is_quarantined(store: Store, file_id: str) -> bool:
    """Does the ledger hold this file as quarantined?"""
    with store.read() as connection:
        return ledger.state_of(connection, file_id) is FileState.QUARANTINED
