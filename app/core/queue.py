"""Messages from the service to the workers: the name of a task and the id of a job, as JSON, over Redis.

Jobs have one queue; segments of long jobs and the joins of segments have another. Workers take from both queues in
turn, so neither a long job nor many short jobs delay the others.

The message of a job only says that a job waits. The worker that gets it claims the job whose turn it is
(`app.core.records.records`), which may be another job. So there must be as many messages as waiting jobs. The message
of a segment names the segment. A message too many does nothing, because its worker finds nothing to claim. The reaper
compares the number of messages with the records, and sends again what is missing.

The records hold what waits, which attempt may work on it and how it ended. Celery delivers messages and runs the pool
of workers. Its results, retries and chords are not used.
"""

from __future__ import annotations

import json
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import redis
from celery import Celery
from kombu.exceptions import ChannelError

from app.core.jobs import JobInput, JobOptions
from app.core.records.connection import SOCKET_TIMEOUT_S
from app.core.records.keys import Key
from app.core.records.segments import JOIN
from app.core.redis_address import read_redis_address
from app.core.settings import Settings

TASK_RUN_JOB: Final = "lipsync.run_job"
TASK_RUN_SEGMENT: Final = "lipsync.run_segment"
TASK_JOIN_JOB: Final = "lipsync.join_job"
TASK_FIND_FACES: Final = "lipsync.find_faces"
JOBS_QUEUE: Final = "lipsync.jobs"
SEGMENTS_QUEUE: Final = "lipsync.segments"
FACES_QUEUE: Final = "lipsync.faces"
DEFAULT_PORT: Final = 6379
FACES_WAIT_S: Final = 20.0  # how long /jobs/validate waits for the answer of a worker


def broker_url(redis_url: str) -> str:
    """Return an address of Redis in Celery's form, with the same user, password and database.

    unix://user:password@/path?db=N becomes redis+socket://user:password@/path?virtual_host=N. Raises ValueError for a
    wrong address.
    """
    options = read_redis_address(redis_url)
    user, password, database = options.get("username", ""), options.get("password", ""), options.get("db", 0)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    if "path" in options:
        return f"redis+socket://{login}{quote(options['path'])}?virtual_host={database}"
    host = options.get("host", "localhost")
    host = f"[{host}]" if ":" in host else host
    return f"{urlsplit(redis_url).scheme}://{login}{host}:{options.get('port', DEFAULT_PORT)}/{database}"


def broker_tls(redis_url: str) -> dict[str, Any] | None:
    """Return the options of TLS for a rediss:// address, None for any other.

    The server's certificate is checked unless the address says otherwise, as redis-py does. Celery alone would not
    check it.
    """
    if urlsplit(redis_url).scheme != "rediss":
        return None
    chosen = {name: value for name, value in read_redis_address(redis_url).items() if name.startswith("ssl_")}
    return {"ssl_cert_reqs": "required"} | chosen


def make_celery(settings: Settings) -> Celery:
    """Return a Celery object for sending or receiving, not yet connected; raises ValueError without `redis_url`."""
    celery = Celery("lipsync", set_as_current=False)
    configure(celery, settings)
    return celery


def configure(celery: Celery, settings: Settings) -> None:
    """Set how messages are delivered: JSON only, acknowledged after the work, one message per pool child.

    Raises ValueError without `redis_url`.
    """
    if settings.redis_url is None:
        raise ValueError("LIPSYNC_REDIS_URL is not set")
    hard_limit_s = settings.run_timeout_s + 120  # for a child that hangs: attempts end themselves before that
    celery.conf.update(
        broker_url=broker_url(settings.redis_url),
        broker_use_ssl=broker_tls(settings.redis_url),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": hard_limit_s + 600,  # a shorter one would deliver a running job twice
            "socket_timeout": 10.0,
            "socket_connect_timeout": 3.0,
            "socket_keepalive": True,
            # A call waits for the message that it sends. By itself, kombu would try again for six seconds.
            "max_retries": 1,
            "interval_start": 0.1,
        },
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=hard_limit_s,
        task_default_queue=JOBS_QUEUE,
        task_routes={
            TASK_RUN_JOB: {"queue": JOBS_QUEUE},
            TASK_RUN_SEGMENT: {"queue": SEGMENTS_QUEUE},
            TASK_JOIN_JOB: {"queue": SEGMENTS_QUEUE},
            TASK_FIND_FACES: {"queue": FACES_QUEUE},
        },
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.workers,
        worker_pool="prefork",
        worker_proc_alive_timeout=300.0,  # a child loads torch and the network before it answers
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # the lease decides, not the connection
    )


def send_job(celery: Celery, job_id: str) -> None:
    """Send the message that a job waits; raises kombu's OperationalError if the broker does not answer."""
    celery.send_task(TASK_RUN_JOB, args=[job_id], task_id=job_id, retry=False)


def send_unit(celery: Celery, unit: str) -> None:
    """Send the message of a segment, or of the join of a job; raises kombu's OperationalError."""
    job_id, _, what = unit.rpartition(".")
    if what == JOIN:
        celery.send_task(TASK_JOIN_JOB, args=[job_id], task_id=unit, retry=False)
    else:
        celery.send_task(TASK_RUN_SEGMENT, args=[job_id, int(what)], task_id=unit, retry=False)


def send_find_faces(celery: Celery, upload_id: str, facts: JobInput, options: JobOptions) -> None:
    """Ask a worker for the people in a stored picture; the message expires together with the wait for its answer."""
    plain = options.model_copy(update={"metadata": {}})
    args = [upload_id, json.dumps(facts.to_record()), plain.model_dump_json()]
    celery.send_task(TASK_FIND_FACES, args=args, retry=False, expires=FACES_WAIT_S)


def count_messages(celery: Celery, queue: str) -> int:
    """Return the number of messages in a queue that are not yet delivered.

    Raises OperationalError or `redis.RedisError` if the broker does not answer.
    """
    with celery.connection_for_write() as connection:  # of its own: one from the pool stays broken after an outage
        # The reaper waits for the count, so it waits no longer than for any other answer of Redis.
        connection.transport_options = {**connection.transport_options, "socket_timeout": SOCKET_TIMEOUT_S}
        connection.ensure_connection(max_retries=1, interval_start=0)
        with connection.channel() as channel:
            try:
                return int(channel.queue_declare(queue=queue, passive=True).message_count)
            except ChannelError:  # Redis does not keep an empty queue, so it is not found
                return 0


class CeleryOutbox:
    """Messages to the workers, as the reaper sends and counts them."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def send_job(self, job_id: str) -> None:
        """Send the message that a job waits; raises kombu's OperationalError."""
        send_job(self._celery, job_id)

    def send_unit(self, unit: str) -> None:
        """Send the message of a segment or a join; raises kombu's OperationalError."""
        send_unit(self._celery, unit)

    def count_jobs(self) -> int:
        """Return the number of messages about jobs that are not yet delivered."""
        return count_messages(self._celery, JOBS_QUEUE)

    def count_units(self) -> int:
        """Return the number of messages about segments and joins that are not yet delivered."""
        return count_messages(self._celery, SEGMENTS_QUEUE)


def store_faces(client: redis.Redis, upload_id: str, faces: list[dict[str, Any]]) -> None:
    """Store the answer to `send_find_faces` for the process that waits for it.

    Not through a result backend of Celery: it would store a state of every task, and every child of every worker would
    need a connection to it. One list in Redis that expires is enough for the one question that has an answer.
    """
    key = Key.FACES + upload_id
    pipeline = client.pipeline()
    pipeline.rpush(key, json.dumps(faces))
    pipeline.expire(key, 60)
    pipeline.execute()


def wait_for_faces(client: redis.Redis, upload_id: str) -> list[dict[str, Any]] | None:
    """Return the answer to `send_find_faces`, or None if none came in time."""
    for _ in range(int(FACES_WAIT_S)):  # in steps shorter than the socket's timeout
        answer = cast("tuple[str, str] | None", client.blpop([Key.FACES + upload_id], timeout=1))
        if answer is not None:
            return cast("list[dict[str, Any]]", json.loads(answer[1]))
    return None
