"""A worker, or a bare Celery worker with one task that does nothing, that notes when each task begins.

usage: python -m benchmarks.stamped ours | bare
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from redis import Redis

STAMPS, TASK, QUEUE = "bench.stamps", "bench.nothing", "bench"


def _ours(client: Redis) -> None:
    """wetread's own worker, its hints stamped as they are answered."""
    from console.cli import main
    from worker.diagnose import Diagnoser

    inner = Diagnoser.diagnose

    def diagnose(self: Diagnoser, job_id: str) -> int:
        at = time.time()
        done = inner(self, job_id)
        client.rpush(STAMPS, at)
        return done

    Diagnoser.diagnose = diagnose  # type: ignore[method-assign]
    sys.argv = ["wetread", "worker", "--name", "bench"]
    main()


def _bare(client: Redis, url: str) -> None:
    """Celery as our worker runs it, and nothing else."""
    from db.queue import celery_app

    app = celery_app(url)

    def nothing(*_: Any) -> None:
        client.rpush(STAMPS, time.time())

    app.task(name=TASK, acks_late=True, ignore_result=True, shared=False)(nothing)
    app.worker_main(["worker", "--pool=solo", "--concurrency=1", "--without-gossip", "--without-mingle",
                     "--without-heartbeat", "--loglevel=WARNING", f"--queues={QUEUE}"])  # fmt: skip


if __name__ == "__main__":
    address = os.environ["BENCH_REDIS"]
    stamps = Redis.from_url(address)
    if sys.argv[1] == "ours":
        _ours(stamps)
    else:
        _bare(stamps, address)
