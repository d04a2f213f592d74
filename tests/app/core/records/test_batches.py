from __future__ import annotations

import pytest

from app.core.errors import CapacityError, ErrorCode, RequestError
from app.core.jobs import JobOptions, new_job_id
from app.core.records.batches import Batches, NewJob
from app.core.records.keys import Key
from app.core.records.webhooks import Webhooks
from tests.app.conftest import LIMITS
from tests.service import INPUT

URL = "https://team.example/hook"


@pytest.fixture
def batches(redis_client):
    return Batches(redis_client, LIMITS)


@pytest.fixture
def webhooks(redis_client):
    return Webhooks(redis_client, 60)


def new_jobs(count, **options):
    return [NewJob(new_job_id(), INPUT, JobOptions(**options)) for _ in range(count)]


def test_all_jobs_wait_and_their_messages_are_to_be_sent(batches, records, upkeep):
    jobs = new_jobs(3)
    batch_id = batches.create(new_job_id(), "team", jobs, None).job_id
    batch = batches.get(batch_id)
    assert list(batch.statuses) == [job.id for job in jobs]
    assert batch.owner == "team" and batch.counts == {"queued": 3} and not batch.has_ended
    assert sorted(upkeep.take_unsent()) == sorted(job.id for job in jobs)
    assert [job.id for job in records.page("team", None, 9, None)[0]] == [job.id for job in reversed(jobs)]
    assert records.claim("w", "c").job_id == jobs[0].id


def test_a_batch_that_is_too_large_leaves_nothing(batches, records, redis_client):
    """At most 4 jobs of an owner and 5 of all may wait."""
    with pytest.raises(CapacityError) as refused:
        batches.create(new_job_id(), "team", new_jobs(5), None)
    assert refused.value.code is ErrorCode.CONCURRENCY_LIMITED
    assert records.queued_count() == 0 and redis_client.keys("*job:*") == []
    batches.create(new_job_id(), "team", new_jobs(4), None)
    with pytest.raises(CapacityError) as refused:
        batches.create(new_job_id(), "other", new_jobs(2), None)
    assert refused.value.code is ErrorCode.QUEUE_FULL


def test_the_end_is_told_once_when_the_last_job_ends(batches, records, webhooks):
    jobs = new_jobs(3)
    batch_id = batches.create(new_job_id(), "team", jobs, URL).job_id
    records.cancel(jobs[0].id)
    records.delete(jobs[1].id)
    assert webhooks.take(9) == []
    records.cancel(jobs[2].id)
    (webhook,) = webhooks.take(9)
    assert (webhook.kind, webhook.subject, webhook.owner, webhook.url) == ("batch.ended", batch_id, "team", URL)
    assert batches.get(batch_id).counts == {"canceled": 2, "deleted": 1} and batches.get(batch_id).has_ended
    webhooks.end(webhook.id)
    records.delete(jobs[0].id)  # a job that has ended counts no second time
    assert webhooks.take(9) == []


def test_a_retry_opens_the_batch_again(batches, records, webhooks, redis_client):
    (job,) = new_jobs(1)
    batch_id = batches.create(new_job_id(), "team", [job], URL).job_id
    records.cancel(job.id)
    (first,) = webhooks.take(9)
    assert redis_client.pttl(Key.BATCH + batch_id) > 0
    webhooks.end(first.id)
    records.retry(job.id)
    assert not batches.get(batch_id).has_ended and redis_client.pttl(Key.BATCH + batch_id) == -1
    records.cancel(job.id)
    (second,) = webhooks.take(9)
    assert second.id != first.id


def test_the_same_key_makes_one_batch(batches, records):
    first = batches.create(new_job_id(), "team", new_jobs(2), None, ("key", "print"))
    again = batches.create(new_job_id(), "team", new_jobs(2), None, ("key", "print"))
    assert (again.job_id, again.replayed) == (first.job_id, True) and records.queued_count() == 2
    with pytest.raises(RequestError) as refused:
        batches.create(new_job_id(), "team", new_jobs(2), None, ("key", "other"))
    assert refused.value.code is ErrorCode.IDEMPOTENCY_CONFLICT


def test_an_unknown_batch(batches):
    assert batches.get("0" * 32) is None
