from __future__ import annotations

import time

import pytest
import redis
from kombu.exceptions import OperationalError

from app.core.housekeeping.reaper import RESEND_AFTER_S, Reaper
from app.core.jobs import JobOptions, JobStatus, new_job_id
from app.core.queue import SEGMENTS_QUEUE, CeleryOutbox, make_celery
from app.core.records.segments import SplitFacts
from app.core.settings import Settings
from tests.service import INPUT, running_redis, wait_until


class Rig:
    """A reaper on real records; the rig itself is its outbox."""

    def __init__(self, records, segments, upkeep, redis_client):
        self.records, self.segments, self.upkeep, self.redis = records, segments, upkeep, redis_client
        self.sent, self.is_broker_unavailable = [], False
        self.jobs_in_broker = self.units_in_broker = 0
        self.reaper = Reaper(upkeep, self, run_timeout_s=600, interval_s=0.02)

    def send_job(self, job_id):
        if self.is_broker_unavailable:
            raise OperationalError
        self.sent.append(job_id)

    send_unit = send_job

    def count_jobs(self):
        return self.jobs_in_broker

    def count_units(self):
        return self.units_in_broker

    def new_split_job(self, count):
        job_id = self.new_job()
        assert self.records.claim("w", job_id).job_id == job_id
        assert self.segments.split(job_id, 1, SplitFacts(1, count, 100 * count))
        return job_id

    def new_job(self):
        return self.records.create(new_job_id(), "", INPUT, JobOptions()).job_id


@pytest.fixture
def rig(records, segments, upkeep, redis_client):
    return Rig(records, segments, upkeep, redis_client)


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


@pytest.mark.parametrize(("in_broker", "sent_again"), [(0, [0, 1]), (1, [0, 1]), (2, [0, 1]), (3, []), (9, [])])
def test_all_overdue_segments_are_sent_again_when_a_message_is_missing(rig, in_broker, sent_again):
    job_id = rig.new_split_job(3)
    rig.reaper.send_unsent()
    rig.redis.zadd("lipsync:segment_sent", {f"{job_id}.{number}": 1 for number in range(2)})
    rig.sent.clear()
    rig.units_in_broker = in_broker
    rig.reaper.find_lost_messages()
    rig.reaper.send_unsent()
    assert sorted(rig.sent) == [f"{job_id}.{number}" for number in sent_again], "the third was sent just now"
    rig.sent.clear()
    rig.reaper.find_lost_messages()
    rig.reaper.send_unsent()
    assert rig.sent == [], "sent a moment ago: no second time, however few the broker holds"


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
        rig.upkeep.check_outage(4, 0.1)
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
    assert [rig.upkeep.check_outage(4, 2) for _ in range(2)] == [False, False]
    rig.redis.set("lipsync:reaped_at", 1)
    assert [rig.upkeep.check_outage(4, 2) for _ in range(2)] == [True, True]
    wait_until(lambda: not rig.upkeep.check_outage(4, 2), 5)


def test_a_message_that_cannot_be_sent_is_sent_later(rig):
    ids = [rig.new_job() for _ in range(3)]
    rig.upkeep.mark_unsent(ids)
    rig.is_broker_unavailable = True
    with pytest.raises(OperationalError):
        rig.reaper.send_unsent()
    rig.is_broker_unavailable = False
    rig.reaper.send_unsent()
    assert sorted(rig.sent) == sorted(ids)


@pytest.mark.parametrize(("waiting", "sent_again"), [(0, 2), (1, 2), (2, 1), (3, 0), (9, 0)])
def test_as_many_messages_are_sent_again_as_were_lost_long_ago(rig, waiting, sent_again):
    oldest, old, _ = rig.new_job(), rig.new_job(), rig.new_job()
    rig.redis.zadd("lipsync:sent", {old: 2, oldest: 1})
    rig.jobs_in_broker = waiting
    rig.reaper.find_lost_messages()
    rig.reaper.send_unsent()
    assert set(rig.sent) == set([oldest, old][:sent_again])


class Broker:
    """A real broker whose messages of segments can get lost, and a worker that takes them in order."""

    def __init__(self, url, redis_client, segments):
        self.celery = make_celery(Settings(redis_url=url))
        self.outbox, self.redis, self.segments = CeleryOutbox(self.celery), redis_client, segments
        self.done, self.unneeded = [], 0

    def lose(self, position):
        message = self.redis.lindex(SEGMENTS_QUEUE, position)
        assert self.redis.lrem(SEGMENTS_QUEUE, 1, message) == 1

    def work(self):
        """Do the segment that the oldest message names, if it waits."""
        with self.celery.connection_for_read() as connection, connection.SimpleQueue(SEGMENTS_QUEUE) as queue:
            message = queue.get(block=False)
            job_id, *number = message.payload[0]
            message.ack()
        attempt = self.segments.claim(job_id, *number, "w", new_job_id()) if number else None
        if attempt is None:
            self.unneeded += 1
        else:
            assert self.segments.finish(job_id, *number, attempt, 100)
            self.done += number


def let_time_pass(redis_client):
    """Make every message that was sent overdue, and let the next reaper look for lost ones."""
    for key in ("lipsync:sent", "lipsync:segment_sent"):
        for name, sent in redis_client.zrange(key, 0, -1, withscores=True):
            if sent:
                redis_client.zadd(key, {name: sent - 1000 * RESEND_AFTER_S - 1000})
    redis_client.delete("lipsync:turn:resend")


@pytest.mark.parametrize("lost", [[0], [3], [0, 0, 0], [0, 1]], ids=str)
def test_a_lost_message_of_a_segment_is_sent_again_at_the_next_look(
    rig, segments, upkeep, bare_redis_url, redis_client, lost
):
    broker = Broker(bare_redis_url, redis_client, segments)
    reaper = Reaper(upkeep, broker.outbox, run_timeout_s=600)
    job_id = rig.new_split_job(8)
    reaper.run_once()
    assert broker.outbox.count_units() == 4
    for position in lost:
        broker.lose(position)
    let_time_pass(redis_client)
    for _ in range(5):  # the first look sends what is missing, the next ones see that enough is there
        redis_client.delete("lipsync:turn:resend")
        reaper.run_once()
        assert broker.outbox.count_units() in (4 - len(lost), 8 - len(lost))
    assert broker.outbox.count_units() == 8 - len(lost)
    while broker.outbox.count_units():
        broker.work()
        let_time_pass(redis_client)
        reaper.run_once()
    assert sorted(broker.done) == list(range(8)), "each segment was done once"
    assert segments.claim_join(job_id, "w", "j") == 1
    assert broker.unneeded <= 8, "few messages were too many"
    broker.celery.close()


def test_no_message_is_sent_twice_while_all_wait_long(rig, segments, upkeep, bare_redis_url, redis_client):
    broker = Broker(bare_redis_url, redis_client, segments)
    reaper = Reaper(upkeep, broker.outbox, run_timeout_s=600)
    rig.new_split_job(3)
    rig.new_job()
    broker.outbox.send_job(rig.new_job())
    broker.outbox.send_job(rig.new_job())
    for _ in range(5):
        reaper.run_once()
        let_time_pass(redis_client)
    assert (broker.outbox.count_units(), broker.outbox.count_jobs()) == (3, 3), "the one job that had none got one"
    broker.celery.close()


def test_undelivered_messages_are_counted(bare_redis_url, redis_client):
    celery = make_celery(Settings(redis_url=bare_redis_url))
    outbox = CeleryOutbox(celery)
    assert (outbox.count_jobs(), outbox.count_units()) == (0, 0)
    for job_id in ("a", "b", "b"):
        outbox.send_job(job_id)
    outbox.send_unit("a.7")
    outbox.send_unit("a.join")
    assert (outbox.count_jobs(), outbox.count_units()) == (3, 2)
    celery.close()


def test_a_broker_that_does_not_answer_is_an_error_that_the_reaper_expects(tmp_path):
    with running_redis(tmp_path) as url:
        celery = make_celery(Settings(redis_url=url))
        outbox = CeleryOutbox(celery)
        outbox.send_job("a")
        assert outbox.count_jobs() == 1
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises((redis.RedisError, OperationalError)):
            outbox.count_jobs()
    assert time.monotonic() - started < 3, "a reaper that waits is late for the leases"
    with running_redis(tmp_path, url):
        assert outbox.count_jobs() == 1
        outbox.send_job("b")
        assert outbox.count_jobs() == 2
    celery.close()
