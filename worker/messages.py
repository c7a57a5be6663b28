"""What Celery would end over: messages that no sender of ours wrote, and a queue whose disk is full."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery.exceptions import InvalidTaskError
from celery.worker.strategy import default
from kombu.exceptions import ContentDisallowed
from kombu.transport import redis
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import ReadOnlyError, ResponseError

from db import metrics
from db.logs import get, place

if TYPE_CHECKING:
    from celery import Celery

log = get("worker")
Handler = Callable[..., Any]


def harden(app: Celery) -> None:
    """Makes an app's worker live on whatever lies in its queues; call it before tasks are registered."""
    app.conf.broker_transport = "worker.messages:Transport"
    app.Task.Strategy = "worker.messages:strategy"


def strategy(task: Any, app: Celery, consumer: Any, **options: Any) -> Handler:
    """Celery's own way of taking a message, but one that it cannot unpack is refused and not redelivered."""
    handle: Handler = default(task, app, consumer, **options)

    def careful(*arguments: Any, **named: Any) -> Any:
        try:
            return handle(*arguments, **named)
        except (InvalidTaskError, ContentDisallowed):
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _refused(error)
            raise InvalidTaskError("malformed message") from None

    return careful


class Waiting:
    """A client to which a server that refuses to write is one that is away: Celery connects again and waits.

    It would end over the answer, and taking a message is a write: MISCONF of a full disk, READONLY of a
    replica before it is promoted, NOREPLICAS of a primary that has lost its own.
    """

    def parse_response(self, *arguments: Any, **options: Any) -> Any:
        """The server's answer. Raises redis' ConnectionError where the server cannot write."""
        try:
            return super().parse_response(*arguments, **options)  # type: ignore[misc]
        except ReadOnlyError:
            raise NotConnected("the server is a read-only replica; is another the primary?") from None
        except ResponseError as error:
            if str(error).startswith("MISCONF"):
                raise NotConnected("the server cannot write; is its disk full?") from None
            if str(error).startswith("NOREPLICAS"):
                raise NotConnected("the server lacks the replicas it must write to; are they up?") from None
            raise


class WaitingPipeline(Waiting, Pipeline):
    """Several commands at once, likewise."""


class Client(Waiting, Redis):
    """One command at a time, likewise."""

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> WaitingPipeline:
        """Several commands at once."""
        return WaitingPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class Channel(redis.Channel):
    """A channel that drops what is no message at all: no JSON, or without an envelope."""

    def _get_client(self) -> type[Client]:
        return Client

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _refused(error)
            return True


class Transport(redis.Transport):
    """Redis, with that channel."""

    Channel = Channel


def _refused(error: Exception) -> None:
    metrics.errors.labels("task", "malformed").inc()
    log.warning("message_refused", error=place(error))
