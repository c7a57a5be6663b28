"""Content-addressed payloads, sealed (db/sealing.py): `archive/ab/<sha256 of the plain bytes>`."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from db.errors import Unavailable
from db.ids import new_id
from db.keys import Keys
from db.sealing import CHUNK, Plain, SealingKey, blocks, chunks, unseal

SYNCS = 16  #: files that are synced at once: the disk takes them together
HALF_SECONDS = 3600  #: older than any payload that is still being written
START_WRITING = 2  # SYNC_FILE_RANGE_WRITE
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


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

    def begin(self) -> Batch:
        """Payloads to be put together; whoever begins them settles them, and abandons them in any case."""
        return Batch(self, self._keys)

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Payloads put together, durable once the block ends; of a block that fails none is stored.

        Raises Unavailable.
        """
        batch = self.begin()
        try:
            yield batch
            batch.settle()
        finally:
            batch.abandon()

    def put(self, source: Path) -> str:
        """Archives a file durably and returns its SHA-256. The same bytes are stored once."""
        with self.batch() as batch:
            return batch.put(source)

    def put_bytes(self, data: bytes) -> str:
        """Archives bytes durably and returns their SHA-256."""
        with self.batch() as batch:
            return batch.put_bytes(data)

    def sweep(self) -> None:
        """Removes what a process of this host that is gone, or any long ago, left half written."""
        for path in self.folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):
                if _is_orphan(path.name) or time.time() - path.stat().st_mtime > HALF_SECONDS:
                    path.unlink()

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


#: files as (target, source), sealed and synced; the SHA-256 of each
Seal = Callable[[Sequence[tuple[Path, Path]]], Sequence[str | None]]


class Batch:
    """Payloads sealed beside the archive, in several threads if need be, and made part of it together."""

    def __init__(self, archive: Archive, keys: Keys) -> None:
        self._archive = archive
        self._keys = keys
        self._sealed: dict[str, Path] = {}  #: digest -> where it lies until it is stored
        self._unsynced: set[Path] = set()  #: of those, whose bytes may not be on the disk yet
        self._changed: set[Path] = set()  #: folders whose names are to be synced
        self._ending = f"{os.getpid()}.{socket.gethostname()}.tmp"  #: whose half files these are
        self._lock = threading.Lock()

    def put(self, source: Path) -> str:
        """Seals a file and returns its SHA-256, in one look at its bytes.

        Raises Unavailable when it cannot be written, or was changed by its sender meanwhile.
        """
        temporary = self._temporary()
        return self._keep(seal_to(temporary, source, self._keys), temporary, synced=False)

    def put_all(self, sources: Sequence[Path], seal: Seal) -> list[str | None]:
        """The same of several files, sealed and synced elsewhere; None of a file that is gone."""
        pairs = [(self._temporary(), source) for source in sources]
        try:
            digests = seal(pairs)
        except BaseException:
            for temporary, _ in pairs:
                temporary.unlink(missing_ok=True)
            raise
        kept = zip(digests, pairs, strict=True)
        return [digest and self._keep(digest, temporary, synced=True) for digest, (temporary, _) in kept]

    def put_bytes(self, data: bytes) -> str:
        """Seals bytes and returns their SHA-256. Raises Unavailable."""
        digest = hashlib.sha256(data).hexdigest()
        if not self._is_there(digest):
            temporary = self._temporary()
            pieces = (data[i : i + CHUNK] for i in range(0, max(len(data), 1), CHUNK))
            self._keep(_seal(temporary, pieces, self._keys)[0], temporary, synced=False)
        return digest

    def settle(self) -> None:
        """Makes all that was put durable and part of the archive: bytes first, names after.

        A name that outlived its bytes would be taken for the payload ever after. Raises Unavailable.
        """
        with _written():
            sync_each(self._unsynced)
            self._rename()
            sync_each(self._changed)
        self._sealed.clear()
        self._unsynced.clear()
        self._changed.clear()

    def abandon(self) -> None:
        """Removes what was put and not settled."""
        for temporary in self._sealed.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        self._sealed.clear()

    def _rename(self) -> None:
        """Gives the payloads their names."""
        for digest, temporary in self._sealed.items():
            target = self._archive.path(digest)
            if not target.parent.is_dir():
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._changed.add(target.parent.parent)
            temporary.replace(target)
            self._changed.add(target.parent)

    def _temporary(self) -> Path:
        """Where a payload lies before it has a name. Raises Unavailable."""
        with _written():
            self._archive.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._archive.folder / f".{new_id()}.{self._ending}"

    def _keep(self, digest: str, temporary: Path, *, synced: bool) -> str:
        """Notes what was sealed, once."""
        with self._lock:
            kept = None if self._is_there(digest) else self._sealed.setdefault(digest, temporary)
            if kept is temporary and not synced:
                self._unsynced.add(temporary)
        if kept is not temporary:
            temporary.unlink()
        return digest

    def _is_there(self, digest: str) -> bool:
        """Is it stored? Another process may have given it its name just now, and not synced that yet."""
        found = digest in self._archive
        if found:
            self._changed.add(self._archive.path(digest).parent)
        return found


def _is_orphan(name: str) -> bool:
    """Did a process of this host write this half file, and end?"""
    found = re.fullmatch(r"\.[^.]+\.([0-9]+)\.(.+)\.tmp", name)
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def _written() -> Iterator[None]:
    """What the disk does to a write becomes Unavailable."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"archive: cannot write ({error.strerror}); is the disk full?") from error


def _write(path: Path, sealed: Iterable[memoryview]) -> None:
    """Writes a file readable by its owner alone, and has the disk begin with it; it is not waited for."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for block in sealed:
            written = 0
            while written < len(block):
                written += os.write(descriptor, block[written:])
        if _libc is not None and hasattr(_libc, "sync_file_range"):
            _libc.sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), START_WRITING)
    finally:
        os.close(descriptor)


def sync_each(paths: Iterable[Path]) -> None:
    """Brings files or folders to the disk, several at once. Raises OSError.

    Not by one sync of the whole file system, which waits for whatever other programs have written to it.
    """
    wanted = list(paths)
    for _ in (_syncers().map if len(wanted) > 1 else map)(_sync, wanted):
        pass


@cache
def _syncers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(SYNCS, "sync")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal_to(target: Path, source: Path, keys: SealingKey) -> str:
    """Seals a file to another, in one look at its bytes, and returns their SHA-256; nothing is synced.

    Raises FileNotFoundError when the source is gone, Unavailable when the target cannot be written or the
    source was changed meanwhile; the target is not there then.
    """
    before = source.stat()
    with source.open("rb", buffering=0) as file:
        digest, size = _seal(target, chunks(file), keys)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns, size) != (after.st_size, after.st_mtime_ns, after.st_size):
        target.unlink()
        raise Unavailable("archive: the file changed while it was read; trying again")
    return digest


def _seal(target: Path, plain: Iterable[Plain], keys: SealingKey) -> tuple[str, int]:
    """Chunks sealed to a new file; their SHA-256 and size."""
    found, size = hashlib.sha256(), 0

    def hashed() -> Iterator[Plain]:
        nonlocal size
        for chunk in plain:
            found.update(chunk)
            size += len(chunk)
            yield chunk

    with _written():
        try:
            _write(target, blocks(hashed(), keys))
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return found.hexdigest(), size


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal_file(target: Path, plain: Iterable[Plain], keys: Keys) -> None:
    """Writes chunks sealed to a file that appears whole or not at all, synced with its folder."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for block in blocks(plain, keys):
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
    _sync(folder)
