"""The one reader of environment and file: every setting with its unit, default and reason."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.errors import Misconfigured
from db.spelling import PREFIX, in_file, misspelt

FOLDERS = ("inbox", "quarantine", "archive", "work", "valkey", "logs", "keys", "metrics", "models")

URLS = {  #: setting -> the schemes that its URL may have, and how one looks
    "database_url": (("sqlite", "postgresql", "postgresql+psycopg"),
                     "postgresql+psycopg://user:password@host:5432/database"),
    "redis_url": (("redis", "rediss"), "redis://:password@host:6379/0"),
}  # fmt: skip


class Settings(BaseSettings):
    """Frozen settings; `WETREAD_<NAME>` in the environment wins over `wetread.toml` in the home."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    home: Path = Field(
        Path("wetread-home"), description="folder that holds everything one installation keeps"
    )
    inbox: Path | None = Field(
        None, description="watched folder; default <home>/inbox. May be a network share"
    )
    key_file: Path | None = Field(
        None, description="master key, 0600; default <home>/keys/master.key. Several hosts share one"
    )
    database_url: SecretStr | None = Field(
        None, description="SQLAlchemy URL; default SQLite <home>/wetread.db. PostgreSQL for several hosts"
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey URL; default the embedded Valkey that `wetread up` starts"
    )
    http_host: str = Field(
        "127.0.0.1", description="address that web and metrics bind; loopback unless a proxy guards it"
    )
    http_port: int = Field(8642, ge=0, le=65535, description="port of web, /metrics, /healthz and /readyz")
    metrics_port: int = Field(
        0, ge=0, le=65535,
        description="port of a lone ingest or worker's own /metrics; 0: none, the web serves all",
    )  # fmt: skip
    settle_seconds: float = Field(
        2.0, gt=0, description="seconds a file's size and time must rest before it counts as written"
    )
    scan_seconds: float = Field(
        5.0,
        gt=0,
        description="seconds between full scans of the inbox; events are only hints and may be lost",
    )
    tick_seconds: float = Field(
        0.2, gt=0, description="seconds between looks at the inbox while nothing calls for one"
    )
    truncated_after_seconds: float = Field(
        60.0, gt=0, description="seconds without growth after which an incomplete file is quarantined"
    )
    watch_mode: Literal["auto", "events", "polling"] = Field(
        "auto",
        description="auto: events beside the scan where the inbox's file system tells of every change, else "
        "polling; a network share or a container's layer does not",
    )
    poll_seconds: float = Field(
        2.0, gt=0, description="seconds between scans of the inbox where it is polled; longer if a scan is"
    )
    done_suffix: str = Field(
        ".done",
        pattern=r"^(|\.[A-Za-z0-9_-]{1,32})$",
        description="a small file of this name in a folder, or this suffix after a name, says that it is all "
        "there; empty: none does",
    )
    series_quiet_seconds: float = Field(
        10.0, ge=0, description="seconds without a new instance after which a series without a gap is whole"
    )
    study_quiet_seconds: float = Field(
        60.0, ge=0, description="seconds without a new instance after which a study is whole"
    )
    series_wait_seconds: float = Field(
        900.0, ge=0,
        description="seconds after its last instance that a series or study with something lacking waits",
    )  # fmt: skip
    completeness_policy: Literal["wait", "partial", "quarantine"] = Field(
        "wait",
        description="what becomes of a series with something lacking: wait that long and read it flagged "
        "as partial; read it so once it is quiet; or wait and quarantine it. A rule's policy wins",
    )
    required_series: str = Field(
        "", description="series that a study must have, as MODALITY[/plane][/count], ...: MR/sagittal/20"
    )
    rules_file: Path | None = Field(
        None, description="routing rules (docs/rules.md); default <home>/rules.toml where there is one"
    )
    site: str = Field(
        "", max_length=64, description="this installation's site, as rules match it; a folder site=NAME wins"
    )
    zip_entries_max: int = Field(20_000, gt=0, description="files that one zip archive may hold")
    zip_bytes_max: int = Field(
        8 * 1024**3, gt=0, description="bytes that one zip archive may grow to; a larger one is quarantined"
    )
    zip_ratio_max: int = Field(
        200, gt=0, description="times its packed size that a zip archive may grow to; images stay below ten"
    )
    file_max_bytes: int = Field(2 * 1024**3, gt=0, description="bytes; larger files are quarantined unread")
    note_max_bytes: int = Field(1_000_000, gt=0, description="bytes; a longer note is quarantined unread")
    intake_batch: int = Field(64, gt=0, description="files recorded in one transaction: groups the syncs")
    relay_seconds: float = Field(1.0, gt=0, description="seconds between looks for owed jobs and lost hints")
    resend_after_seconds: float = Field(
        20.0, gt=0, description="seconds a job may wait with an empty queue before its hint is sent again"
    )
    lease_seconds: float = Field(
        60.0, gt=0, description="seconds a worker owns a job without a heartbeat; then others may take it"
    )
    heartbeat_seconds: float = Field(
        5.0, gt=0, description="seconds between a service's signs of life and its leases' renewals"
    )
    visibility_seconds: float = Field(
        3600.0, gt=0, description="seconds after which Redis gives a hint that nobody acknowledged again"
    )
    job_seconds_max: float = Field(
        600.0, gt=0,
        description="seconds one batch may run; a worker stuck for longer ends itself, its jobs count a try",
    )  # fmt: skip
    stop_seconds: float = Field(
        20.0,
        gt=0,
        description="seconds a worker that is told to stop may finish its batch; then it hands it back",
    )
    canary_seconds: float = Field(
        15.0,
        gt=0,
        description="seconds between the hints that an idle worker sends itself to prove it consumes",
    )
    canary_seconds_max: float = Field(
        90.0, gt=0, description="seconds without an answer to these after which a worker is started anew"
    )
    max_attempts: int = Field(3, gt=0, description="tries of one job before it is failed for a person to see")
    batch_size: int = Field(
        8,
        gt=0,
        description="jobs one forward pass takes at most; a lone job never waits. Of a fast model a "
        "worker has up to eight batches in hand, of a second's work together",
    )
    backend: Literal["auto", "reference"] = Field(
        "auto", description="what networks compute by; auto: the fastest that `wetread models optimise` "
        "admitted on this machine; reference: PyTorch in single precision",
    )  # fmt: skip
    decode_ahead: Literal["auto", "on", "off"] = Field(
        "auto", description="decode a batch while the one before is computed, and half of a lone batch while "
        "the other is; auto: halves only on a GPU, or where `threads` leaves a core idle; off: nothing ahead",
    )  # fmt: skip
    decoders: int = Field(
        0, ge=0, le=64, description="processes in which a worker decodes inputs, as many at once; 0: one for "
        "four cores, eight at most",
    )  # fmt: skip
    model_memory_bytes: int = Field(
        0, ge=0, description="bytes of a device that open models may take, beyond which the least lately "
        "used are closed; 0: four fifths of a GPU's, half of a host's",
    )  # fmt: skip
    lane_turn: int = Field(
        4, ge=2,
        description="batches, of which one goes to the longest waiting jobs of a less urgent lane",
    )  # fmt: skip
    device: str = Field("auto", description="auto: CUDA where there is one, else CPU; or cpu, cuda:0, ...")
    threads: int = Field(0, ge=0, description="CPU threads of a worker; 0: all cores but none oversubscribed")
    models: str = Field(
        "", description="names of the models to serve, parted by commas; empty: every installed one"
    )
    disk_low_bytes: int = Field(
        512 * 1024**2,
        ge=0,
        description="bytes free below which intake stops claiming and files wait in the inbox",
    )
    disk_resume_bytes: int = Field(
        768 * 1024**2, ge=0,
        description="bytes free from which intake claims again; above disk_low_bytes, lest it flap",
    )  # fmt: skip
    queue_limit: int = Field(
        20_000, ge=0,
        description="jobs waiting from which intake stops claiming, until a tenth are read; 0: no limit",
    )  # fmt: skip

    retain_done_days: float | None = Field(
        None, ge=0, description="days a read input's payload is kept after its last change; unset: for ever"
    )
    retain_failed_days: float | None = Field(
        None, ge=0, description="days the payload of an input with a failed job is kept; unset: for ever"
    )
    retain_quarantined_days: float | None = Field(
        None, ge=0, description="days a quarantined file's bytes are kept; unset: for ever"
    )

    @field_validator(*URLS)
    @classmethod
    def _must_be_url(cls, value: SecretStr | None, about: ValidationInfo) -> SecretStr | None:
        """Refused here, in words of ours: a library's would come later, and might show a password."""
        schemes, example = URLS[str(about.field_name)]
        try:
            found = urlsplit("" if value is None else value.get_secret_value())
            well = value is None or (found.scheme in schemes and found.port != 0)  # a port of letters raises
        except ValueError:
            well = False
        if not well:
            raise ValueError(f"should be a URL such as {example}")
        return value

    def folder(self, name: str) -> Path:
        """A folder of the home by its name in FOLDERS."""
        if name == "inbox" and self.inbox is not None:
            return self.inbox
        return self.home / name

    @property
    def master_key(self) -> Path:
        """Where the master key lies."""
        return self.key_file or self.home / "keys" / "master.key"

    @property
    def rules(self) -> Path:
        """Where the routing rules stand, if there are any."""
        return self.rules_file or self.home / "rules.toml"

    @property
    def database(self) -> str:
        """The database's SQLAlchemy URL (may hold a password: never log it)."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{quote(str((self.home / 'wetread.db').absolute()))}"  # `?` would begin its options

    @property
    def redis(self) -> str:
        """The Redis URL (holds a password: never log it).

        Raises Misconfigured when neither a URL is set nor an embedded Valkey was started.
        """
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        path = self.home / "valkey" / "endpoint.json"
        try:
            endpoint = json.loads(path.read_text("utf-8"))
            password, port = quote(endpoint["password"]), int(endpoint["port"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Misconfigured(
                "no Redis: set WETREAD_REDIS_URL, or start the embedded one with `wetread up`"
            ) from error
        return f"redis://:{password}@127.0.0.1:{port}/0"

    def make_folders(self) -> None:
        """The home and its folders, for the owner alone (0700). Raises Misconfigured where they cannot be."""
        for path in (self.home, *map(self.folder, FOLDERS)):
            try:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise Misconfigured(
                    f"{path}: cannot make this folder ({error.strerror}); make it for the user that runs "
                    "wetread, or name another with --home or WETREAD_INBOX"
                ) from None

    def require_access(self) -> None:
        """Raises Misconfigured, naming it, where a folder cannot be read, written to and searched."""
        for path in map(self.folder, FOLDERS):
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                raise Misconfigured(
                    f"{path}: this user may not read, write and search it; wetread moves files out of the "
                    "inbox and keeps its own beside it"
                )


def contradictions(values: Settings) -> list[str]:
    """Settings that defeat each other, each as a sentence that names both."""
    v = values
    pairs = [
        ("lease_seconds", v.lease_seconds > 2 * v.heartbeat_seconds, "more than twice", "heartbeat_seconds",
         "one late heartbeat would give a living worker's job to another"),
        ("visibility_seconds", v.visibility_seconds >= v.lease_seconds, "at least", "lease_seconds",
         "Redis would repeat the hint of a job that its worker still owns"),
        ("visibility_seconds", v.visibility_seconds >= v.job_seconds_max, "at least", "job_seconds_max",
         "Redis would repeat the hint of a job that is still allowed to run"),
        ("job_seconds_max", v.job_seconds_max >= v.lease_seconds, "at least", "lease_seconds",
         "a job that is ended by force waits for its lease to end all the same"),
        ("truncated_after_seconds", v.truncated_after_seconds > v.settle_seconds, "more than",
         "settle_seconds", "a file would be judged truncated before it has settled"),
        ("resend_after_seconds", v.resend_after_seconds > v.relay_seconds, "more than", "relay_seconds",
         "hints would be sent again before they can have been taken"),
        ("canary_seconds_max", v.canary_seconds_max >= 3 * v.canary_seconds, "at least three times",
         "canary_seconds", "one lost canary would restart a worker that is well"),
        ("disk_resume_bytes", v.disk_resume_bytes >= v.disk_low_bytes, "at least", "disk_low_bytes",
         "intake would resume and stop at every file"),
        ("file_max_bytes", v.file_max_bytes >= v.note_max_bytes, "at least", "note_max_bytes",
         "a note would be refused for its size as a file"),
        ("queue_limit", not v.queue_limit or v.queue_limit >= v.batch_size, "0, or at least", "batch_size",
         "no batch could ever be full"),
    ]  # fmt: skip
    return [
        f"{name} ({getattr(v, name):g}) must be {how} {other} ({getattr(v, other):g}): else {why}"
        for name, holds, how, other, why in pairs
        if not holds
    ]


def load(home: Path | None = None) -> Settings:
    """The settings from the environment over `<home>/wetread.toml` over the defaults.

    Raises Misconfigured, naming each wrong setting and where it stands, never its value (it may be a
    secret), names that are no setting, and settings that contradict each other.
    """
    if wrong := misspelt(os.environ, Settings.model_fields):
        raise Misconfigured(f"environment: {'; '.join(wrong)}")
    first = _checked({} if home is None else {"home": home}, "environment")
    given = first.model_dump(exclude_unset=True)
    stored = _stored(first.home / "wetread.toml")
    found = _checked({**stored, **given, "home": first.home.absolute()}, "wetread.toml")
    if wrong_together := contradictions(found):
        raise Misconfigured(f"settings: {'; '.join(wrong_together)}")
    return found


def _stored(path: Path) -> dict[str, Any]:
    """What the home's file says; nothing where there is none."""
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Misconfigured("wetread.toml: is not UTF-8; save it as such") from None
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"wetread.toml: {error}") from error
    if unknown := in_file(found, Settings.model_fields):
        raise Misconfigured(f"wetread.toml: {'; '.join(unknown)}")
    return found


def _checked(values: Mapping[str, Any], source: str) -> Settings:
    """Settings of these values over the environment's. Raises Misconfigured, naming source and setting."""
    try:
        return Settings(**values)
    except ValidationError as error:
        names = [str(e["loc"][0]) for e in error.errors()]
        spelt = [PREFIX + name.upper() if source == "environment" else name for name in names]
        said = [str(e["msg"]).removeprefix("Value error, ") for e in error.errors()]
        wrong = [f"{name}: {sentence}" for name, sentence in zip(spelt, said, strict=True)]
        raise Misconfigured(f"{source}: {'; '.join(wrong)}") from None
