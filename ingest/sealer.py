"""Seals a batch's files in a process of its own, so that recording them has the interpreter to itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db.archive import seal_to, sync_each
from db.errors import Unavailable
from db.sealing import SealingKey
from ingest.shelter import Answer, Died, Shelter, serve

SECONDS = 600.0  #: of processor time for one batch: it seals more than a gigabyte a second
MEMORY = 2 * 2**30  #: of addresses beyond the child's own: its buffers are 3 MiB, its threads' stacks 128

_child = Shelter("ingest.sealer", SECONDS)


@dataclass(frozen=True)
class _Key:
    """The one key that the child is given, over its pipe."""

    id: str
    archive: bytes


def seal(files: Sequence[tuple[Path, Path]], keys: SealingKey) -> list[str | None]:
    """Each source sealed to its target, as (target, source), and synced; its SHA-256, None where it is gone.

    Raises Unavailable when one cannot be sealed; others may have been.
    """
    question = {"key": keys.id, "files": [[str(target), str(source)] for target, source in files]}
    try:
        header, _ = _child.ask(question, keys.archive)
    except (Died, OSError) as error:
        raise Unavailable(f"archive: no process to seal in: {type(error).__name__}; trying again") from None
    if (why := header.get("unavailable")) is not None:
        raise Unavailable(why)
    found: list[str | None] = header["digests"]
    return found


# ── the child's side ──────────────────────────────────────────────────────────────────────────────


def _answer(question: dict[str, Any], key: bytes) -> Answer:
    keys, files = _Key(question["key"], key), [(Path(a), Path(b)) for a, b in question["files"]]
    try:
        digests = [_sealed(target, source, keys) for target, source in files]
        sync_each(target for digest, (target, _) in zip(digests, files, strict=True) if digest)
    except Unavailable as why:
        return {"unavailable": str(why)}, b""
    except OSError as error:
        return {"unavailable": f"archive: a file cannot be read or synced ({error.strerror})"}, b""
    return {"digests": digests}, b""


def _sealed(target: Path, source: Path, keys: SealingKey) -> str | None:
    try:
        return seal_to(target, source, keys)
    except FileNotFoundError:  # another ingest finished it
        return None


if __name__ == "__main__":
    serve(_answer, memory=MEMORY, seconds=SECONDS)
