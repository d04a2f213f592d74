from __future__ import annotations

import time

import pytest
from kombu.exceptions import OperationalError

from app.core.housekeeping.reaper import Reaper
from app.core.jobs import JobOptions, JobStatus, new_job_id
from app.core.queue import JOBS_QUEUE, make_celery, send_job, waiting_messages
from app.core.records.segments import SplitFacts
from app.core.settings import Settings
from tests.service import INPUT, wait_until


class Rig:
    def __init__(self, records, segments, redis_client):
        self.records, self.segments, self.redis = records, segments, redis_client
        self.sent, self.waiting, self.is_broker_away = [], 0, False
        self.units = set()
        self.reaper = Reaper(records, segments, self, run_timeout_s=600, interval_s=0.02)

    def send_job(self, job_id):
        if self.is_broker_away:
            raise OperationalError
        self.sent.append(job_id)

    send_unit = send_job

    def waiting_jobs(self):
        return self.waiting

    def waiting_units(self):
        return self.units

    def new_split_job(self, count):
        job_id = self.new_job()
        assert self.records.claim("w", job_id).job_id == job_id
        assert self.segments.split(job_id, 1, SplitFacts(1, count, 100 * count))
        return job_id

    def new_job(self):
        return self.records.create(new_job_id(), "", INPUT, JobOptions()).job_id


@pytest.fixture
def rig(records, segments, redis_client):
    return Rig(records, segments, redis_client)


def test_a_dead_worker_s_job_is_sent_again(rig):
    job_id = rig.new_job()
    rig.records.claim("w", "c")
    rig.redis.zadd("lipsync:leases", {job_id: 1})
    rig.reaper.start()
    wait_until(lambda: rig.sent == [job_id], 5)
    rig.reaper.stop()
    assert rig.records.get(job_id).status is JobStatus.QUEUED


def test_segments_are_sent_and_sent_again_when_their_worker_dies(rig):
    job_id = rig.new_split_job(2)
    rig.reaper.send_unsent()
    assert sorted(rig.sent) == [f"{job_id}.0", f"{job_id}.1"]
    assert rig.segments.claim(job_id, 1, "w", "c") == 1
    rig.redis.zadd("lipsync:segment_leases", {f"{job_id}.1": 1})
    rig.reaper.reap()
    rig.reaper.send_unsent()
    assert rig.sent[2:] == [f"{job_id}.1"]
    rig.redis.zadd("lipsync:segment_sent", {f"{job_id}.{number}": 1 for number in range(2)})
    rig.units = {f"{job_id}.0"}
    rig.reaper.find_lost_messages()
    rig.reaper.send_unsent()
    assert rig.sent[3:] == [f"{job_id}.1"], "the other's message lies in the broker"


def test_a_job_in_segments_that_takes_too_long_fails(rig):
    job_id = rig.new_split_job(2)
    rig.redis.zadd("lipsync:split", {job_id: 1})
    rig.reaper.reap()
    assert rig.records.get(job_id).status is JobStatus.RUNNING, "none of its segments has begun"
    rig.segments.claim(job_id, 0, "w", "c")
    rig.reaper.reap()
    assert rig.records.get(job_id).status is JobStatus.RUNNING
    rig.redis.hset(f"lipsync:job:{job_id}", "ran_ms", 10**9)
    rig.reaper.reap()
    assert rig.records.get(job_id).error["code"] == "run_timeout"


def test_only_the_time_in_which_a_segment_is_being_done_counts(rig):
    job_id, waiting = rig.new_split_job(2), rig.new_split_job(2)

    def counted_ms(passed_s):
        rig.redis.set("lipsync:reaped_at", int((time.time() - passed_s) * 1000))
        rig.records.is_settling(4, 0.1)
        return int(rig.redis.hget(f"lipsync:job:{job_id}", "ran_ms") or 0)

    assert counted_ms(3) == 0, "its segments wait"
    attempts = [rig.segments.claim(job_id, number, "w", f"c{number}") for number in range(2)]
    once = counted_ms(3)
    assert 3000 <= once < 5900, "two at a time are not twice the time"
    assert counted_ms(3600) == once, "nobody was there"
    for number, attempt in enumerate(attempts):
        assert rig.segments.hand_back(job_id, number, attempt)
    assert counted_ms(3) == once
    assert rig.redis.hget(f"lipsync:job:{waiting}", "ran_ms") is None


def test_leases_are_spared_after_an_outage_that_all_reapers_saw(rig):
    assert [rig.records.is_settling(4, 2) for _ in range(2)] == [False, False]
    rig.redis.set("lipsync:reaped_at", 1)
    assert [rig.records.is_settling(4, 2) for _ in range(2)] == [True, True]
    wait_until(lambda: not rig.records.is_settling(4, 2), 5)


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
