"""The sealed form of bytes on disk: magic, key id, nonce prefix, then AES-256-GCM chunks of 1 MiB.

Each chunk's nonce holds its number and whether it is the last, so that chunks can neither be swapped nor
cut off unnoticed.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.errors import Misconfigured, Unavailable

MAGIC = b"WETREAD1"
HEADER = len(MAGIC) + 8 + 7  #: magic, key id, nonce prefix
CHUNK = 1 << 20
TAG = 16
Plain = bytes | memoryview
_P = TypeVar("_P", bound=Plain)


class SealingKey(Protocol):
    """What sealing needs of the installation's keys (db/keys.py: Keys): no more goes to whoever seals."""

    @property
    def id(self) -> str:
        """Which key it is."""

    @property
    def archive(self) -> bytes:
        """Its 32 bytes."""


class _Buffers(threading.local):
    """A thread's own: memory taken anew for each file is mapped page by page, at more cost than sealing."""

    def __init__(self) -> None:
        self.plain = (memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK)))
        self.sealed = memoryview(bytearray(HEADER + CHUNK + TAG))


_buffers = _Buffers()


def chunks(file: BinaryIO) -> Iterator[memoryview]:
    """A file's bytes, CHUNK at a time. Each stays as it is until the next but one is asked for."""
    number = 0
    while True:
        buffer = _buffers.plain[number % 2]
        size = 0
        while size < CHUNK and (more := file.readinto(buffer[size:])):  # type: ignore[attr-defined]
            size += more
        if size:
            yield buffer[:size]
        if size < CHUNK:
            return
        number += 1


def blocks(plain: Iterable[Plain], keys: SealingKey) -> Iterator[memoryview]:
    """The sealed form of plain chunks (each but the last of CHUNK bytes), to be written one by one.

    Each is overwritten when the next is asked for; one thread seals one input at a time.
    """
    prefix = os.urandom(7)
    header = MAGIC + keys.id.encode() + prefix
    cipher = AESGCM(keys.archive)
    buffer = _buffers.sealed
    buffer[:HEADER] = header
    start = 0  # the header goes with the first block
    for number, chunk, last in _numbered(plain):
        end = HEADER + len(chunk) + TAG
        cipher.encrypt_into(_nonce(prefix, number, last), chunk, header, buffer[HEADER:end])
        yield buffer[start:end]
        start = HEADER


def seal(plain: Iterable[Plain], keys: SealingKey) -> Iterator[bytes]:
    """The sealed form of plain chunks, in pieces to be kept."""
    return map(bytes, blocks(plain, keys))


def unseal(file: BinaryIO, keys: SealingKey) -> Iterator[bytes]:
    """The plain chunks of a sealed file. Raises Unavailable when altered, Misconfigured under another key."""
    header = file.read(HEADER)
    if header[: len(MAGIC)] != MAGIC or len(header) != HEADER:
        raise Unavailable("archive: not a sealed payload; restore it from backup")
    if header[8:16] != keys.id.encode():
        raise Misconfigured(f"archive: sealed under key {header[8:16]!r}, this installation has {keys.id}")
    cipher = AESGCM(keys.archive)
    sealed = iter(lambda: file.read(CHUNK + TAG), b"")
    for number, block, last in _numbered(sealed):
        try:
            yield cipher.decrypt(_nonce(header[16:], number, last), block, header)
        except InvalidTag as error:
            raise Unavailable(
                "archive: a sealed payload was altered or cut; restore it from backup"
            ) from error


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + struct.pack(">I", number) + bytes([last])


def _numbered(pieces: Iterable[_P]) -> Iterator[tuple[int, _P | bytes, bool]]:
    """Each chunk with its number and whether it is the last; an empty input is one empty chunk."""
    number = 0
    held: _P | None = None
    for piece in pieces:
        if held is not None:
            yield number, held, False
            number += 1
        held = piece
    yield number, b"" if held is None else held, True
