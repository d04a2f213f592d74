from __future__ import annotations

import itertools
import threading

import pytest

from app.core.jobs import JobOptions, JobStatus, Progress, ResultFacts, new_job_id
from app.core.records.records import Renewal
from app.core.records.segments import SplitFacts
from tests.service import INPUT, REPORT

RESULT = ResultFacts(bytes=9, sha256="c" * 64, duration_s=4.0, fps="25", width=640, height=480, frames=300)
COUNT = 3
FACTS = SplitFacts(plan=1, segments=COUNT, frames=300)


@pytest.fixture
def job_id(records, segments):
    """Return a job in three segments of 100 frames."""
    name = records.create(new_job_id(), "", INPUT, JobOptions()).job_id
    records.claim("planner", "c")
    assert segments.split(name, 1, FACTS)
    return name


def do_all(segments, job_id):
    for number in range(COUNT):
        attempt = segments.claim(job_id, number, "w", f"c{number}")
        assert segments.finish(job_id, number, attempt, 100)


def end_lease(redis_client, unit):
    assert redis_client.zadd("lipsync:segment_leases", {unit: 1}, xx=True, ch=True)


def units(job_id, *names):
    return [f"{job_id}.{name}" for name in names]


def test_a_split_job_from_split_to_success(records, segments, upkeep, job_id, redis_client):
    assert (records.get(job_id).status, records.counts()["running"]) == (JobStatus.RUNNING, 1)
    assert segments.facts(job_id) == FACTS
    assert upkeep.take_unsent_units() == units(job_id, 0, 1, 2)
    assert segments.claim_join(job_id, "w", "early") is None
    do_all(segments, job_id)
    assert upkeep.take_unsent_units() == units(job_id, "join")
    assert segments.attempts(job_id, COUNT) == [1, 1, 1]
    assert segments.claim_join(job_id, "joiner", "j") == 1
    assert segments.claim_join(job_id, "joiner", "j") == 1, "the same claim sent twice is one claim"
    assert segments.claim_join(job_id, "other", "k") is None
    assert records.renew(job_id, 1, "finish", Progress()) is Renewal.OK
    assert records.succeed(job_id, 1, RESULT, REPORT, [])
    assert (records.get(job_id).status, records.counts()["running"]) == (JobStatus.SUCCEEDED, 0)
    assert not [key for key in redis_client.keys("lipsync:*") if "lease" in key or "segment_sent" in key]


def test_a_second_split_by_the_planner_does_not_touch_the_join(records, segments, upkeep, job_id):
    do_all(segments, job_id)
    assert segments.claim_join(job_id, "joiner", "j") == 1
    assert segments.split(job_id, 1, FACTS), "it is split already"
    assert upkeep.take_unsent_units() == [] and segments.claim_join(job_id, "other", "k") is None
    assert records.succeed(job_id, 1, RESULT, REPORT, [])


def test_finished_segments_of_another_plan_do_not_count(records, segments, upkeep, job_id):
    segments.finish(job_id, 2, segments.claim(job_id, 2, "w", "c"), 100)
    records.cancel(job_id)
    records.retry(job_id)
    records.claim("planner", "again")
    assert segments.split(job_id, 2, SplitFacts(plan=2, segments=2, frames=300))
    assert records.get(job_id).progress.frames_done == 0
    assert upkeep.take_unsent_units() == units(job_id, 0, 1)
    assert segments.attempts(job_id, COUNT) == [0, 0, 1], "numbers of attempts go on"


def test_a_job_canceled_while_it_is_planned_is_not_split(records, segments, upkeep):
    job_id = records.create(new_job_id(), "", INPUT, JobOptions()).job_id
    records.claim("planner", "c")
    records.cancel(job_id)
    assert not segments.split(job_id, 1, FACTS)
    assert records.get(job_id).status is JobStatus.CANCELED and upkeep.take_unsent_units() == []


def test_after_the_split_the_planner_can_do_nothing(records, segments, upkeep, job_id):
    assert segments.split(job_id, 1, FACTS), "an answer that was lost"
    assert records.renew(job_id, 1, "x", Progress()) is Renewal.LOST
    assert not records.fail(job_id, 1, {"code": "internal"})
    assert not records.hand_back(job_id, 1)
    assert upkeep.reap() == {}


def test_one_claim_of_a_segment_wins(segments, job_id):
    won = []
    threads = [
        threading.Thread(target=lambda n=n: won.append(segments.claim(job_id, 1, f"w{n}", f"c{n}"))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won, key=str) == [1, *[None] * 7]


def test_one_join_is_due_in_whatever_order_segments_end(segments, upkeep, job_id):
    attempts = [segments.claim(job_id, number, "w", f"c{number}") for number in range(COUNT)]
    upkeep.take_unsent_units()
    threads = [
        threading.Thread(target=segments.finish, args=(job_id, number, attempt, 100))
        for number, attempt in enumerate(attempts)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert upkeep.take_unsent_units() == units(job_id, "join")


def test_progress_is_the_sum_over_segments_without_the_frames_of_dead_attempts(
    records, segments, upkeep, job_id, redis_client
):
    attempts = [segments.claim(job_id, number, "w", f"c{number}") for number in range(2)]
    assert [
        segments.renew(job_id, n, attempt, done)
        for n, (attempt, done) in enumerate(zip(attempts, (30, 60), strict=True))
    ] == [Renewal.OK] * 2
    progress = records.get(job_id).progress
    assert (progress.frames_done, progress.frames_total, progress.percent) == (90, 300, 30.0)
    assert progress.fps > 0 and progress.eta_s is not None
    end_lease(redis_client, f"{job_id}.1")
    assert upkeep.reap_segments() == {f"{job_id}.1": JobStatus.RUNNING}
    assert segments.finish(job_id, 0, attempts[0], 100)
    assert records.get(job_id).progress.frames_done == 100


def test_an_attempt_that_lost_its_segment_can_do_nothing(segments, upkeep, job_id, redis_client):
    assert segments.claim(job_id, 0, "dead", "c1") == 1
    end_lease(redis_client, f"{job_id}.0")
    upkeep.reap_segments()
    for claimed in (False, True):
        assert segments.renew(job_id, 0, 1, 5) is Renewal.LOST
        assert not segments.finish(job_id, 0, 1, 100)
        assert not segments.fail(job_id, 0, 1, {"code": "internal"})
        assert not segments.hand_back(job_id, 0, 1)
        if not claimed:
            assert segments.claim(job_id, 0, "next", "c2") == 2
    assert segments.finish(job_id, 0, 2, 100)
    assert segments.finish(job_id, 0, 2, 100), "the same end reported twice counts once"
    assert not segments.finish(job_id, 0, 1, 100)
    assert segments.claim(job_id, 0, "late", "c3") is None, "a second message finds it done"


def test_a_segment_lost_too_often_fails_the_job(records, segments, upkeep, job_id, redis_client):
    for attempt in (1, 2):
        assert segments.claim(job_id, 2, "w", f"c{attempt}") == attempt
        end_lease(redis_client, f"{job_id}.2")
        upkeep.reap_segments()
    job = records.get(job_id)
    assert (job.status, job.error["code"], records.counts()["total_lost"]) == (JobStatus.FAILED, "worker_lost", 2)


def test_an_attempt_can_be_counted_as_dead_at_once(records, segments, upkeep, job_id):
    for attempt in (1, 2):
        assert segments.claim(job_id, 0, "w", f"c{attempt}") == attempt
        upkeep.take_unsent_units()
        assert segments.lose(job_id, 0, attempt) and not segments.lose(job_id, 0, attempt)
        assert upkeep.take_unsent_units() == (units(job_id, 0) if attempt == 1 else [])
    assert records.get(job_id).error["code"] == "worker_lost"


def test_handing_back_is_no_loss(segments, upkeep, job_id):
    for attempt in range(1, 6):
        assert segments.claim(job_id, 0, "w", f"c{attempt}") == attempt
        upkeep.take_unsent_units()
        assert segments.hand_back(job_id, 0, attempt)
    assert upkeep.take_unsent_units() == units(job_id, 0)


@pytest.mark.parametrize("end", ["fail", "cancel", "delete", "slow"])
def test_what_ends_the_job_ends_all_segments(records, segments, upkeep, job_id, redis_client, end):
    attempts = [segments.claim(job_id, number, "w", f"c{number}") for number in range(2)]
    ends = {
        "fail": lambda: segments.fail(job_id, 0, 1, {"code": "face_not_found"}),
        "cancel": lambda: records.cancel(job_id) is JobStatus.CANCELED,
        "delete": lambda: records.delete(job_id),
        "slow": lambda: upkeep.end_slow(-1) == [job_id],
    }
    assert ends[end]()
    assert [segments.renew(job_id, n, attempt, 1) for n, attempt in enumerate(attempts)] == [Renewal.LOST] * 2
    assert segments.claim(job_id, 2, "w", "c") is None
    assert upkeep.take_unsent_units() == [] and upkeep.reap_segments() == {}
    left = {key for key in redis_client.keys("lipsync:*") if job_id in key}
    assert (left == set()) is (end == "delete")


def test_a_lost_join_is_claimed_again_under_a_new_number(records, segments, upkeep, job_id, redis_client):
    do_all(segments, job_id)
    upkeep.take_unsent_units()
    for attempt, ended in ((1, "reaped"), (2, "handed back")):
        assert segments.claim_join(job_id, "w", ended) == attempt
        if ended == "reaped":
            redis_client.zadd("lipsync:leases", {job_id: 1})
            assert upkeep.reap() == {job_id: JobStatus.RUNNING}
        else:
            assert records.hand_back(job_id, attempt)
        assert not records.succeed(job_id, attempt, RESULT, REPORT, [])
        assert upkeep.take_unsent_units() == units(job_id, "join")
    assert segments.claim_join(job_id, "w", "last") == 3
    assert not records.succeed(job_id, 2, RESULT, REPORT, []) and records.succeed(job_id, 3, RESULT, REPORT, [])


def test_a_join_lost_too_often_fails_the_job(records, segments, upkeep, job_id, redis_client):
    do_all(segments, job_id)
    for number in itertools.count():
        if segments.claim_join(job_id, "w", f"j{number}") is None:
            break
        redis_client.zadd("lipsync:leases", {job_id: 1})
        upkeep.reap()
    assert (number, records.get(job_id).error["code"]) == (2, "worker_lost")


@pytest.mark.parametrize("done", [1, COUNT])
def test_a_retry_does_only_what_is_missing(records, segments, upkeep, job_id, done):
    for number in range(done):
        segments.finish(job_id, number, segments.claim(job_id, number, "w", f"c{number}"), 100)
    records.cancel(job_id)
    records.retry(job_id)
    claim = records.claim("w", "again")
    assert (claim.job_id, claim.attempt) == (job_id, 2)
    assert segments.facts(job_id) == FACTS
    assert segments.split(job_id, 2, FACTS)
    assert records.get(job_id).progress.frames_done == 100 * done
    assert upkeep.take_unsent_units() == (units(job_id, "join") if done == COUNT else units(job_id, 1, 2))
    for number in range(done, COUNT):
        segments.finish(job_id, number, segments.claim(job_id, number, "w", f"d{number}"), 100)
    assert segments.claim_join(job_id, "w", "j") == 2
