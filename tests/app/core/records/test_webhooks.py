from __future__ import annotations

import pytest

from app.core.errors import RequestError
from app.core.jobs import JobOptions, JobStatus, new_job_id
from app.core.records.keys import Key
from app.core.records.webhooks import LONGEST_PAUSE_S, PAUSES_S, Webhooks
from tests.app.core.records.test_records import RESULT
from tests.service import INPUT, REPORT

URL = "https://team.example/hook"


@pytest.fixture
def webhooks(redis_client):
    return Webhooks(redis_client, 60)


@pytest.fixture
def job(records):
    """Create a job that asks for a webhook."""

    def create(owner="team", **options):
        job_id = new_job_id()
        records.create(job_id, owner, INPUT, JobOptions(**{"webhook_url": URL} | options))
        return job_id

    return create


def make_due(redis_client):
    for event_id in redis_client.zrange(Key.WEBHOOKS, 0, -1):
        redis_client.zadd(Key.WEBHOOKS, {event_id: 0})


def end_succeeded(records, job_id):
    claim = records.claim("w", "c")
    records.succeed(job_id, claim.attempt, RESULT, REPORT, [])


def end_failed(records, job_id):
    claim = records.claim("w", "c")
    records.fail(job_id, claim.attempt, {"code": "internal"})


def end_canceled(records, job_id):
    records.cancel(job_id)


@pytest.mark.parametrize(
    ("end", "kind"),
    [(end_succeeded, "job.succeeded"), (end_failed, "job.failed"), (end_canceled, "job.canceled")],
)
def test_each_end_waits_to_be_told(records, webhooks, job, end, kind):
    job_id = job()
    assert webhooks.take(9) == []
    end(records, job_id)
    (webhook,) = webhooks.take(9)
    assert (webhook.kind, webhook.subject, webhook.owner, webhook.url) == (kind, job_id, "team", URL)
    assert webhook.id.startswith(job_id) and webhook.tries == 0
    assert webhooks.take(9) == []  # it is borrowed
    webhooks.end(webhook.id)
    assert webhooks.failed("team") == []


def test_nobody_is_told_who_did_not_ask(records, webhooks, job):
    records.cancel(job(webhook_url=None))
    assert webhooks.take(9) == []


def test_a_webhook_whose_sender_died_is_sent_again_with_the_same_id_and_body(records, webhooks, job, redis_client):
    records.cancel(job())
    (first,) = webhooks.take(9)
    assert webhooks.keep_body(first.id, "one") == "one"
    make_due(redis_client)
    (second,) = webhooks.take(9)
    assert second.id == first.id and second.body == "one"
    assert webhooks.keep_body(first.id, "two") == "one"


def test_the_ends_of_a_job_are_told_in_order(records, webhooks, job, redis_client):
    job_id, other = job(), job()
    records.cancel(job_id)
    records.retry(job_id)
    records.cancel(job_id)
    records.cancel(other)
    due = {webhook.subject: webhook for webhook in webhooks.take(9)}  # both may be due in the same millisecond
    assert set(due) == {job_id, other}
    first, foreign = due[job_id], due[other]
    webhooks.delay(first.id, "500")
    assert webhooks.take(9) == []  # the second end of the job waits for the first
    make_due(redis_client)
    assert {webhook.id for webhook in webhooks.take(9)} == {first.id, foreign.id}
    webhooks.end(first.id)
    make_due(redis_client)
    assert {webhook.subject for webhook in webhooks.take(9)} == {job_id, other}


def test_many_ends_that_wait_for_their_turn_delay_nobody_else(records, webhooks, job, redis_client):
    job_id = job()
    for _ in range(4):
        records.cancel(job_id)
        records.retry(job_id)
    assert redis_client.zcard(Key.WEBHOOKS) == 1  # those behind it are never looked at
    (first,) = webhooks.take(9)
    webhooks.delay(first.id, "500")
    other = job(owner="another")
    records.cancel(other)
    assert [webhook.subject for webhook in webhooks.take(9)] == [other]
    make_due(redis_client)
    for _ in range(3):  # each that arrived lets the next go at once
        first = next(webhook for webhook in webhooks.take(9) if webhook.subject == job_id)
        webhooks.end(first.id)


def test_after_the_last_try_it_is_put_aside_and_can_be_sent_again(records, webhooks, job, redis_client):
    job_id = job()
    records.cancel(job_id)
    for number in range(len(PAUSES_S) + 1):
        make_due(redis_client)
        (webhook,) = webhooks.take(9)
        assert webhook.tries == number
        assert webhooks.delay(webhook.id, "status 500") == (*PAUSES_S, 0)[number]
    assert webhooks.take(9) == [] and redis_client.zcard(Key.WEBHOOKS) == 0
    (failed,) = webhooks.failed("team")
    assert (failed.id, failed.answer, failed.tries) == (webhook.id, "status 500", len(PAUSES_S) + 1)
    assert webhooks.failed("other") == []
    with pytest.raises(RequestError):
        webhooks.resend("other", failed.id)
    webhooks.resend("team", failed.id)
    assert webhooks.failed("team") == []
    (again,) = webhooks.take(9)
    assert (again.id, again.tries) == (failed.id, 0)
    webhooks.end(again.id)
    with pytest.raises(RequestError):
        webhooks.resend("team", failed.id)
    left = [name for name in redis_client.keys("*webhook*") if redis_client.type(name) != "none"]
    assert left == []


@pytest.mark.parametrize(
    ("least_s", "pause_s"), [(None, PAUSES_S[0]), (1, PAUSES_S[0]), (600, 600), (10**6, LONGEST_PAUSE_S)]
)
def test_a_receiver_may_ask_for_a_longer_pause(records, webhooks, job, redis_client, least_s, pause_s):
    records.cancel(job())
    (webhook,) = webhooks.take(9)
    before_s = redis_client.time()[0]
    assert webhooks.delay(webhook.id, "status 503", least_s=least_s) == pause_s
    ((_, due_ms),) = redis_client.zrange(Key.WEBHOOKS, 0, -1, withscores=True)
    after_s = redis_client.time()[0] + 1
    assert before_s + pause_s <= due_ms / 1000 <= after_s + pause_s


def test_pauses_cover_two_hours():
    assert 6000 <= sum(PAUSES_S) <= 8000


def test_a_put_aside_webhook_is_forgotten_after_its_time(records, webhooks, job, redis_client):
    records.cancel(job())
    (webhook,) = webhooks.take(9)
    redis_client.hset(Key.WEBHOOK + webhook.id, "tries", len(PAUSES_S))
    assert webhooks.delay(webhook.id, "no answer") == 0
    assert webhooks.delay(webhook.id, "no answer") is None, "it no longer waits"
    assert 0 < redis_client.pttl(Key.FAILED_WEBHOOKS + "team") <= 60_000
    assert 0 < redis_client.pttl(Key.WEBHOOK + webhook.id) <= 60_000
    redis_client.delete(Key.WEBHOOK + webhook.id)
    assert webhooks.failed("team") == []


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED])
def test_a_deleted_job_is_still_told(records, webhooks, job, status):
    job_id = job()
    (end_succeeded if status is JobStatus.SUCCEEDED else end_failed)(records, job_id)
    records.delete(job_id)
    (webhook,) = webhooks.take(9)
    assert webhook.kind == f"job.{status}"
