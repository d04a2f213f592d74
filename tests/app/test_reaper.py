from __future__ import annotations

import os
import time

import pytest
from kombu.exceptions import OperationalError

from app.core.jobs import JobOptions, JobStatus, new_job_id
from app.core.queue import JOBS_QUEUE, make_celery, send_job, waiting_messages
from app.core.reaper import ORPHAN_IDLE_S, Reaper
from app.core.settings import Settings
from app.core.storage import LocalStorage
from tests.service import INPUT, wait_until


class Rig:
    def __init__(self, records, redis_client, storage):
        self.records, self.redis, self.storage = records, redis_client, storage
        self.sent, self.waiting, self.is_broker_away = [], 0, False
        self.reaper = Reaper(records, storage, self.send, lambda: self.waiting, interval_s=0.02)

    def send(self, job_id):
        if self.is_broker_away:
            raise OperationalError
        self.sent.append(job_id)

    def new_job(self):
        job_id = self.records.create(new_job_id(), "", INPUT, JobOptions()).job_id
        (self.storage.create(job_id) / "video").write_bytes(b"x")
        return job_id


@pytest.fixture
def rig(records, redis_client, tmp_path):
    storage = LocalStorage(tmp_path, reserve_bytes=0)
    storage.prepare()
    return Rig(records, redis_client, storage)


def make_old(*paths):
    for path in paths:
        os.utime(path, (time.time() - 2 * ORPHAN_IDLE_S,) * 2)


def test_a_dead_worker_s_job_is_sent_again(rig):
    job_id = rig.new_job()
    rig.records.claim("w", "c")
    rig.redis.zadd("lipsync:leases", {job_id: 1})
    rig.reaper.start()
    wait_until(lambda: rig.sent == [job_id], 5)
    rig.reaper.stop()
    assert rig.records.get(job_id).status is JobStatus.QUEUED


def test_a_message_that_cannot_be_sent_is_sent_later(rig):
    ids = [rig.new_job() for _ in range(3)]
    rig.records.mark_unsent(ids)
    rig.is_broker_away = True
    with pytest.raises(OperationalError):
        rig.reaper.send_unsent()
    rig.is_broker_away = False
    rig.reaper.send_unsent()
    assert sorted(rig.sent) == sorted(ids)


@pytest.mark.parametrize(("waiting", "sent_again"), [(0, 2), (1, 2), (2, 1), (3, 0), (9, 0)])
def test_as_many_messages_are_sent_again_as_were_lost_long_ago(rig, waiting, sent_again):
    oldest, old, _ = rig.new_job(), rig.new_job(), rig.new_job()
    rig.redis.zadd("lipsync:sent", {old: 2, oldest: 1})
    rig.waiting = waiting
    rig.reaper.find_lost_messages()
    rig.reaper.send_unsent()
    assert set(rig.sent) == set([oldest, old][:sent_again])


def test_the_broker_tells_how_many_jobs_messages_wait(bare_redis_url, redis_client):
    celery = make_celery(Settings(redis_url=bare_redis_url))
    for job_id in ("a", "b", "b"):
        send_job(celery, job_id)
    celery.send_task("another", queue=JOBS_QUEUE)
    celery.close()
    assert waiting_messages(redis_client) == 3


def test_sweep_removes_what_nobody_needs_and_nothing_else(rig):
    running, waiting, expired = rig.new_job(), rig.new_job(), rig.new_job()
    rig.records.claim("w", "c")
    rig.records.cancel(expired)
    rig.redis.zadd("lipsync:expiry", {expired: 1})
    orphan, uploading = new_job_id(), new_job_id()
    for job_id in (orphan, uploading):
        rig.storage.create(job_id)
    work, stale_work = rig.storage.work_folder(running, 1), rig.storage.work_folder(expired, 1)
    make_old(rig.storage.folder(orphan), work, stale_work, rig.storage.folder(waiting) / "video",
             rig.storage.folder(waiting))
    rig.reaper.sweep()
    kept = {job_id for job_id in (waiting, running, expired, orphan, uploading) if rig.storage.folder(job_id).exists()}
    assert kept == {waiting, running, uploading}
    assert work.exists() and not stale_work.exists()
    assert rig.records.get(expired) is not None, "the record explains for a while longer"
