"""The doorbell: one small Celery message that says "frames wait for this model", and carries no pixels.

Ingest processes ring it too, so nothing here imports torch. A bell is worth nothing by itself: one too
many drains nothing, and a lost one is rung again by the frame queue's time-out.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from core.errors import QueueUnavailableError

TASK_NAME = "workers.tasks.detect"
_QUEUE_PREFIX = "detect."
SOCKET_TIMEOUT_S = 5.0


def bell_queue(model: str) -> str:
    """Celery queue of one model's bells; workers take the queues of the models that they serve."""
    return _QUEUE_PREFIX + model


def model_of_queue(queue: str) -> str | None:
    """The inverse of `bell_queue`; None for a queue that is not one of bells."""
    return queue.removeprefix(_QUEUE_PREFIX) if queue.startswith(_QUEUE_PREFIX) else None


def transport_options(namespace: str) -> dict[str, object]:
    """kombu's options of the Redis transport, alike in all processes of a fleet."""
    return {
        "global_keyprefix": f"{namespace}:celery:",
        # A bell that a killed worker held comes back after this long; nobody waits for it (see above).
        "visibility_timeout": 30,
        # The defaults, 10 s and every 10th time, made a redelivery take 90 s.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "socket_keepalive": True,
    }


def ring(model: str, *, redis_url: str, namespace: str) -> None:
    """Tells a worker of `model` that frames wait; costs about half a millisecond.

    Bind the keywords with `functools.partial` to get the `ring` that a FrameQueue takes: that pickles, so a
    spawned process can have it. Raises QueueUnavailableError when the broker does not take the message.
    """
    try:
        _ring(_sender(redis_url, namespace), bell_queue(model), model)
    except (OperationalError, OSError) as error:
        raise QueueUnavailableError(f"the bell of {model} did not ring: {error}") from error


@lru_cache(maxsize=8)
def _sender(redis_url: str, namespace: str) -> Celery:
    """An app that only sends; it keeps its connection."""
    app = Celery("framewatch-bell", broker=redis_url, set_as_current=False)
    app.conf.update(
        broker_transport_options={**transport_options(namespace), "socket_timeout": SOCKET_TIMEOUT_S},
        task_ignore_result=True,
        # One retry: a server that was restarted makes the first use of a kept connection fail.
        task_publish_retry_policy=_RETRY_POLICY,
    )
    return app


_RETRY_POLICY: Mapping[str, Any] = {"max_retries": 1, "interval_start": 0, "interval_step": 0}


def _ring(app: Celery, queue: str, model: str) -> None:
    with app.producer_pool.acquire(block=True, timeout=SOCKET_TIMEOUT_S) as producer:
        app.send_task(TASK_NAME, (model,), queue=queue, producer=producer)
