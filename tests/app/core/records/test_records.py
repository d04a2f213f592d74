from __future__ import annotations

import threading
import time

import pytest

from app.core.errors import LipSyncError
from app.core.jobs import JobOptions, JobStatus, Progress, ResultFacts, VideoFacts, new_job_id
from app.core.records.records import LEASE_S, Claim, Renewal, WorkerFacts
from app.schemas import JobView
from tests.service import INPUT, REPORT

RESULT = ResultFacts(bytes=9, sha256="c" * 64, duration_s=4.0, fps="25", width=640, height=480, frames=100)


def create(records, owner="", idempotency=None):
    job_id = new_job_id()
    return records.create(job_id, owner, INPUT, JobOptions(crf=20), idempotency)


def created(records, owner=""):
    return create(records, owner).job_id


def end_lease(redis_client, job_id):
    redis_client.zadd("lipsync:leases", {job_id: 1}, xx=True)


def test_a_new_job_is_queued_with_all_it_was_given(records):
    job = records.get(created(records))
    assert (job.status, job.attempt, job.options.crf, job.input) == (JobStatus.QUEUED, 0, 20, INPUT)
    assert (job.expires_at - job.created_at).total_seconds() == 60


def test_facts_for_workers_alone_are_in_the_record_and_not_in_the_answer(records):
    job = records.get(created(records))
    assert job.input.video.picture == INPUT.video.picture is not None
    assert "picture" not in JobView.of(job, None).model_dump()["input"]["video"]
    earlier = VideoFacts.model_validate(INPUT.video.model_dump())  # as in records of earlier versions
    assert earlier.picture is None and earlier.sha256 == INPUT.video.sha256


def test_unknown_job_is_none(records):
    assert records.get("0" * 32) is None
    assert records.cancel("0" * 32) is None
    assert records.delete("0" * 32) is False
    assert records.claim("w", "c") is None


def test_a_job_from_creation_to_success(records):
    job_id = created(records)
    assert records.claim("host-1", "c1") == Claim(job_id, 1)
    assert records.renew(job_id, 1, "synthesize", Progress(percent=40, frames_done=4, frames_total=10)) is Renewal.OK
    running = records.get(job_id)
    assert (running.status, running.stage, running.progress.percent) == (JobStatus.RUNNING, "synthesize", 40)
    assert running.worker == "host-1" and running.started_at >= running.created_at
    assert records.succeed(job_id, 1, RESULT, REPORT, ["small face"])
    done = records.get(job_id)
    assert (done.status, done.result, done.report, done.warnings) == (
        JobStatus.SUCCEEDED,
        RESULT,
        REPORT,
        ["small face"],
    )
    assert done.progress.percent == 100 and done.finished_at >= done.started_at
    assert records.counts()["running"] == 0


def test_one_claim_wins_and_may_be_sent_twice(records):
    job_id = created(records)
    won = []
    threads = [threading.Thread(target=lambda n=n: won.append(records.claim(f"w{n}", f"c{n}"))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won, key=str) == [Claim(job_id, 1), *[None] * 7]
    winner = records.get(job_id).worker
    assert records.claim(winner, winner.replace("w", "c")) == Claim(job_id, 1)


@pytest.mark.parametrize("end", ["succeed", "fail", "end_canceled"])
def test_an_attempt_that_lost_its_lease_can_do_nothing(records, upkeep, redis_client, end):
    job_id = created(records)
    records.claim("dead", "c1")
    end_lease(redis_client, job_id)
    assert upkeep.reap() == {job_id: JobStatus.QUEUED}
    ends = {
        "succeed": lambda n: records.succeed(job_id, n, RESULT, REPORT, []),
        "fail": lambda n: records.fail(job_id, n, {"code": "internal"}),
        "end_canceled": lambda n: records.end_canceled(job_id, n),
    }
    assert records.renew(job_id, 1, "x", Progress()) is Renewal.LOST
    assert not ends[end](1)
    assert not records.hand_back(job_id, 1)
    assert records.claim("dead", "c1") is None, "a claim that was lost is not renewed"
    assert records.claim("next", "c2") == Claim(job_id, 2)
    assert not ends[end](1)
    assert records.renew(job_id, 1, "x", Progress()) is Renewal.LOST
    assert ends[end](2)
    assert ends[end](2), "the same end reported twice, because an answer was lost, counts once"


@pytest.mark.parametrize("terminal", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED])
def test_terminal_states_never_change(records, upkeep, redis_client, terminal):
    job_id = created(records)
    records.claim("w", "c")
    if terminal is JobStatus.SUCCEEDED:
        records.succeed(job_id, 1, RESULT, REPORT, [])
    elif terminal is JobStatus.FAILED:
        records.fail(job_id, 1, {"code": "internal", "message": "", "stage": None, "retryable": True, "hint": ""})
    else:
        records.cancel(job_id)
        records.end_canceled(job_id, 1)
    before = records.get(job_id)
    assert before.status is terminal
    others = {
        JobStatus.SUCCEEDED: lambda: records.fail(job_id, 1, {}),
        JobStatus.FAILED: lambda: records.end_canceled(job_id, 1),
        JobStatus.CANCELED: lambda: records.succeed(job_id, 1, RESULT, REPORT, []),
    }
    assert not others[terminal]()
    assert records.cancel(job_id) is terminal
    assert records.claim("w2", "c2") is None
    assert not records.hand_back(job_id, 1)
    redis_client.zadd("lipsync:leases", {job_id: 1})
    assert upkeep.reap() == {}
    assert records.get(job_id) == before


ENDS = {
    "failed": lambda records, job_id: (
        records.claim("w", "c")
        and records.fail(job_id, 1, {"code": "internal", "message": "m", "stage": None, "retryable": True, "hint": ""})
    ),
    "canceled while it ran": lambda records, job_id: (
        records.claim("w", "c") and records.cancel(job_id) and records.end_canceled(job_id, 1)
    ),
    "canceled while it waited": lambda records, job_id: records.cancel(job_id),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_retry_queues_the_same_job_again(records, redis_client, end):
    before = records.get(created(records))
    end(records, before.id)
    attempt = records.get(before.id).attempt
    records.retry(before.id)
    job = records.get(before.id)
    same = {"id", "owner", "created_at", "input", "options", "warnings", "progress", "worker", "stage"}
    assert job.model_dump(include=same) == before.model_dump(include=same)
    assert (job.status, job.attempt, job.error, job.started_at, job.finished_at) == (
        JobStatus.QUEUED,
        attempt,
        None,
        None,
        None,
    )
    assert not job.cancel_requested and job.expires_at >= before.expires_at
    assert records.queue_positions([job.id]) == {job.id: 1} and redis_client.zscore("lipsync:expiry", job.id) is None
    assert records.counts()["total_retried"] == 1
    for refused in (lambda: records.fail(job.id, attempt, {}), lambda: records.end_canceled(job.id, attempt)):
        assert not refused(), "an earlier attempt can do nothing"
    assert records.claim("w", "c2") == Claim(job.id, attempt + 1)
    assert records.succeed(job.id, attempt + 1, RESULT, REPORT, [])


def test_a_retry_counts_losses_from_zero(records, upkeep, redis_client):
    job_id = created(records)
    for claim in ("c1", "c2"):
        records.claim("w", claim)
        end_lease(redis_client, job_id)
        upkeep.reap()
    assert records.get(job_id).status is JobStatus.FAILED
    records.retry(job_id)
    records.claim("w", "c3")
    end_lease(redis_client, job_id)
    assert upkeep.reap() == {job_id: JobStatus.QUEUED}


def test_only_failed_and_canceled_jobs_can_be_retried(records, upkeep, redis_client):
    def refused(job_id):
        with pytest.raises(LipSyncError) as caught:
            records.retry(job_id)
        return str(caught.value.code)

    job_id = created(records)
    assert refused("0" * 32) == "not_found"
    assert refused(job_id) == "retry_refused"
    records.claim("w", "c")
    assert refused(job_id) == "retry_refused"
    records.succeed(job_id, 1, RESULT, REPORT, [])
    assert refused(job_id) == "retry_refused"
    ended = [created(records, owner) for owner in ("busy", "idle", "old")]
    for other in ended:
        records.cancel(other)
    redis_client.zadd("lipsync:expiry", {ended[2]: 1}, xx=True)
    assert upkeep.expire() == [ended[2]]
    assert refused(ended[2]) == "result_expired"
    for _ in range(4):
        created(records, "busy")
    assert refused(ended[0]) == "concurrency_limited"
    created(records, "another")
    assert refused(ended[1]) == "queue_full"
    assert records.get(ended[1]).status is JobStatus.CANCELED


def test_a_waiting_job_is_canceled_at_once_and_never_starts(records):
    job_id = created(records)
    assert records.cancel(job_id) is JobStatus.CANCELED
    assert records.claim("w", "c") is None
    assert records.queue_positions([job_id]) == {}


def test_a_running_job_is_asked_to_stop(records):
    job_id = created(records)
    records.claim("w", "c")
    assert records.cancel(job_id) is JobStatus.RUNNING
    assert records.renew(job_id, 1, "x", Progress()) is Renewal.CANCEL
    assert not records.hand_back(job_id, 1), "a job to be canceled is not queued again"
    assert records.end_canceled(job_id, 1)
    assert records.get(job_id).error is None


def test_a_canceled_job_whose_worker_died_is_canceled(records, upkeep, redis_client):
    job_id = created(records)
    records.claim("w", "c")
    records.cancel(job_id)
    end_lease(redis_client, job_id)
    assert upkeep.reap() == {job_id: JobStatus.CANCELED}


def test_a_job_fails_when_it_was_lost_too_often(records, upkeep, redis_client):
    job_id = created(records)
    for attempt in (1, 2):
        assert records.claim("w", f"c{attempt}") == Claim(job_id, attempt)
        end_lease(redis_client, job_id)
        upkeep.reap()
    job = records.get(job_id)
    assert (job.status, job.error["code"], job.error["retryable"]) == (JobStatus.FAILED, "worker_lost", True)


def test_an_attempt_can_be_counted_as_dead_at_once(records):
    job_id = created(records)
    for attempt in (1, 2):
        assert records.claim("w", f"c{attempt}").attempt == attempt
        assert records.lose(job_id, attempt) and not records.lose(job_id, attempt)
    assert (records.get(job_id).error["code"], records.counts()["total_lost"]) == ("worker_lost", 2)


def test_handing_back_is_no_loss(records, upkeep):
    job_id = created(records)
    for attempt in range(1, 6):
        assert records.claim("w", f"c{attempt}") == Claim(job_id, attempt)
        assert records.hand_back(job_id, attempt)
    assert records.get(job_id).status is JobStatus.QUEUED
    assert upkeep.take_unsent() == [job_id]


def test_a_live_lease_is_left_alone(records, upkeep):
    created(records)
    records.claim("w", "c")
    assert upkeep.reap() == {}


def test_messages_are_sent_again_once(records, upkeep):
    first, second = created(records), created(records)
    assert upkeep.take_unsent() == []
    upkeep.mark_unsent([first, second, "0" * 32])
    records.claim("w", "c")
    assert upkeep.take_unsent() == [second]
    assert upkeep.take_unsent() == []
    assert upkeep.overdue(60) == []
    time.sleep(0.01)
    assert upkeep.overdue(0.001) == [second]


def assert_refused(records, owner, code):
    for refused in (lambda: created(records, owner), lambda: records.check_capacity(owner)):
        with pytest.raises(LipSyncError) as caught:
            refused()
        assert caught.value.code == code and caught.value.retry_after_s


def test_the_queue_is_bounded(records):
    for number in range(5):
        created(records, f"caller-{number % 2}")
    assert_refused(records, "new", "queue_full")


def test_the_jobs_of_one_caller_are_bounded_until_they_end(records):
    ids = [create(records, "busy", (f"k{number}", "f")).job_id for number in range(4)]
    assert_refused(records, "busy", "concurrency_limited")
    created(records, "other")
    records.claim("w", "c")
    assert_refused(records, "busy", "concurrency_limited")
    assert create(records, "busy", ("k0", "f")).replayed, "a request that was answered before is not refused"
    records.check_capacity("busy", "k0")
    assert records.fail(ids[0], 1, {})
    created(records, "busy")
    assert_refused(records, "busy", "concurrency_limited")
    records.cancel(ids[1])
    created(records, "busy")
    records.delete(ids[2])
    created(records, "busy")
    assert_refused(records, "busy", "concurrency_limited")


def test_an_idempotency_key_that_another_job_has_now_is_kept(records, redis_client):
    first = create(records, idempotency=("k", "f")).job_id
    for key in redis_client.keys("lipsync:idem:*"):
        redis_client.delete(key)  # as it ends after a day
    second = create(records, idempotency=("k", "f")).job_id
    assert first != second and records.delete(first)
    again = create(records, idempotency=("k", "f"))
    assert (again.job_id, again.replayed) == (second, True)


def test_idempotency(records):
    first = create(records, idempotency=("k", "f1"))
    again = create(records, idempotency=("k", "f1"))
    assert (first.replayed, again.replayed, again.job_id) == (False, True, first.job_id)
    with pytest.raises(LipSyncError, match="idempotency_conflict"):
        create(records, idempotency=("k", "f2"))
    assert not create(records, "other", ("k", "f2")).replayed, "keys belong to their owner"
    records.delete(first.job_id)
    assert not create(records, idempotency=("k", "f2")).replayed


def test_pages_newest_first_own_jobs_only(records):
    ids = [created(records) for _ in range(4)]
    records.claim("w", "c")
    created(records, "other")
    seen, cursor = [], None
    while True:
        jobs, cursor = records.page("", None, 2, cursor)
        seen += [job.id for job in jobs]
        if cursor is None:
            break
    assert seen == ids[::-1]
    assert [job.id for job in records.page("", JobStatus.RUNNING, 10, None)[0]] == [ids[0]]
    jobs, cursor = records.page("", JobStatus.QUEUED, 2, None)
    assert [job.id for job in jobs] == [ids[3], ids[2]] and cursor is not None
    assert [job.id for job in records.page("", JobStatus.QUEUED, 2, cursor)[0]] == [ids[1]]


def test_files_expire_first_then_the_record(records, upkeep, redis_client):
    running, waiting, ended = (created(records) for _ in range(3))
    records.claim("w", "c")
    records.cancel(ended)
    assert upkeep.expire() == [], "nothing has expired yet"
    redis_client.zadd("lipsync:expiry", {ended: 1}, xx=True)
    assert upkeep.expire() == [ended]
    assert records.get(ended).status is JobStatus.CANCELED
    assert [upkeep.keeps_files(job_id) for job_id in (waiting, running, ended, "0" * 32)] == [True, True, False, False]
    redis_client.zadd("lipsync:expiry", {ended: 1}, xx=True)
    assert upkeep.expire() == [ended]
    assert records.get(ended) is None


def test_delete_leaves_nothing(records, redis_client):
    job_id = create(records, idempotency=("k", "f")).job_id
    records.claim("w", "c")
    assert records.delete(job_id)
    left = set(redis_client.keys("*"))
    assert left <= {"lipsync:totals", "lipsync:turn", "lipsync:claim:c"}
    assert 0 < redis_client.pttl("lipsync:claim:c") <= 1000 * LEASE_S
    assert records.renew(job_id, 1, "x", Progress()) is Renewal.LOST


def test_workers_are_known_while_they_announce_themselves(records, redis_client):
    facts = WorkerFacts(
        name="h-1", pid=1, device="cpu", precision="fp32", checkpoint="n", checkpoint_sha256="d", version="1"
    )
    records.announce(facts)
    assert records.live_workers() == [facts]
    redis_client.zadd("lipsync:workers", {"h-1": 1})
    assert records.live_workers() == []


def test_one_process_gets_the_interval(upkeep):
    assert [upkeep.claim_interval("sweep", 5) for _ in range(3)] == [True, False, False]
