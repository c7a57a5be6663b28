"""The web application: `/healthz` lives, `/readyz` works, `/metrics` counts, `/` shows."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.templating import Jinja2Templates
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from redis import Redis

from console.web.collect import RecordCollector
from console.wording import lasting, measured, named, outcome, read_by
from db import metrics, queue, reports, services
from db.errors import WetreadError
from db.logs import get
from db.settings import Settings
from db.store import Store, schema_version

log = get("web")
HERE = Path(__file__).parent
PAGE_RESULTS = 50


def checks(settings: Settings, store: Store, client: Redis) -> dict[str, str]:
    """What must hold to do the work, each `ok` or what is wrong."""
    ill = queue.trouble(client)
    found = {"database": "ok", "redis": "ok" if ill is None else f"{ill.met}; {ill.cure}"}
    try:
        version, newest = schema_version(store)
        if version != newest:
            return {**found, "database": f"schema {version}, expected {newest}"}
        with store.read() as connection:
            alive = services.alive(store, connection, services.FRESH_BEATS * settings.heartbeat_seconds)
            ages = services.canary_ages(store, connection)
    except WetreadError as error:
        return {**found, "database": str(error)}
    for kind in ("ingest", "worker"):
        states = [str(s["state"]) for name, s in alive.items() if name.partition("-")[0] == kind]
        # an ingest that waits for the queue to shorten does as it should
        at_work = {"ready", "waiting: queue"} & set(states)
        found[kind] = "ok" if at_work else ", ".join(states) or "not running"
    found["canary"] = _canary(settings, ages)
    return found


def _canary(settings: Settings, ages: Mapping[str, float]) -> str:
    """Does any worker truly consume?"""
    if not ages:
        return "no worker has answered yet"
    longest = settings.canary_seconds_max + services.FRESH_BEATS * settings.heartbeat_seconds
    return "ok" if min(ages.values()) <= longest else f"none answered for {min(ages.values()):.0f} s"


def create(settings: Settings, store: Store, client: Redis, name: str = "web") -> FastAPI:
    """The application over a store and a Redis."""
    stop = threading.Event()

    def beat() -> None:
        while True:
            try:
                services.beat(store, name, "ready")
            except WetreadError as error:
                log.warning("heartbeat_missed", reason=str(error))
            if stop.wait(settings.heartbeat_seconds):
                return

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join(5)
        try:
            services.gone(store, name)
        except WetreadError as error:
            log.warning("unavailable", reason=str(error))

    app = FastAPI(title="wetread", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_exception_handler(WetreadError, _unavailable)
    _routes(app, settings, store, client)
    return app


def _unavailable(_: Request, error: Exception) -> Response:
    """The page without its database: what is away, in place of a bare 500."""
    return PlainTextResponse(f"wetread: {error}\n", status_code=503)


def _routes(app: FastAPI, settings: Settings, store: Store, client: Redis) -> None:
    templates = Jinja2Templates(HERE / "templates")
    templates.env.filters |= {
        "named": named, "measured": measured, "outcome": outcome, "read_by": read_by, "lasting": lasting,
    }  # fmt: skip
    record = CollectorRegistry()
    record.register(RecordCollector(settings, store, client))

    asked = partial(app.api_route, methods=["GET", "HEAD"])  # load balancers ask for the head alone

    @asked("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @asked("/readyz")
    def readyz() -> JSONResponse:
        found = checks(settings, store, client)
        ready = all(value == "ok" for value in found.values())
        return JSONResponse({"ready": ready, "checks": found}, status_code=200 if ready else 503)

    @asked("/metrics")
    def scrape() -> Response:
        text = generate_latest(record) + generate_latest(metrics.registry())
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    @asked("/", response_class=HTMLResponse)
    def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "index.html", _page(settings, store, client))


def _page(settings: Settings, store: Store, client: Redis) -> dict[str, Any]:
    """What the page shows: counts, services and the newest findings; no patient's identity."""
    with store.read() as connection:
        return {
            "checks": checks(settings, store, client),
            "files": reports.file_counts(connection),
            "jobs": reports.jobs_by_state(connection),
            "oldest": reports.oldest_pending(connection, store.now()),
            "results": reports.results(connection, limit=PAGE_RESULTS),
            "quarantined": reports.quarantine_counts(connection),
        }
