"""How each service is put together from the rooms beneath, and run until told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from console.ports import require_free
from db import metrics, queue
from db.archive import Archive
from db.errors import Misconfigured
from db.leases import LeaseWatch
from db.logs import configure, get
from db.settings import Settings
from db.store import Store, migrate, open_store, require_own

LOADERS = 2  # models opened at a time: more would only wait for the interpreter

if TYPE_CHECKING:
    from models.card import ModelCard


def _open(settings: Settings, service: str) -> tuple[Store, Archive]:
    configure(service)
    store, archive = open_store(settings, create_key=True)
    migrate(store)
    require_own(store)
    metrics.announce()
    return store, archive


def run_ingest(settings: Settings, name: str) -> None:
    """The ingest service, on this thread."""
    from db.upgrades import move_on
    from ingest import reading, routing
    from ingest.dispatch import Dispatch
    from ingest.intake import Intake
    from ingest.service import Ingest, run

    store, archive = _open(settings, "ingest")
    settings.require_access()
    reading.warm()
    _serve_metrics(settings)
    dispatch = Dispatch(
        store, queue.connect(settings.redis), queue.sender(queue.celery_app(settings.redis)),
        resend_after_seconds=settings.resend_after_seconds, max_attempts=settings.max_attempts,
        watch=LeaseWatch(settings.lease_seconds, settings.heartbeat_seconds),
    )  # fmt: skip
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    cards = _cards(settings)
    if moved := move_on(store, [routing.reading(card, "routine") for card in cards]):
        get("ingest").info("jobs_moved_on", jobs=moved)
    intake = Intake(settings, store, archive, cards)
    run(Ingest(settings, store, intake, dispatch, name), stop)


def run_worker(settings: Settings, device: str | None, lanes: Sequence[str] | None, name: str) -> None:
    """One worker: models loaded and warmed up, then Celery's solo pool until SIGTERM."""
    from models.exports import keep_in
    from worker.diagnose import Diagnoser
    from worker.exports import Exports
    from worker.messages import harden
    from worker.runtime import Runtime, budget, choose_device, set_threads
    from worker.tasks import Heartbeat, canary_sender, consume, register
    from worker.watchdog import Canary

    store, archive = _open(settings, "worker")
    place = choose_device(device or settings.device)
    folder = settings.folder("models") if settings.backend == "auto" else None
    if folder is not None:
        keep_in(Exports(folder / "exports", store.keys))
    runtime = Runtime(place, budget(place, settings.model_memory_bytes), folder)
    if unknown := set(lanes or ()) - set(queue.LANES):
        raise Misconfigured(f"no lane {', '.join(sorted(unknown))}; there are {', '.join(queue.LANES)}")
    chosen = [lane for lane in queue.LANES if lane in (lanes or queue.LANES)]
    app = queue.celery_app(settings.redis, visibility_seconds=settings.visibility_seconds)
    harden(app)
    diagnoser = Diagnoser(settings, store, archive, runtime, name, lanes=chosen, enqueue=queue.sender(app))
    heartbeat = Heartbeat(settings, diagnoser, name)
    heartbeat.start()
    set_threads(settings.threads)
    cards = _cards(settings)
    metrics.announce(card.name for card in cards)
    archive.sweep()
    first = _asked_for(settings, cards, chosen)
    runtime.load(first, LOADERS, [card for card in cards if card not in first])
    canary = Canary(
        canary_sender(app, queue.connect(settings.redis), name), lambda: diagnoser.busy_since is not None,
        seconds=settings.canary_seconds, seconds_max=settings.canary_seconds_max,
    )  # fmt: skip
    register(app, diagnoser, canary)
    _serve_metrics(settings)
    diagnoser.canary_at = store.now()  # from here on it owes proofs
    heartbeat.ready()
    canary.start()
    try:
        consume(app, name, chosen, diagnoser)
    finally:
        canary.stop()
        heartbeat.stop()


def _serve_metrics(settings: Settings) -> None:
    if settings.metrics_port:
        require_free(settings.http_host, settings.metrics_port, "WETREAD_METRICS_PORT")
    metrics.serve(settings.http_host, settings.metrics_port)


def _cards(settings: Settings) -> tuple[ModelCard, ...]:
    """The cards of the models served, those of the home among them; of those that read inputs."""
    from models.registry import also_in, served

    also_in(settings.folder("models"))
    return tuple(card for card in served(settings.models) if card.needs.kind != "none")


def _asked_for(settings: Settings, cards: Sequence[ModelCard], lanes: Sequence[str]) -> Sequence[ModelCard]:
    """The models that the rules can send into these lanes: the others are opened when a job asks for one."""
    from ingest.rules import BadRules, parse

    try:
        wanted = parse(settings.rules.read_bytes(), cards).models_of(lanes)
    except (OSError, BadRules):  # no rules, or bad ones, of which ingest tells
        return cards
    return cards if wanted is None else [card for card in cards if card.name in wanted]


def run_web(settings: Settings, name: str) -> None:
    """The web service, on this thread."""
    import uvicorn

    from console.web.app import create

    if settings.http_port:
        require_free(settings.http_host, settings.http_port)
    store, _ = _open(settings, "web")
    app = create(settings, store, queue.connect(settings.redis), name)
    uvicorn.run(app, host=settings.http_host, port=settings.http_port, log_config=None, access_log=False)
