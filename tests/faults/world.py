"""An installation whose every process can be killed, stopped and started, and what must hold of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from console import valkey
from db import queue, reports
from db.records import FileState
from db.settings import Settings, load
from db.store import Store, migrate, open_store
from ingest.quarantine import LINK, PAYLOAD, REASON

ROOT = Path(__file__).resolve().parent.parent.parent
STUMBLE = Path(__file__).with_name("stumble.py")
QUICK = {
    "WETREAD_SETTLE_SECONDS": "0.3", "WETREAD_TRUNCATED_AFTER_SECONDS": "3", "WETREAD_SCAN_SECONDS": "0.5",
    "WETREAD_LEASE_SECONDS": "4", "WETREAD_HEARTBEAT_SECONDS": "1", "WETREAD_RESEND_AFTER_SECONDS": "3",
    "WETREAD_RELAY_SECONDS": "0.5", "WETREAD_MODELS": "note-assertion", "WETREAD_DEVICE": "cpu",
    "WETREAD_THREADS": "1", "OMP_NUM_THREADS": "1", "WETREAD_DISK_LOW_BYTES": "0",
}  # fmt: skip
PATIENCE = 4  #: times as long as a quiet machine may take: a deadline is for what never comes
SERVICES = ("ingest", "worker-1", "web")
OPEN = ("owed", "queued", "running")


def note(word: object) -> bytes:
    """A note unlike any with another word; three mentions."""
    return f"Visit {word}. Fever and cough for two days. No evidence of pneumothorax.\n".encode()


class World:
    """One home and its processes: Valkey, ingest, workers, web; each a handle of its own."""

    def __init__(self, home: Path, database_url: str | None = None, **settings: str) -> None:
        self.home = home
        self.database_url = database_url
        self.env = {
            **os.environ, **QUICK, "WETREAD_HOME": str(home), "WETREAD_HTTP_PORT": str(valkey.free_port()),
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"), "PYTHONUNBUFFERED": "1", **settings,
        }  # fmt: skip
        if database_url:
            self.env["WETREAD_DATABASE_URL"] = database_url
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self.root = ROOT  #: whose code the services run
        self.kills = 0
        self._serial = 0
        known = {
            k.removeprefix("WETREAD_").lower(): v for k, v in self.env.items() if k.startswith("WETREAD_")
        }
        known.pop("data", None)
        self.settings: Settings = load(home).model_copy(
            update={k: v for k, v in Settings(**known).model_dump(exclude_unset=True).items() if k != "home"}  # type: ignore[arg-type]
        )
        self.settings.make_folders()
        self.store: Store
        self.store, self.archive = open_store(self.settings, create_key=True)
        migrate(self.store)

    # ── processes ─────────────────────────────────────────────────────────────────────────────────

    def start(self, *names: str) -> World:
        """Starts Valkey and the named services (all by default), and waits until ready."""
        self.start_valkey()
        for name in names or SERVICES:
            self.spawn(name)
        self.ready(*(names or SERVICES))
        return self

    def spawn(
        self, name: str, *, at: str = "", env: dict[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        """Starts one service; `at`: a point where it stumbles (see stumble.py)."""
        command = [sys.executable, str(STUMBLE), *at.split()] if at else [sys.executable, "-m", "console.cli"]
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            self.parts[name] = subprocess.Popen(
                [*prefix, *command, name.partition("-")[0], "--name", name], cwd=self.root,
                stdout=log, stderr=log,
                env={**self.env, "PYTHONPATH": str(self.root), **(env or {})}, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def start_valkey(self) -> None:
        """Starts Valkey on the same port with what its append-only file holds."""
        with (self.home / "logs" / "valkey.log").open("ab") as log:
            self.parts["valkey"] = valkey.start(self.settings, log)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        self.kills += 1
        self.parts[name].kill()
        self.parts[name].wait(20 * PATIENCE)

    def end(self, name: str, seconds: float = 40) -> int:
        """SIGTERM; its exit code."""
        self.parts[name].terminate()
        return self.parts[name].wait(seconds * PATIENCE)

    def gone(self, name: str, seconds: float = 60) -> int:
        """Waits until a process ended by itself; its exit code."""
        return self.parts[name].wait(seconds * PATIENCE)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal, SIGSTOP and SIGCONT above all."""
        self.parts[name].send_signal(number)

    def ensure(self, *names: str) -> None:
        """Everything runs again, as it was started first."""
        for process in self.parts.values():
            process.send_signal(signal.SIGCONT)  # whatever a failed test left stopped
        for name in ("valkey", *(names or SERVICES)):
            if name not in self.parts or self.parts[name].poll() is not None:
                self.start_valkey() if name == "valkey" else self.spawn(name)
        self.ready(*(names or SERVICES))

    def ready(self, *names: str) -> None:
        """Waits until each service has said of itself that it is ready."""
        pids = {self.parts[name].pid for name in names}
        query = text("SELECT pid FROM services WHERE state = 'ready'")
        self.until(lambda: pids <= {row.pid for row in self.rows(query)}, 90, f"{', '.join(names)} ready")
        if "web" in names:
            self.until(lambda: self.status_of("/healthz") == 200, 30, "web answering")

    def close(self) -> None:
        """Ends every process."""
        for name in sorted(self.parts, key=lambda n: n == "valkey"):
            if self.parts[name].poll() is None:
                self.parts[name].send_signal(signal.SIGCONT)
                self.parts[name].terminate()
        for process in self.parts.values():
            try:
                process.wait(20 * PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.store.close()

    # ── what goes in and what is seen ─────────────────────────────────────────────────────────────

    def drop(self, name: str, content: bytes) -> None:
        """As a careful sender does: written under a temporary name, then renamed."""
        target = self.home / "inbox" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".part")
        temporary.write_bytes(content)
        temporary.rename(target)

    def notes(self, count: int, folder: str = "n") -> None:
        """Drops notes, no two alike."""
        for _ in range(count):
            self._serial += 1
            self.drop(f"{folder}/{self._serial}.txt", note(f"{folder}{self._serial}"))

    def rows(self, query: Any, **values: Any) -> list[Any]:
        with self.store.read() as connection:
            return list(connection.execute(text(query) if isinstance(query, str) else query, values))

    def files(self) -> dict[str, int]:
        with self.store.read() as connection:
            return {s: n for s, n in reports.file_counts(connection).items() if n}

    def jobs(self) -> dict[str, int]:
        with self.store.read() as connection:
            return {s: n for s, n in reports.jobs_by_state(connection).items() if n}

    def reasons(self) -> set[str]:
        """Of the quarantined files."""
        return {row.reason for row in self.rows("SELECT reason FROM files WHERE state = 'quarantined'")}

    def seen(self) -> int:
        """Files that were ever seen and are no droppings."""
        return sum(n for state, n in self.files().items() if state != "ignored")

    def calm(self, files: int = 0) -> bool:
        """At least that many files, and nothing left to do.

        Each is asked for once, in the order in which a file goes on: what moves meanwhile is met further on.
        """
        left, seen, found, jobs = self.left_in_inbox(), self.seen(), self.files(), self.jobs()
        return seen >= files and not left and not found.get("pending") and not jobs.keys() & set(OPEN)

    def left_in_inbox(self) -> list[str]:
        inbox = self.home / "inbox"
        return [str(p.relative_to(inbox)) for p in inbox.rglob("*") if p.is_symlink() or not p.is_dir()]

    def settle(self, files: int = 0, seconds: float = 90) -> float:
        """Waits until calm; the seconds it took."""
        start = time.monotonic()
        self.until(lambda: self.calm(files), seconds, "calm", self.state)
        return round(time.monotonic() - start, 1)

    def state(self) -> str:
        return f"files {self.files()}, jobs {self.jobs()}, inbox {self.left_in_inbox()[:5]}"

    def status_of(self, path: str, seconds: float = 10) -> int:
        """The HTTP status the web answers with; 0: it does not."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=seconds) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.env['WETREAD_HTTP_PORT']}"

    def samples(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every sample of a scrape by (name, sorted labels)."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=20 * PATIENCE) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}

    def call(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """A command of the command line."""
        return subprocess.run(
            [sys.executable, "-m", "console.cli", *arguments], env={**self.env, **env},
            capture_output=True, text=True, timeout=120 * PATIENCE, check=False, cwd=ROOT,
        )  # fmt: skip

    def redis(self) -> Any:
        return queue.connect(self.settings.redis)

    def logs(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text("utf-8", "replace")

    @staticmethod
    def until(
        true: Callable[[], bool], seconds: float, what: str, state: Callable[[], str] | None = None
    ) -> float:
        """Waits for something to come true; the seconds it took."""
        start, longest = time.monotonic(), seconds * PATIENCE
        while not _holds(true):
            waited = time.monotonic() - start
            assert waited < longest, f"not {what} after {longest} s; {state() if state else ''}"
            time.sleep(0.1)
        return round(time.monotonic() - start, 1)


def _holds(true: Callable[[], bool]) -> bool:
    from db.errors import Unavailable

    try:
        return true()
    except (Unavailable, FileNotFoundError):  # the fault itself: the database is away, a folder vanishes
        return False


# ── what must hold after every fault ──────────────────────────────────────────────────────────────


def assert_sound(world: World) -> None:
    """Nothing lost, nothing twice, nothing half; call it when the world is calm."""
    _files_add_up(world)
    _one_result_each(world)
    _bytes_are_kept(world)
    verdict = world.store.verify_audit()
    assert verdict.ok, verdict.problem
    if "web" in world.parts and world.parts["web"].poll() is None:
        _metrics_equal_sql(world)


def _files_add_up(world: World) -> None:
    counted = world.files()
    assert set(counted) <= {state.value for state in FileState}
    assert sum(counted.values()) == world.rows("SELECT count(*) AS n FROM v_files")[0].n
    some = "(SELECT 1 FROM job_inputs i JOIN jobs j ON j.id = i.job_id WHERE i.evidence_id = f.evidence_id"
    unfinished = f"EXISTS {some} AND j.state NOT IN ('done', 'abstained'))"
    unsettled = world.rows(f"SELECT f.id FROM files f WHERE f.state = 'ready' AND NOT {unfinished}")
    assert unsettled == [], "files are ready though every job of theirs is concluded"
    early = world.rows(f"SELECT f.id FROM files f WHERE f.state = 'done' AND {unfinished}")
    assert early == [], "files are done though a job of theirs is not"

    def tidied() -> bool:  # a work file goes just after the commit that concludes it
        pending = {row.id for row in world.rows("SELECT id FROM files WHERE state = 'pending'")}
        return {p.name.partition(".")[0] for p in (world.home / "work").iterdir()} <= pending

    world.until(tidied, 20, "rid of the work files that are concluded")
    temporary = [str(p) for p in world.home.rglob(".*.tmp")]
    assert temporary == [], "half-written files were left"


def _one_result_each(world: World) -> None:
    twice = world.rows(
        "SELECT input_digest, model FROM jobs GROUP BY 1, 2, model_version, weights_sha256 "
        "HAVING count(*) > 1"
    )
    assert twice == [], "an input was read twice by one model"
    halves = world.rows(
        "SELECT j.id FROM jobs j LEFT JOIN results r ON r.job_id = j.id GROUP BY j.id, j.state "
        "HAVING (j.state IN ('done', 'abstained')) <> (count(r.id) > 0)"
    )
    assert halves == [], "results without a concluded job, or the other way round"
    gaps = world.rows(
        "SELECT job_id FROM results GROUP BY job_id "
        "HAVING min(position) <> 0 OR max(position) <> count(*) - 1"
    )
    assert gaps == [], "a job's results have gaps"
    ends = world.rows(
        "SELECT subject FROM audit WHERE action IN ('job:done', 'job:abstained') "
        "GROUP BY subject HAVING count(*) > 1"
    )
    assert ends == [], "the log concludes a job twice"


def _bytes_are_kept(world: World) -> None:
    for row in world.rows("SELECT DISTINCT digest FROM evidence"):
        assert row.digest in world.archive, "an accepted input's bytes are not in the archive"
    held = {p.name for p in (world.home / "quarantine").iterdir()}
    refused = {row.id for row in world.rows("SELECT id FROM files WHERE state = 'quarantined'")}
    assert held == refused, "quarantine and ledger disagree"
    for file_id in refused:
        place = world.home / "quarantine" / file_id
        assert json.loads((place / REASON).read_text())["code"]
        assert (place / PAYLOAD).exists() or os.path.lexists(place / LINK), "a refused file's bytes are gone"


def _metrics_equal_sql(world: World) -> None:
    samples = world.samples()
    for state, count in world.files().items():
        assert samples["wetread_files", (("state", state),)] == count
    jobs_total = sum(v for (name, _), v in samples.items() if name == "wetread_jobs")
    assert jobs_total == sum(world.jobs().values())
    results = sum(v for (name, _), v in samples.items() if name == "wetread_results_total")
    in_sql = world.rows("SELECT count(*) AS n FROM (SELECT DISTINCT job_id FROM results) AS r")[0].n
    assert results >= in_sql, "the counter of results is behind the record"
    concluded = world.rows(
        "SELECT count(*) AS n FROM jobs WHERE model <> 'none' AND state IN ('done', 'abstained')"
    )[0].n

    def ended() -> float:
        return sum(
            count for (name, labels), count in world.samples().items()
            if name == "wetread_job_attempts_total" and dict(labels)["outcome"] in ("done", "abstained")
        )  # fmt: skip

    # what processes count may miss the jobs of one commit before a SIGKILL, two batches, and never adds one;
    # a worker counts just after its commit
    world.until(lambda: ended() >= concluded - 2 * 8 * world.kills, 20, "counted")
    assert ended() <= concluded


def free(path: Path) -> int:
    """Bytes free where a path lies."""
    return shutil.disk_usage(path).free
