"""The web service: ready says what is missing, metrics equal SQL, the page shows and escapes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from sqlalchemy import text

from console.web.app import create
from db import claims, conclusions, inputs, jobs, ledger, queue, services
from db.jobs import Conclusion, Owed
from db.keys import Keys
from db.ledger import Sighting
from db.records import Code, Diagnosis, Evidence, FileState, Finding, Kind
from db.settings import Settings
from db.store import Store, schema_version

with warnings.catch_warnings():  # starlette would rather have httpx2, which is too young to rely on
    warnings.filterwarnings("ignore", "Using `httpx` with")
    from fastapi.testclient import TestClient

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def client(settings: Settings, store: Store, redis: Redis) -> Iterator[TestClient]:
    """The application over a real store and a real Valkey."""
    with TestClient(create(settings, store, redis)) as found:
        yield found


def fill(store: Store) -> None:
    """A finding, an abstention, a failure, a waiting job, a refused file."""
    finding = Finding(
        code=Code(value="1", system="s", meaning=HOSTILE), positive=True, probability=0.9, threshold=0.5
    )
    answers = [Diagnosis(findings=(finding,)), Diagnosis.abstain("unsure", "x"), None, None]
    with store.write() as writer:
        for number, _ in enumerate(answers):
            name = f"{number}.txt"
            file_id = ledger.see(writer, [Sighting(name=name, suffix=".txt", bytes=1)])[name]
            owed = Owed(model="words", version="1", weights_sha256="a")
            evidence = Evidence(kind=Kind.NOTE)
            inputs.accept(writer, file_id, evidence, digest=f"{number:064d}", size=1, owed=[owed])
        bad = ledger.see(writer, [Sighting(name="bad", suffix="", bytes=1)])["bad"]
        ledger.conclude(writer, bad, FileState.QUARANTINED, reason="empty")
    hints = [job_id for job_id, _ in jobs.take_owed(store)]
    for hint, answer in zip(hints, answers[:3], strict=False):
        (job,) = claims.claim(store, hint, worker="w", lease_seconds=60)
        if answer is None:
            jobs.give_back(store, job, "x", final=True, max_attempts=3)
        else:
            conclusions.conclude(store, [Conclusion(job=job, diagnosis=answer, device="cpu")])


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """Each sample of the scrape by its name and label values."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found[sample.name, *(v for _, v in sorted(sample.labels.items()))] = sample.value
    return found


def test_it_lives(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/"])
def test_a_probe_may_ask_for_the_head_alone(client: TestClient, path: str) -> None:
    head, whole = client.head(path), client.get(path)
    assert (head.status_code, head.headers["content-type"]) == (
        whole.status_code,
        whole.headers["content-type"],
    )


def test_it_is_not_ready_without_services_and_names_them(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {
        "database": "ok", "redis": "ok", "ingest": "not running", "worker": "not running",
        "canary": "no worker has answered yet",
    }  # fmt: skip


def test_it_is_ready_once_ingest_and_a_worker_beat(client: TestClient, store: Store) -> None:
    services.beat(store, "ingest", "ready")
    services.beat(store, "worker-1", "ready", {"canary_at": store.now().isoformat()})
    assert (client.get("/readyz").status_code, client.get("/readyz").json()["ready"]) == (200, True)


def test_a_stale_heartbeat_is_a_lost_service(client: TestClient, store: Store, settings: Settings) -> None:
    services.beat(store, "worker-1", "ready")
    now = store.now
    store.now = lambda: now() + timedelta(seconds=4 * settings.heartbeat_seconds + 1)
    services.beat(store, "ingest", "ready")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["worker"]) == (503, "lost")


def test_an_ingest_that_waits_for_disk_is_not_ready(client: TestClient, store: Store) -> None:
    services.beat(store, "ingest", "waiting: disk")
    assert client.get("/readyz").json()["checks"]["ingest"] == "waiting: disk"


def test_one_ready_worker_of_two_is_enough(client: TestClient, store: Store) -> None:
    services.beat(store, "ingest", "ready")
    services.beat(store, "worker-1", "starting")
    services.beat(store, "worker-2", "ready", {"canary_at": store.now().isoformat()})
    assert client.get("/readyz").status_code == 200


def test_without_redis_it_is_not_ready_and_still_serves(settings: Settings, store: Store) -> None:
    away = queue.connect("redis://127.0.0.1:1/0")
    with TestClient(create(settings, store, away)) as client:
        assert client.get("/readyz").json()["checks"]["redis"].startswith("does not answer; start it")
        assert samples(client)["wetread_redis_up",] == 0
        assert client.get("/").status_code == 200
    away.close()


def test_a_redis_that_cannot_write_is_told_from_one_that_does_not_answer(
    client: TestClient, redis: Redis
) -> None:
    redis.config_set("min-replicas-to-write", 1)
    try:
        told = client.get("/readyz").json()["checks"]["redis"]
    finally:
        redis.config_set("min-replicas-to-write", 0)
    assert told == (
        "answers, but misses replicas that it must have; start them, or lower its min-replicas-to-write"
    )


def test_without_a_home_or_database_the_rest_is_still_told(
    settings: Settings, key: Keys, redis: Redis
) -> None:
    gone = settings.model_copy(update={"home": settings.home / "gone"})
    away = Store("postgresql+psycopg://nobody@127.0.0.1:1/none", key)
    client = TestClient(create(gone, away, redis))
    scrape, page = client.get("/metrics"), client.get("/")
    assert (scrape.status_code, page.status_code) == (200, 503)
    assert "wetread_redis_up 1.0" in scrape.text
    assert "database" in page.text


def test_a_database_without_schema_is_not_ready_and_says_which(
    settings: Settings, postgresql_database: str, key: Keys, redis: Redis
) -> None:
    empty = Store(postgresql_database, key)
    answer = TestClient(create(settings, empty, redis)).get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == f"schema None, expected {schema_version(empty)[1]}"
    empty.close()


def test_files_and_jobs_on_the_scrape_equal_sql(client: TestClient, store: Store) -> None:
    fill(store)
    found = samples(client)
    with store.read() as connection:
        files = connection.execute(text("SELECT state, count(*) FROM files GROUP BY state")).all()
        rows = connection.execute(text("SELECT state, count(*) FROM jobs GROUP BY state")).all()
    assert {tuple(r) for r in files} <= {(k[1], v) for k, v in found.items() if k[0] == "wetread_files"}
    assert sum(v for k, v in found.items() if k[0] == "wetread_files") == 5
    told: dict[str, float] = {}
    for name, value in ((k, v) for k, v in found.items() if k[0] == "wetread_jobs"):
        state = next(part for part in name if part in {r[0] for r in rows} | {"owed", "queued", "running"})
        told[state] = told.get(state, 0) + value
    assert {s: n for s, n in told.items() if n} == {r[0]: r[1] for r in rows}


def test_totals_on_the_scrape_equal_sql(client: TestClient, store: Store) -> None:
    fill(store)
    found = samples(client)
    with store.read() as connection:
        entries = connection.scalar(text("SELECT count(*) FROM audit"))
        cases = connection.scalar(text("SELECT count(*) FROM cases"))
    assert found["wetread_audit_entries_total",] == entries
    assert found["wetread_cases",] == cases
    assert found["wetread_results_total", "words", "positive"] == 1
    assert found["wetread_results_total", "words", "abstained"] == 1
    assert found["wetread_abstentions_total", "words", "unsure"] == 1
    assert found["wetread_quarantined_total", "empty"] == 1


def test_the_scrape_survives_a_database_that_is_away(settings: Settings, redis: Redis, key: Keys) -> None:
    away = Store("postgresql+psycopg://nobody@127.0.0.1:1/none", key)
    found = samples(TestClient(create(settings, away, redis)))
    assert found["wetread_redis_up",] == 1
    assert ("wetread_cases",) not in found


def test_counters_never_go_down_between_scrapes(client: TestClient, store: Store) -> None:
    fill(store)
    before = {k: v for k, v in samples(client).items() if k[0].endswith("_total")}
    jobs.requeue(store)
    after = samples(client)
    assert all(after[k] >= v for k, v in before.items())


def test_the_page_shows_what_is_going_on(client: TestClient, store: Store) -> None:
    fill(store)
    page = client.get("/").text
    for words in ("abstained: unsure: x", "positive", "empty", "0.900", "not a medical device"):
        assert words.lower() in page.lower()


def test_the_page_of_an_empty_installation_says_what_to_do(client: TestClient) -> None:
    assert "drop a file into the inbox" in client.get("/").text


def test_the_page_escapes_what_it_shows(client: TestClient, store: Store) -> None:
    fill(store)
    page = client.get("/").text
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_there_is_no_schema_or_docs_to_explore(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/nothing"):
        assert client.get(path).status_code == 404


def test_the_service_takes_its_name_off_the_list_when_it_stops(
    settings: Settings, store: Store, redis: Redis
) -> None:
    with TestClient(create(settings, store, redis, "web")) as client:
        client.get("/healthz")
    with store.read() as connection:
        assert "web" not in services.alive(store, connection, 60)
