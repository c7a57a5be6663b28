"""Seals a batch's files in a process of its own, so that recording them has the interpreter to itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db.archive import seal_to
from db.errors import Unavailable
from db.sealing import SealingKey
from ingest.shelter import Answer, Died, Shelter, serve

SECONDS = 3600.0  #: for one batch: however slow the disk is, giving up would not make it faster
MEMORY = 64 * 2**20  #: beyond the child's own: its buffers are 3 MiB

_child = Shelter("ingest.sealer", SECONDS)


@dataclass(frozen=True)
class _Key:
    """The one key that the child is given, over its pipe."""

    id: str
    archive: bytes


def seal(files: Sequence[tuple[Path, Path]], keys: SealingKey) -> list[str | None]:
    """Each source sealed to its target, as (target, source); its SHA-256, None when the source is gone.

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
    keys = _Key(question["key"], key)
    try:
        return {"digests": [_sealed(Path(a), Path(b), keys) for a, b in question["files"]]}, b""
    except Unavailable as why:
        return {"unavailable": str(why)}, b""
    except OSError as error:  # the source cannot be read
        return {"unavailable": f"archive: a claimed file cannot be read ({error.strerror})"}, b""


def _sealed(target: Path, source: Path, keys: SealingKey) -> str | None:
    try:
        return seal_to(target, source, keys)
    except FileNotFoundError:  # another ingest finished it
        return None


if __name__ == "__main__":
    serve(_answer, memory=MEMORY, seconds=SECONDS)
