"""Examines an installation: each check is ok, or comes with its fix."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from db import keys, queue, settings, spelling, store
from db.errors import Misconfigured, WetreadError

Check = dict[str, Any]


def examine(home: Path | None) -> list[Check]:
    """Every check in order; a failed one does not stop the next, but for the settings, which all rest on."""
    try:
        values = settings.load(home)
    except Misconfigured as error:
        fix = "mend them; `wetread settings` lists all, with what is wrong"
        return [{"check": "settings", "ok": False, "detail": str(error), "fix": fix}]
    parts: list[tuple[str, Callable[[settings.Settings], str], str]] = [
        ("settings", _settings, ""),
        ("home", _home, "run `wetread up` once, or name the home with --home"),
        (
            "folders",
            _folders,
            "`wetread up` makes them; give the user that runs it read, write and search rights",
        ),
        ("watching", _watching, "set WETREAD_WATCH_MODE to auto or polling: events are lost there"),
        ("key", _key, "restore keys/master.key (0600) from backup; without it payloads cannot be opened"),
        (
            "database",
            _database,
            "start PostgreSQL, correct WETREAD_DATABASE_URL, or start any service to migrate",
        ),
        (
            "audit",
            _audit,
            "run `wetread audit verify`; keep the database as it is and tell whoever guards it",
        ),
        ("redis", _redis, "start it (`wetread up` starts the embedded one) or correct WETREAD_REDIS_URL"),
        ("disk", _disk, "free space where the home lies, or lower WETREAD_DISK_LOW_BYTES"),
        ("clock", _clock, "synchronise the clocks of this host and the database's (NTP)"),
        ("rules", _rules, "mend the line; `wetread rules test FILE` says whether it is well"),
        ("device", _device, "correct WETREAD_DEVICE; see `nvidia-smi` for what the driver offers"),
    ]
    found = [_try(name, check, values, fix) for name, check, fix in parts]
    return [*found, *_models(values)]


def _try(name: str, check: Callable[[settings.Settings], str], values: settings.Settings, fix: str) -> Check:
    try:
        return {"check": name, "ok": True, "detail": check(values), "fix": ""}
    except (WetreadError, OSError) as error:
        detail = (
            str(error) if isinstance(error, WetreadError) else f"{type(error).__name__}: {error.strerror}"
        )
        return {"check": name, "ok": False, "detail": detail, "fix": getattr(error, "fix", fix)}


class _Ailing(Misconfigured):
    """A check that failed for a reason with a fix of its own."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.fix = fix


def _settings(_: settings.Settings) -> str:
    told = spelling.strange(os.environ, settings.Settings.model_fields)
    return "; ".join([f"{len(settings.Settings.model_fields)}, none contradicts another", *told])


def _home(values: settings.Settings) -> str:
    if not values.home.is_dir():
        raise Misconfigured(f"{values.home.name} is not there")
    return "there"


def _folders(values: settings.Settings) -> str:
    missing = [name for name in settings.FOLDERS if not values.folder(name).is_dir()]
    if missing:
        raise Misconfigured(f"missing: {', '.join(missing)}")
    values.require_access()
    return f"{len(settings.FOLDERS)} folders, all writable"


def _watching(values: settings.Settings) -> str:
    from ingest.mounts import is_silent, watching

    found = watching(values.folder("inbox"), values.watch_mode)
    if found.events and is_silent(found.file_system):
        raise Misconfigured(f"the inbox is on {found.file_system}, which does not tell of every change")
    often = values.scan_seconds if found.events else values.poll_seconds
    return f"{found}; a scan every {often:g} s"


def _key(values: settings.Settings) -> str:
    return f"key {keys.load(values.master_key).id}, readable by its owner alone"


def _opened(values: settings.Settings) -> store.Store:
    _home(values)
    try:
        return store.open_store(values)[0]
    except Misconfigured as error:
        raise _Ailing(str(error), "mend `key` first") from None


def _database(values: settings.Settings) -> str:
    opened = _opened(values)
    version, newest = store.schema_version(opened)
    if version != newest:
        raise Misconfigured(f"schema {version}, expected {newest}")
    return f"{opened.engine.dialect.name}, schema {version}"


def _audit(values: settings.Settings) -> str:
    verdict = _opened(values).verify_audit()
    if verdict.problem:
        raise Misconfigured(verdict.problem)
    return f"{verdict.entries} entries, unbroken"


def _redis(values: settings.Settings) -> str:
    client = queue.connect(values.redis)
    if ill := queue.trouble(client):
        raise _Ailing(ill.met, ill.cure)
    return f"takes hints, {sum(queue.depth(client).values())} waiting"


def _disk(values: settings.Settings) -> str:
    folders = (values.home, *map(values.folder, ("archive", "quarantine", "work")))
    there = [folder for folder in folders if folder.is_dir()] or [Path.cwd()]
    free = min(shutil.disk_usage(folder).free for folder in there)  # each may be a mount of its own
    if free < values.disk_low_bytes:
        raise Misconfigured(
            f"{free / 1e9:.1f} GB free, below {values.disk_low_bytes / 1e9:.1f} GB: intake waits"
        )
    return f"{free / 1e9:.1f} GB free"


def _clock(values: settings.Settings) -> str:
    from sqlalchemy import text

    opened = _opened(values)
    if opened.engine.dialect.name == "sqlite":
        return "one host, one clock"
    with opened.read() as connection:
        theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    apart = abs(theirs - time.time())
    if apart > 2:
        raise Misconfigured(f"{apart:.0f} s apart from the database's")
    return f"{apart:.2f} s apart from the database's"


def _rules(values: settings.Settings) -> str:
    from ingest.rules import parse
    from models.registry import also_in, served

    also_in(values.folder("models"))
    if not values.rules.is_file():
        return "none: every input is read by the models whose cards ask for it"
    found = parse(values.rules.read_bytes(), served(values.models))
    return f"{len(found.rules)} rules, in force"


def _device(values: settings.Settings) -> str:
    from worker.runtime import choose_device

    return choose_device(values.device)


def _models(values: settings.Settings) -> Iterator[Check]:
    from models.registry import also_in, cards

    also_in(values.folder("models"))
    try:
        found = cards()
    except Misconfigured as error:
        yield {
            "check": "models",
            "ok": False,
            "detail": str(error),
            "fix": "remove the folder, or import it again",
        }
        return
    for card in found:
        try:
            card.verify()
        except Misconfigured as error:
            yield {"check": card.name, "ok": False, "detail": str(error), "fix": "restore the model's folder"}
        else:
            yield {
                "check": card.name, "ok": True, "fix": "",
                "detail": f"version {card.version}, weights {card.weights_sha256[:12]}",
            }  # fmt: skip
