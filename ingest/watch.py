"""Files in the inbox settle: events are the hint, the scan is the truth, quiet time says written."""

from __future__ import annotations

import fnmatch
import math
import os
import queue
import re
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import watchfiles

from db.logs import get, place

log = get("ingest")

# what operating systems, editors and half-done transfers leave: theirs, not ours
DROPPINGS = (
    ".*", "*.tmp", "*.part", "*.partial", "*.filepart", "*.crdownload", "*.swp", "*~",
    "Thumbs.db", "desktop.ini", "@eaDir", "__MACOSX",
)  # fmt: skip

_DROPPING = re.compile("|".join(fnmatch.translate(pattern) for pattern in DROPPINGS))
STEP_MS = 10  #: without a further event until those before it are told
AGAIN_SECONDS = 1.0  #: until events that were lost are listened to again; the scan finds what came between
MARK_BYTES = 1024  #: a done mark says nothing but its name; a longer file of that name is a file


@dataclass
class Seen:
    """What the inbox showed of a file, and since when it has not changed."""

    size: int
    mtime_ns: int
    regular: bool
    quiet_since: float
    look_again: float = 0.0  #: not before this time; an incomplete file is not parsed at every tick


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A file that has rested long enough to be looked at."""

    name: str  #: path below the inbox, POSIX form
    size: int
    regular: bool
    quiet_seconds: float


def is_dropping(name: str) -> bool:
    """Is any part of the path below the inbox one of the DROPPINGS?"""
    return any(_DROPPING.match(part) for part in name.split("/"))


class Inbox:
    """The watched folder as last seen. Time is an argument: any monotonic clock's seconds."""

    def __init__(self, root: Path, settle_seconds: float, done_suffix: str = ".done") -> None:
        self.root = root.absolute()  # as events name it
        self.settle_seconds = settle_seconds
        self.done_suffix = done_suffix
        self.marks: dict[str, str] = {}  #: done mark -> the folder or file that it speaks of
        self._spoken: set[str] = set()  #: what the marks speak of
        self._left: set[str] = set()  #: what a mark could speak of that is not taken
        self.due = math.inf  #: when the next of the files that still rested will have, by the last look
        self.files: dict[str, Seen] = {}
        self.droppings: set[str] = set()

    def scan(self, now: float) -> tuple[list[str], list[str]]:
        """Walks the whole folder. Returns (files newly seen, droppings newly seen)."""
        return self._look(_walk(self.root, self.root), now)

    def hint(self, path: Path, now: float) -> tuple[list[str], list[str]]:
        """Looks at one path an event named, or at all below it; only where the scan would look."""
        if not self._is_inside(path):
            return [], []
        return self._look(_walk(self.root, path), now)

    def _is_inside(self, path: Path) -> bool:
        """Below the root, and through no link or dropping: events come from linked folders as well."""
        if path == self.root:
            return True
        try:
            folders = path.relative_to(self.root).parts[:-1]
        except ValueError:
            return False
        folder = self.root
        for part in folders:
            folder /= part
            if is_dropping(part) or folder.is_symlink():
                return False
        return True

    def _look(self, found: Iterator[tuple[str, os.stat_result]], now: float) -> tuple[list[str], list[str]]:
        new, dropped = [], []
        for name, info in found:
            base = self._spoken_of(name, info)
            if base is not None:
                self.marks[name] = base
            else:
                self.marks.pop(name, None)  # it may have grown beyond a mark
            if base is None and is_dropping(name):
                if name not in self.droppings:
                    self.droppings.add(name)
                    dropped.append(name)
                continue
            if self._observe(name, info, now):
                new.append(name)
        return new, dropped

    def _spoken_of(self, name: str, info: os.stat_result) -> str | None:
        """What a done mark speaks of: `a/.done` of folder a, `a.done` of file or folder a; None: no mark."""
        suffix = self.done_suffix
        if (
            not suffix
            or not name.endswith(suffix)
            or info.st_size > MARK_BYTES
            or not stat.S_ISREG(info.st_mode)
        ):
            return None
        base = name.removesuffix(suffix)
        folder, _, last = base.rpartition("/")
        if folder and is_dropping(folder):
            return None
        return base if last else folder

    def is_covered(self, name: str) -> bool:
        """Did its sender mark this file, or a folder it lies in, as done?"""
        return bool(self.marks) and not self._spoken.isdisjoint(bases(name))

    def has_covered(self, base: str) -> bool:
        """Were there files left, when last looked for settled ones, that a mark of this base speaks of?"""
        return base in self._left

    def _look_at_marks(self) -> None:
        """Once a look, so that many marks beside many files cost no more than the files."""
        self._spoken = set(self.marks.values())
        self._left = set()
        if self.marks:
            for name in self.files:
                if name not in self.marks:
                    self._left.update(bases(name))

    def _observe(self, name: str, info: os.stat_result, now: float) -> bool:
        """Notes a file's size and time; whether it is new."""
        seen = self.files.get(name)
        regular = stat.S_ISREG(info.st_mode)
        if seen is None:
            self.files[name] = Seen(info.st_size, info.st_mtime_ns, regular, now)
            return True
        if (info.st_size, info.st_mtime_ns) != (seen.size, seen.mtime_ns):
            self.files[name] = Seen(info.st_size, info.st_mtime_ns, regular, now)
        return False

    def settled(self, now: float, limit: int | None = None) -> tuple[list[Settled], list[str]]:
        """Returns (files that have rested, at most `limit`, files that vanished before they were read).

        What its sender marked as done need not rest.
        """
        self._look_at_marks()
        ready: list[Settled] = []
        gone: list[str] = []
        soonest = math.inf
        for name, seen in self.files.items():  # not a copy of it: a hundred thousand may wait
            if len(ready) == limit:
                break
            needed = 0.0 if self.is_covered(name) else self.settle_seconds
            due = max(seen.quiet_since + needed, seen.look_again)
            if now < due:
                soonest = min(soonest, due)
                continue
            try:
                info = (self.root / name).lstat()
            except OSError:
                gone.append(name)
                continue
            self._observe(name, info, now)
            quiet_since = self.files[name].quiet_since
            if now >= quiet_since + needed:
                quiet = now - quiet_since
                ready.append(Settled(name=name, size=info.st_size, regular=seen.regular, quiet_seconds=quiet))
            else:
                soonest = min(soonest, quiet_since + needed)
        self.due = soonest
        for name in gone:
            self.forget(name)
        return ready, gone

    def rested(self, name: str, now: float) -> bool:
        """Has this file not changed for the settling time, as far as was seen?"""
        needed = 0.0 if self.is_covered(name) else self.settle_seconds
        return now >= self.files[name].quiet_since + needed

    def postpone(self, name: str, until: float) -> None:
        """Does not offer a settled file again before a time, unless it changes."""
        if name in self.files:
            self.files[name].look_again = until
            self.due = min(self.due, until)

    def forget(self, name: str) -> None:
        """A file that was claimed is no longer in the inbox."""
        self.files.pop(name, None)
        self.marks.pop(name, None)


def bases(name: str) -> set[str]:
    """What a mark would call this file: itself, with or without its suffix, and each folder it lies in."""
    path = PurePosixPath(name)
    places = {name, path.with_suffix("").as_posix(), *(parent.as_posix() for parent in path.parents)}
    return {"" if place == "." else place for place in places}


def _walk(root: Path, start: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every non-folder at or below a path, never through a link, as (name below root, lstat)."""
    try:
        info = start.lstat()
    except OSError:
        return
    if not stat.S_ISDIR(info.st_mode):
        yield start.relative_to(root).as_posix(), info
        return
    prefix = len(str(root)) + 1
    stack = [str(start)]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not is_dropping(entry.name):
                            stack.append(entry.path)
                        continue
                    yield entry.path[prefix:], entry.stat(follow_symlinks=False)
        except OSError as error:  # a folder that vanished, or that may not be read: the next scan tries again
            log.warning("folder_unreadable", error=place(error))


class Events:
    """The file system's events in a thread of their own; losing them costs only the wait for a scan."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stop = threading.Event()
        self._paths: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()

    def drain(self) -> set[Path]:
        """The paths named since the last call."""
        found: set[Path] = set()
        while not self._paths.empty():
            found.add(self._paths.get_nowait())
        return found

    def wait(self, seconds: float) -> None:
        """Returns once a path is named, at the latest after so many seconds."""
        if seconds > 0:
            self._told.wait(seconds)
        self._told.clear()  # what is named from here on wakes the next wait; all before can be drained

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 - one name that is no UTF-8 ends the library's watch
                log.warning("events_lost", error=place(error))
                self._stop.wait(AGAIN_SECONDS)

    def _listen(self) -> None:
        changes = watchfiles.watch(
            self._root, watch_filter=None, stop_event=self._stop, debounce=200, step=STEP_MS,
            rust_timeout=1000, raise_interrupt=False, ignore_permission_denied=True,
        )  # fmt: skip
        for change in changes:
            for kind, path in change:
                if kind is not watchfiles.Change.deleted:
                    self._paths.put(Path(path))
            self._told.set()
