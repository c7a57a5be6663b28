"""The rules file, read again when it changes; a bad one is refused and the last good one stays in force."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from db import metrics
from db.errors import Misconfigured, Unavailable
from db.logs import get
from db.settings import Settings
from db.store import Store
from ingest.rules import BadRules, Rules, parse
from models.card import ModelCard

log = get("ingest")
LAST_GOOD = "rules.last-good.toml"  #: in the home: what a start falls back to when the file is bad
REST_SECONDS = 1.0  #: a file that is still being written is not judged
Signature = tuple[int, int, int] | None  #: inode, size, modification time; None: no file


class RuleBook:
    """Holds the rules in force for one ingest process."""

    def __init__(
        self, settings: Settings, store: Store, cards: Sequence[ModelCard],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Reads the file. Raises Misconfigured when it is bad and no good one is known, or is not there."""
        self.path = settings.rules
        self.rules = Rules()
        self._settings, self._store, self._cards, self._clock = settings, store, cards, clock
        self._good = settings.home / LAST_GOOD
        self._seen = self._signature()
        self._changed: tuple[Signature, float] | None = None
        if self._seen is None and settings.rules_file is not None:
            raise Misconfigured(f"{self.path.name}: rules_file names a file that is not there; correct it")
        if not self._load() and not self._fall_back():
            raise Misconfigured(
                f"{self.path.name} is bad and no good one is known; `wetread rules test` says why"
            )

    def current(self) -> Rules:
        """The rules in force, after a look whether the file changed and has rested since."""
        signature = self._signature()
        if signature == self._seen:
            self._changed = None
            return self.rules
        now = self._clock()
        if self._changed is None or self._changed[0] != signature:
            self._changed = (signature, now)
        elif now - self._changed[1] >= REST_SECONDS:
            before, self._seen, self._changed = self._seen, signature, None
            try:
                self._load()
            except Unavailable:  # its audit entry could not be written: again, then
                self._seen = before
                raise
        return self.rules

    def _signature(self) -> Signature:
        try:
            info = self.path.stat()
        except OSError:
            return None
        return info.st_ino, info.st_size, info.st_mtime_ns

    def _load(self) -> bool:
        """Takes the file into force, or notes why not. False when it was refused."""
        if self._seen is None:
            had = bool(self.rules.digest) or self._good.is_file()
            self.rules = Rules()
            self._good.unlink(missing_ok=True)
            metrics.rules_loaded.set(0)
            if had:
                self._note_loaded()
            return True
        try:
            data = self.path.read_bytes()
            rules = parse(data, self._cards)
        except BadRules as error:
            self._note_refused(error.line, error.reason)
            return False
        except OSError as error:
            self._note_refused(0, f"cannot be read ({type(error).__name__})")
            return False
        self.rules = rules
        self._keep(data)
        self._note_loaded()
        return True

    def _fall_back(self) -> bool:
        """At a start with a bad file: the last good one."""
        try:
            self.rules = parse(self._good.read_bytes(), self._cards)
        except (OSError, BadRules):
            return False
        log.warning("rules_last_good", rules=len(self.rules.rules), digest=self.rules.digest[:12])
        return True

    def _keep(self, data: bytes) -> None:
        temporary = self._good.with_name(f".{LAST_GOOD}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(self._good)

    def _note_loaded(self) -> None:
        digest, count = self.rules.digest[:12], len(self.rules.rules)
        with self._store.write() as writer:
            writer.audit(f"rules:{digest or 'none'}", "rules:loaded", rules=count)
        metrics.rules_loaded.set_to_current_time()
        log.info("rules_loaded", digest=digest, rules=count)

    def _note_refused(self, line: int, reason: str) -> None:
        with self._store.write() as writer:
            writer.audit("rules:refused", "rules:refused", line=line, reason=reason[:200])
        metrics.rules_refused.inc()
        log.error("rules_refused", line=line, reason=reason)
