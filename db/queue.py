"""The Celery app on Redis: lanes are queues, and a message is an opaque job id and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from db.errors import Unavailable

if TYPE_CHECKING:
    from celery import Celery

TASK = "wetread.diagnose"
CANARY = "wetread.canary"
LANES = ("stat", "routine", "off-peak")
Enqueue = Callable[[str, str], None]  #: job id, lane


def queue_name(lane: str) -> str:
    """The Redis list of a lane. Lanes are queues, since Redis priorities split a queue anyway."""
    return f"wetread.{lane}"


def canary_queue(worker: str) -> str:
    """The list on which a worker sends itself proofs that it consumes."""
    return f"{CANARY}.{worker}"


def celery_app(redis_url: str, *, visibility_seconds: float = 3600) -> Celery:
    """The app, configured so that a message may come late, twice or never without harm.

    Acks come late and prefetch is one, so a killed worker's message is redelivered; leases in SQL
    decide who works. Only JSON is understood: a pickled message is refused by kombu, unread.
    """
    from celery import Celery

    app = Celery("wetread", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the lease brings a killed worker's job back, and counts it
        task_default_queue=queue_name("routine"),
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": visibility_seconds,
            # kombu sweeps unacknowledged hints every interval x throttle seconds; 10 x 10 as it comes
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_timeout": 15,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return app


def sender(app: Celery) -> Enqueue:
    """Sends a job's hint to its lane. Raises Unavailable when Redis cannot be reached."""
    from kombu.exceptions import OperationalError

    def enqueue(job_id: str, lane: str) -> None:
        try:
            app.send_task(TASK, args=[job_id], queue=queue_name(lane), retry=False)
        except (OperationalError, RedisError) as error:
            raise Unavailable(f"redis: {type(error).__name__}; is it up?") from None

    return enqueue


def connect(redis_url: str) -> Redis:
    """A plain client that says within two seconds when Redis does not answer.

    The library's own retries would hold its caller for half a minute: ours all ask again later.
    """
    return Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))


def depth(client: Redis, lanes: Iterable[str] = LANES) -> dict[str, int]:
    """Messages waiting, by lane. Raises Unavailable when Redis cannot be reached."""
    try:
        return {lane: client.llen(queue_name(lane)) for lane in lanes}
    except RedisError as error:
        raise Unavailable(f"redis: {type(error).__name__}; is it up?") from None


class Trouble(NamedTuple):
    """What keeps Redis from taking hints."""

    answers: bool  #: it is there, but refuses to write
    met: str  #: what was met
    cure: str  #: what to do


GONE = Trouble(
    False, "does not answer", "start it (`wetread up` starts its own), or correct WETREAD_REDIS_URL"
)
REFUSALS = {  #: the first word of its refusal -> what was met, what to do
    "MISCONF": ("cannot write to its disk", "free space where its data lies; its log says more"),
    "OOM": ("is out of memory", "raise its maxmemory, or remove what else it holds"),
    "READONLY": ("is a replica, which takes no writes", "name the primary in WETREAD_REDIS_URL"),
    "NOREPLICAS": ("misses replicas that it must have", "start them, or lower its min-replicas-to-write"),
    "LOADING": ("is still loading its data", "wait; its log says how far it is"),
    "NOPERM": ("does not allow this user to write", "grant it in its access list (ACL)"),
    "NOAUTH": ("asks for a password", "put it into WETREAD_REDIS_URL"),
    "WRONGPASS": ("refuses user or password", "correct them in WETREAD_REDIS_URL"),
}


def trouble(client: Redis) -> Trouble | None:
    """What keeps Redis from taking a hint, None when it takes one.

    A write tells: a full one, or one whose disk is full, answers a ping all the same.
    """
    try:
        client.set("wetread.alive", 1, ex=60)
    except RedisError as error:
        # the client cuts off the first word of a refusal that it knows, and keeps it as its status
        word = getattr(error, "status_code", None) or str(error).partition(" ")[0]
        if word not in REFUSALS and not isinstance(error, ResponseError):
            return GONE
        met, cure = REFUSALS.get(word, ("refuses to write", "see its log"))
        return Trouble(True, f"answers, but {met}", cure)
    return None


def is_up(client: Redis) -> bool:
    """Redis takes what is written."""
    return trouble(client) is None
