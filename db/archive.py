"""Content-addressed payloads, encrypted: `archive/ab/<sha256 of the plain bytes>`.

Format: magic, key id, nonce prefix, then AES-256-GCM chunks of 1 MiB. Each chunk's nonce holds its
number and whether it is the last, so that chunks can neither be swapped nor cut off unnoticed.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.errors import Misconfigured, Unavailable
from db.keys import Keys

MAGIC = b"WETREAD1"
CHUNK = 1 << 20
TAG = 16


class Archive:
    """Payloads under their digest, sealed with the installation's key."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder = folder
        self._keys = keys

    def path(self, digest: str) -> Path:
        """Where the payload of a digest lies."""
        return self.folder / digest[:2] / digest

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def put(self, source: Path) -> str:
        """Archives a file durably and returns its SHA-256. The same bytes are stored once."""
        digest = sha256_of(source)
        target = self.path(digest)
        if not target.is_file():
            with source.open("rb") as file:
                self._write(target, _unchanged(file, digest))
        return digest

    def put_bytes(self, data: bytes) -> str:
        """Archives bytes durably and returns their SHA-256."""
        digest = hashlib.sha256(data).hexdigest()
        target = self.path(digest)
        if not target.is_file():
            self._write(target, (data[i : i + CHUNK] for i in range(0, max(len(data), 1), CHUNK)))
        return digest

    def get(self, digest: str) -> bytes:
        """The payload of a digest. Raises Unavailable when it is missing or was altered."""
        try:
            with self.path(digest).open("rb") as file:
                data = b"".join(unseal(file, self._keys))
        except OSError as error:
            raise Unavailable(f"archive: {digest[:12]} cannot be read ({type(error).__name__})") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise Unavailable(f"archive: {digest[:12]} holds other bytes; restore it from backup")
        return data

    def remove(self, digest: str) -> None:
        """Removes a payload for good, durably; one that is gone already stays gone. Raises Unavailable."""
        target = self.path(digest)
        try:
            target.unlink(missing_ok=True)
            if target.parent.is_dir():
                sync_folder(target.parent)
        except OSError as error:
            raise Unavailable(f"archive: cannot remove ({error.strerror}); see `wetread doctor`") from error

    def _write(self, target: Path, chunks: Iterable[bytes]) -> None:
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            seal_file(target, chunks, self._keys)
        except OSError as error:
            raise Unavailable(f"archive: cannot write ({error.strerror}); is the disk full?") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal_file(target: Path, chunks: Iterable[bytes], keys: Keys) -> None:
    """Writes chunks sealed to a file that appears whole or not at all, synced with its folder."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for block in seal(chunks, keys):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal(chunks: Iterable[bytes], keys: Keys) -> Iterator[bytes]:
    """The sealed form of plain chunks (each but the last of CHUNK bytes)."""
    prefix = os.urandom(7)
    header = MAGIC + keys.id.encode() + prefix
    cipher = AESGCM(keys.archive)
    yield header
    for number, chunk, last in _numbered(chunks):
        yield cipher.encrypt(_nonce(prefix, number, last), chunk, header)


def unseal(file: BinaryIO, keys: Keys) -> Iterator[bytes]:
    """The plain chunks of a sealed file. Raises Unavailable when altered, Misconfigured under another key."""
    header = file.read(len(MAGIC) + 8 + 7)
    if header[: len(MAGIC)] != MAGIC or len(header) != len(MAGIC) + 15:
        raise Unavailable("archive: not a sealed payload; restore it from backup")
    if header[8:16] != keys.id.encode():
        raise Misconfigured(f"archive: sealed under key {header[8:16]!r}, this installation has {keys.id}")
    cipher = AESGCM(keys.archive)
    blocks = iter(lambda: file.read(CHUNK + TAG), b"")
    for number, block, last in _numbered(blocks):
        try:
            yield cipher.decrypt(_nonce(header[16:], number, last), block, header)
        except InvalidTag as error:
            raise Unavailable(
                "archive: a sealed payload was altered or cut; restore it from backup"
            ) from error


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + struct.pack(">I", number) + bytes([last])


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK), b"")


def _unchanged(file: BinaryIO, digest: str) -> Iterator[bytes]:
    """A file's chunks. Raises Unavailable at its end when its sender changed it since it was hashed."""
    found = hashlib.sha256()
    for chunk in _chunks(file):
        found.update(chunk)
        yield chunk
    if found.hexdigest() != digest:
        raise Unavailable("archive: the file changed while it was read; trying again")


def _numbered(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes, bool]]:
    """Each chunk with its number and whether it is the last; an empty input is one empty chunk."""
    number, held = 0, b""
    started = False
    for chunk in chunks:
        if started:
            yield number, held, False
            number += 1
        held, started = chunk, True
    yield number, held, True
