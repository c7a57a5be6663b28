"""Zip archives unpacked into the work area under limits, entry by entry; an unsafe one is refused whole."""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from db.errors import Rejected

SUFFIX = ".zip"
CHUNK = 1 << 20
NAME_BYTES = 4096  #: of one entry's path
TAIL = 65_557  #: where the end record may begin: its 22 bytes and the longest comment
DIRECTORY_ENTRY = 46 + NAME_BYTES  #: bytes that one entry may take in the directory, roughly
RATIO_FLOOR = 16 * 2**20  #: bytes unpacked below which no ratio makes a bomb
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others' decoders take what memory they are told


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may ask for."""

    entries: int
    bytes: int  #: unpacked, all together
    ratio: int  #: unpacked to packed, all together
    free: int  #: bytes that the disk has to spare


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file in an archive."""

    index: int  #: its place in the archive's directory
    name: str  #: path in the archive, POSIX form
    size: int


def claims(head: bytes, suffix: str) -> bool:
    """Is this a zip archive to be unpacked? Office documents are zip archives of another name."""
    return suffix == SUFFIX and head[:4] in (b"PK\x03\x04", _END)


def whole(path: Path) -> str | None:
    """None when the archive's directory has come, which is written last; else what is missing."""
    with path.open("rb") as file:
        return None if _end_record(file) else "the archive's directory, which ends it, is not there yet"


def entries(path: Path, limits: Limits) -> list[Entry]:
    """The archive's files, each checked by what the directory says of it; nothing is unpacked.

    Raises Rejected (`zip-bomb`, `zip-unsafe`, `zip-encrypted`, `zip-damaged`).
    """
    with path.open("rb") as file:
        _bounded(file, limits)
    with _fate(), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        for info in infos:
            _check(info)
        _check_sizes(infos, limits)
        return [
            Entry(index=n, name=_plain(info), size=info.file_size)
            for n, info in enumerate(infos)
            if not info.is_dir()
        ]


def extract(path: Path, wanted: list[Entry], target: Callable[[Entry], Path]) -> None:
    """Unpacks these entries; each appears at its target whole or not at all.

    Raises Rejected `zip-damaged` with everything removed again.
    """
    done: list[Path] = []
    try:
        with _fate(), zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            for entry in wanted:
                place = target(entry)
                with archive.open(infos[entry.index]) as source:
                    _copy(source, place)
                done.append(place)
    except BaseException:
        for place in done:
            place.unlink(missing_ok=True)
        raise


def _copy(source: object, place: Path) -> None:
    temporary = place.with_name(f".{place.name}.{os.getpid()}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            while chunk := source.read(CHUNK):  # type: ignore[attr-defined]
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _fate() -> Iterator[None]:
    """What zipfile raises on a damaged archive; its messages quote names, so none is passed on."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError):
        raise _damaged("its directory and its entries do not agree, or a checksum does not hold") from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # else zipfile was led to a place that is none
            raise
        raise _damaged("an entry is not where the directory says") from None
    except (NotImplementedError, RuntimeError):
        raise _unsafe("an entry needs a feature of zip that is not read") from None


# ── checks ────────────────────────────────────────────────────────────────────────────────────────


def _bounded(file: BinaryIO, limits: Limits) -> None:
    """The directory is read into memory whole: its size and count are looked at before."""
    found = _end_record(file)
    if found is None:
        raise _damaged("the directory that ends it is not there")
    count, size = found
    if count > limits.entries or size > limits.entries * DIRECTORY_ENTRY:
        raise _bomb(f"{count} entries, at most {limits.entries} are unpacked")


def _end_record(file: BinaryIO) -> tuple[int, int] | None:
    """(entries, bytes of the directory) as the archive's end says, zip64 included; None when cut off."""
    size = file.seek(0, 2)
    start = max(0, size - TAIL)
    file.seek(start)
    tail = file.read(TAIL)
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        return None
    count, length = struct.unpack_from("<HL", tail, at + 10)
    if (count == 0xFFFF or length == 0xFFFFFFFF) and tail[max(0, at - 20) : max(0, at - 20) + 4] == _LOCATOR:
        (place,) = struct.unpack_from("<Q", tail, at - 12)
        if place + 56 > size:
            return None
        file.seek(place)
        record = file.read(56)
        if record[:4] == _END64:
            count, length = struct.unpack_from("<QQ", record, 32)
    return int(count), int(length)


def _check(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 0x1:
        raise Rejected(
            "zip-encrypted", "an entry is encrypted", "Send it without a password, over a safe channel."
        )
    # zipfile cuts names at NUL and turns separators: what was written is what counts
    name = info.orig_filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    outside = ".." in parts or name.startswith(("/", "\\")) or PureWindowsPath(name).drive
    if "\0" in name or outside or len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES or not parts:
        raise _unsafe("an entry's path leads outside of it, or is none")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe("an entry is a link or a device")
    if info.compress_type not in _METHODS:
        raise _unsafe("an entry is compressed by another method than deflate")


def _check_sizes(infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(infos) > limits.entries:
        raise _bomb(f"{len(infos)} entries, at most {limits.entries} are unpacked")
    unpacked, packed = sum(i.file_size for i in infos), sum(i.compress_size for i in infos)
    if unpacked > limits.bytes:
        raise _bomb(f"{unpacked} bytes unpacked, at most {limits.bytes} are")
    if unpacked > RATIO_FLOOR and unpacked > limits.ratio * max(packed, 1):
        raise _bomb(f"{packed} bytes would become {unpacked}, more than {limits.ratio} times as many")
    if unpacked > limits.free:
        raise _bomb(f"{unpacked} bytes unpacked, more than the disk has to spare")


def _plain(info: zipfile.ZipInfo) -> str:
    return PurePosixPath(info.orig_filename.replace("\\", "/")).as_posix()


def _bomb(sentence: str) -> Rejected:
    return Rejected(
        "zip-bomb", f"the archive asks for too much: {sentence}", "Send the files in smaller archives."
    )


def _unsafe(sentence: str) -> Rejected:
    return Rejected(
        "zip-unsafe", f"nothing of the archive was unpacked: {sentence}", "Pack it again, or send the files."
    )


def _damaged(sentence: str) -> Rejected:
    return Rejected("zip-damaged", f"the archive is damaged: {sentence}", "Send it again.")
