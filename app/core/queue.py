"""The way from the service to the workers: a task's name and a job's id, as JSON, over Redis.

A segment of a long job, and the join of its segments, are messages of their own in a queue of their own, which workers
serve in turn with that of the jobs: neither a long job nor many short ones hold up the others.

The message of a job only says that one waits: whoever gets it claims the job whose turn it is
(`app.core.records.records`), which may be another. So there must be as many messages as waiting jobs: one too many
does nothing, one too few is sent again by the reaper.
"""

from __future__ import annotations

import json
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import redis
from celery import Celery

from app.core.records.segments import JOIN
from app.core.settings import Settings

TASK_RUN_JOB: Final = "lipsync.run_job"
TASK_RUN_SEGMENT: Final = "lipsync.run_segment"
TASK_JOIN_JOB: Final = "lipsync.join_job"
TASK_FIND_FACES: Final = "lipsync.find_faces"
JOBS_QUEUE: Final = "lipsync.jobs"
SEGMENTS_QUEUE: Final = "lipsync.segments"
FACES_QUEUE: Final = "lipsync.faces"
FACES_WAIT_S: Final = 6.0  # how long /jobs/validate waits for a worker to look


def broker_url(redis_url: str) -> str:
    """Return Celery's name for an address: unix:///path?db=N is redis+socket:///path?virtual_host=N there."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?virtual_host={database}"


def make_celery(settings: Settings) -> Celery:
    """Return a Celery object for sending or serving; needs `redis_url`, connects to nothing yet."""
    celery = Celery("lipsync", set_as_current=False)
    configure(celery, settings)
    return celery


def configure(celery: Celery, settings: Settings) -> None:
    """Apply the house's way of delivery: JSON only, acknowledged late, one message a child."""
    if settings.redis_url is None:
        raise ValueError("LIPSYNC_REDIS_URL is not set")
    hard_limit_s = settings.run_timeout_s + 120  # behind the watchdog in worker.jobs.tasks, for a child that hangs
    celery.conf.update(
        broker_url=broker_url(settings.redis_url),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": hard_limit_s + 600,  # a shorter one would deliver a running job twice
            "socket_timeout": 10.0,
            "socket_connect_timeout": 3.0,
            "socket_keepalive": True,
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
    """Say that a job waits; raises kombu's OperationalError where the broker does not answer."""
    celery.send_task(TASK_RUN_JOB, args=[job_id], task_id=job_id, retry=False)


def send_unit(celery: Celery, unit: str) -> None:
    """Say that a segment, or the join of a job, waits; raises kombu's OperationalError."""
    job_id, _, what = unit.rpartition(".")
    if what == JOIN:
        celery.send_task(TASK_JOIN_JOB, args=[job_id], task_id=unit, retry=False)
    else:
        celery.send_task(TASK_RUN_SEGMENT, args=[job_id, int(what)], task_id=unit, retry=False)


def send_find_faces(celery: Celery, upload_id: str) -> None:
    """Ask a worker for the faces in a stored picture; the message dies with the wait for its answer."""
    celery.send_task(TASK_FIND_FACES, args=[upload_id], retry=False, expires=FACES_WAIT_S)


def waiting_messages(client: redis.Redis) -> int:
    """Return how many messages of jobs lie in the broker, not yet delivered."""
    messages = cast("list[str]", client.lrange(JOBS_QUEUE, 0, -1))
    return sum(json.loads(message)["headers"]["task"] == TASK_RUN_JOB for message in messages)


def waiting_units(client: redis.Redis) -> set[str]:
    """Return the segments and joins whose message lies in the broker, not yet delivered."""
    messages = cast("list[str]", client.lrange(SEGMENTS_QUEUE, 0, -1))
    return {str(json.loads(message)["headers"]["id"]) for message in messages}


class Post:
    """Send what the reaper finds unsent, and look at what lies undelivered."""

    def __init__(self, celery: Celery, client: redis.Redis) -> None:
        self._celery, self._redis = celery, client

    def send_job(self, job_id: str) -> None:
        """Say that a job waits; raises kombu's OperationalError."""
        send_job(self._celery, job_id)

    def send_unit(self, unit: str) -> None:
        """Say that a segment or a join waits; raises kombu's OperationalError."""
        send_unit(self._celery, unit)

    def waiting_jobs(self) -> int:
        """Return how many messages of jobs are not yet delivered."""
        return waiting_messages(self._redis)

    def waiting_units(self) -> set[str]:
        """Return the segments and joins whose message is not yet delivered."""
        return waiting_units(self._redis)


def post_faces(client: redis.Redis, upload_id: str, faces: list[dict[str, Any]]) -> None:
    """Leave the answer to `send_find_faces` for whoever waits."""
    key = f"lipsync:faces:{upload_id}"
    pipeline = client.pipeline()
    pipeline.rpush(key, json.dumps(faces))
    pipeline.expire(key, 60)
    pipeline.execute()


def wait_for_faces(client: redis.Redis, upload_id: str) -> list[dict[str, Any]] | None:
    """Return the answer to `send_find_faces`, or None where none came in time."""
    for _ in range(int(FACES_WAIT_S)):  # in steps shorter than the socket's timeout
        answer = cast("tuple[str, str] | None", client.blpop([f"lipsync:faces:{upload_id}"], timeout=1))
        if answer is not None:
            return cast("list[dict[str, Any]]", json.loads(answer[1]))
    return None
