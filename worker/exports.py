"""Exported networks kept between starts, sealed with the installation's key: others can put none there."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from db.archive import seal_file
from db.errors import WetreadError
from db.keys import Keys
from db.logs import get, place
from db.sealing import chunks, unseal

log = get("worker")

KEPT = 24  #: exports, the last used; each takes about what its network's weights take in single precision


class Exports:
    """A folder of exports, each under its key (models/exports.py); losing it costs a start's time alone."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._folder = folder
        self._keys = keys

    def get(self, key: str) -> bytes | None:
        """What was kept under a key; None of what is not there, or was altered, or put there by others."""
        path = self._folder / key
        try:
            with path.open("rb") as file:
                name, _, export = b"".join(unseal(file, self._keys)).partition(b"\n")
        except FileNotFoundError:
            return None
        except (OSError, WetreadError) as error:
            log.warning("export_refused", export=key[:12], reason=type(error).__name__)
            return None
        if name != key.encode():
            log.warning("export_refused", export=key[:12], reason="it is another network's")
            return None
        with suppress(OSError):
            path.touch()
        return export

    def put(self, key: str, export: bytes) -> None:
        """Keeps an export, and the last used beside it; where it cannot be kept, it is made anew."""
        data = io.BytesIO(key.encode() + b"\n" + export)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            seal_file(self._folder / key, chunks(data), self._keys)
            self._sweep()
        except OSError as error:
            log.warning("export_not_kept", export=key[:12], error=place(error))

    def _sweep(self) -> None:
        """Removes all but the last used; of several workers that sweep, one is first."""
        kept = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[KEPT:]:
            path.unlink(missing_ok=True)
