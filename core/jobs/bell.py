"""Celery as a doorbell: its messages carry no content and only wake workers, so that nothing is lost with a message."""

import logging
import os
from typing import Any

from celery import Celery
from kombu.entity import Queue as KombuQueue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from core.settings import Settings
from core.store.kinds import Queue

TASK = "anchorhood.work"
_LONGER_THAN_ANY_JOB = 365 * 24 * 3600  # seconds; otherwise a message would be delivered again while its task runs
# RedisError: of commands that are sent past Celery, which translates those of its own.
_AWAY = (OperationalError, OSError, RedisError)
# What the command of a Celery worker reads beside CELERY_*: common names, set on many machines for another program.
_OF_ITS_COMMAND = ("APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "RESULT_BACKEND", "SKIP_CHECKS")
_OF_ITS_POOL = "CELERY_LOG_"  # which a worker sets itself, for its processes
log = logging.getLogger(__name__)


def make_app(settings: Settings) -> Celery:
    """The Celery application of this deployment, without tasks. Variables for another application are removed from this
    process's environment, since Celery would prefer them to these settings."""
    for name in list(os.environ):
        if name in _OF_ITS_COMMAND or (name.startswith("CELERY_") and not name.startswith(_OF_ITS_POOL)):
            del os.environ[name]
    app = Celery("anchorhood", broker=settings.broker, fixups=())  # without Django's
    app.conf.update(
        task_queues=[KombuQueue(queue.value) for queue in Queue],  # type: ignore[no-untyped-call]
        task_ignore_result=True,
        task_acks_late=False,
        worker_concurrency=1,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": _LONGER_THAN_ANY_JOB,
            "socket_connect_timeout": 2,
            "socket_timeout": 10,
            "max_retries": 1,  # sending must not delay a request; consumers have reconnection settings of their own
            "interval_start": 0,
            "interval_step": 0.1,
        },
    )
    return app


class Bell:
    """Wakes the workers of queues. A message may get lost: the sweep sends another while a claimable job waits."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._asked: Any = None  # Kombu's connection, kept open for ``answers``

    def ring(self, queue: Queue) -> None:
        """Wake the queue's worker; call it after the commit."""
        try:
            self._app.send_task(TASK, args=[queue.value], queue=queue.value, retry=False)
        except _AWAY as error:
            log.warning("the broker is away, the sweep will ring later: %s", error)

    def answers(self) -> bool:
        """Whether the broker can be reached. Asked again it uses the same connection, so that one thread alone may ask."""
        try:
            self._asked = self._asked or self._app.connection_for_write()
            client: Redis = self._asked.default_channel.client
            return bool(client.ping())
        except _AWAY:
            asked, self._asked = self._asked, None
            if asked:
                asked.release()
            return False

    def ring_if_silent(self, queue: Queue) -> None:
        """Wake the queue's worker unless a message waits for it already."""
        try:
            with self._app.connection_for_write() as connection:
                client: Redis = connection.default_channel.client
                waiting = client.llen(queue.value)
        except _AWAY as error:
            log.warning("the broker is away: %s", error)
            return
        if not waiting:
            self.ring(queue)
