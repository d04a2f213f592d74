from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError

from app.core.jobs import JobOptions, JobStatus, new_job_id
from app.core.queue import JOBS_QUEUE, make_celery, send_job, waiting_messages
from app.core.reaper import Reaper
from app.core.settings import Settings
from tests.service import INPUT, wait_until


class Rig:
    def __init__(self, records, redis_client):
        self.records, self.redis = records, redis_client
        self.sent, self.waiting, self.is_broker_away = [], 0, False
        self.reaper = Reaper(records, self.send, lambda: self.waiting, interval_s=0.02)

    def send(self, job_id):
        if self.is_broker_away:
            raise OperationalError
        self.sent.append(job_id)

    def new_job(self):
        return self.records.create(new_job_id(), "", INPUT, JobOptions()).job_id


@pytest.fixture
def rig(records, redis_client):
    return Rig(records, redis_client)


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
