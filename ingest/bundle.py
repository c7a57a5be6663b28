"""A WFDB record's header and signal files are one input: they wait for each other and are taken together."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path, PurePosixPath

from db.errors import Rejected
from ingest.readers import ecg

HEADER = ".hea"
HEADER_BYTES = 65_536
SIGNAL = ".signal-"  #: in the work area, what the header's n-th signal file is named after it
ANNOTATIONS = (".atr", ".qrs", ".ecg", ".ann")  #: beats that somebody marked: taken away with their record


def signals(path: Path) -> tuple[str, ...]:
    """The signal files that a header names; none when it is no header, or is packed with them already."""
    try:
        with path.open("rb") as file:
            return ecg.signals_named(file.read(HEADER_BYTES))
    except (Rejected, OSError):
        return ()


def companions(root: Path, name: str, there: Collection[str]) -> tuple[list[str], bool]:
    """What a header in the inbox is taken with, as paths below it, and whether all its signals are there."""
    folder = PurePosixPath(name).parent
    wanted = [(folder / signal).as_posix() for signal in signals(root / name)]
    marks = [PurePosixPath(name).with_suffix(suffix).as_posix() for suffix in ANNOTATIONS]
    return [*wanted, *(m for m in marks if m in there)], all(w in there for w in wanted)


def is_part(suffix: str) -> bool:
    """Does a file of this suffix wait for the header that names it?"""
    return ecg.is_signal(suffix) or suffix in ANNOTATIONS


def gather(work: Path, header: Path) -> None:
    """Makes a claimed header and its signal files one packed record; may be repeated after any stop.

    Its annotations are removed. Raises Rejected `too-large`.

    header: where in the inbox it came from. Nothing happens while a signal file lacks: the reader says so.
    """
    named = signals(work)
    if not named:
        return
    places = {signal: work.with_name(f"{work.name}{SIGNAL}{n}") for n, signal in enumerate(named)}
    for signal, place in places.items():
        if not place.exists() and (header.parent / signal).is_file():
            os.rename(header.parent / signal, place)
    if not all(place.exists() for place in places.values()):
        return
    if sum(place.stat().st_size for place in places.values()) > ecg.MAX_BYTES:
        raise Rejected(
            "too-large", f"its signal files have more than {ecg.MAX_BYTES} bytes together",
            "Send a shorter part of the recording.",
        )  # fmt: skip
    packed = ecg.pack(work.read_bytes(), {signal: place.read_bytes() for signal, place in places.items()})
    half = work.with_name(f".pack-{work.name}")
    half.write_bytes(packed)
    for suffix in ANNOTATIONS:  # left in the inbox, they would be seen again as files of their own
        with suppress(FileNotFoundError, NotADirectoryError):  # the latter where it came in an archive
            header.with_suffix(suffix).unlink()
    os.replace(half, work)
    for place in places.values():
        place.unlink()
