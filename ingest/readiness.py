"""Whether a settled file can be taken now, and which others are one input with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from db.settings import Settings
from ingest import bundle, identify, media, reading
from ingest.watch import Inbox, Settled
from ingest.whose import SIDECAR_BYTES, is_owner_alone

INDEX_SECONDS = 5.0  # between looks whether the files that a DICOMDIR names have come
ORPHAN_JSON_SECONDS = 60  # a sidecar may come before its note; after this it is judged alone


class Readiness:
    """Judges the inbox's settled files; what is not ready is postponed there."""

    def __init__(
        self, settings: Settings, inbox: Inbox, ids: Mapping[str, str], lacks: Callable[[str], bool]
    ) -> None:
        """ids: path below the inbox -> ledger id; lacks: whether files that an index names have not come."""
        self._settings = settings
        self._inbox = inbox
        self._ids = ids
        self._lacks = lacks

    def is_complete(self, item: Settled, now: float) -> bool:
        """Has the file reached its declared end, or stopped growing for good?"""
        suffix = PurePosixPath(item.name).suffix.lower()
        if suffix == ".json" and item.quiet_seconds < ORPHAN_JSON_SECONDS and self._speaks_of_another(item):
            self._inbox.postpone(item.name, now + 1.0)
            return False
        if item.quiet_seconds >= self._settings.truncated_after_seconds:
            return True
        if bundle.is_part(suffix) or (suffix == bundle.HEADER and not self._has_signals(item)):
            self._inbox.postpone(item.name, now + max(1.0, self._settings.settle_seconds))
            return False
        if media.is_index(item.name) and self._lacks(item.name):  # it may have come before its files
            self._inbox.postpone(item.name, now + max(INDEX_SECONDS, self._settings.settle_seconds))
            return False
        if reading.missing(self._inbox.root / item.name, suffix) is None:
            return True
        self._inbox.postpone(item.name, now + max(1.0, self._settings.settle_seconds))
        return False

    def parts_of(self, item: Settled) -> dict[str, str]:
        """The files that are one input with this one, name -> id; none while one of them lacks."""
        if PurePosixPath(item.name).suffix.lower() != bundle.HEADER:
            return {}
        names, there = bundle.companions(self._inbox.root, item.name, self._inbox.files)
        return {name: self._ids[name] for name in names if name in self._ids} if there else {}

    def sidecar_of(self, name: str) -> tuple[str, str] | None:
        """The JSON that says whose a file is, as (id, name)."""
        for candidate in identify.sidecars(name):
            if candidate in self._inbox.files and candidate in self._ids:
                return self._ids[candidate], candidate
        return None

    def _speaks_of_another(self, item: Settled) -> bool:
        """Does this JSON only say whose another file is, which may be still to come?"""
        if item.size > SIDECAR_BYTES:
            return False
        try:
            return is_owner_alone((self._inbox.root / item.name).read_bytes())
        except OSError:
            return False

    def _has_signals(self, item: Settled) -> bool:
        """Are the signal files that a WFDB header names there?"""
        return bundle.companions(self._inbox.root, item.name, self._inbox.files)[1]
