"""Workers die and end in the middle of a job; the job ends once all the same."""

from __future__ import annotations

import os
import signal
import time

from app.core.records.connection import connect
from app.core.records.records import LEASE_S
from tests.processes import is_gone
from tests.service import wait_until


def test_a_killed_child_s_job_is_done_by_the_next(bare_stack):
    bare_stack.start_worker()
    job_id = bare_stack.post(seconds=4)
    bare_stack.wait_for(job_id, "running")
    (pid,) = bare_stack.child_pids()
    os.kill(pid, signal.SIGKILL)
    died_at = time.monotonic()
    wait_until(lambda: bare_stack.get(job_id)["attempt"] == 2, 20)
    assert time.monotonic() - died_at < LEASE_S + 30  # the reaper, the message, and what a busy machine adds
    job = bare_stack.wait_for(job_id, "succeeded")
    assert job["attempt"] == 2
    assert sorted(path.name for path in (bare_stack.data_dir / "jobs" / job_id).iterdir()) == [
        "audio",
        "result-2.mp4",
        "video",
    ]
    totals = bare_stack.services.records.counts()
    assert (totals["total_succeeded"], totals["total_lost"], totals["running"], totals["queued"]) == (1, 1, 0, 0)


def test_a_worker_told_to_end_hands_its_job_back(bare_stack):
    first = bare_stack.start_worker()
    job_id = bare_stack.post(seconds=12)
    bare_stack.wait_for(job_id, "running")
    first.send_signal(signal.SIGTERM)
    bare_stack.wait_for(job_id, "queued", timeout_s=5)
    assert first.wait(60) == 0
    bare_stack.start_worker()
    assert bare_stack.wait_for(job_id, "succeeded")["attempt"] == 2
    assert bare_stack.services.records.counts().get("total_lost", 0) == 0


def test_a_worker_told_to_end_finishes_what_is_nearly_done(bare_stack):
    worker = bare_stack.start_worker()
    job_id = bare_stack.post(seconds=3)
    wait_until(lambda: bare_stack.get(job_id)["progress"]["percent"] > 60, 10)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert (bare_stack.get(job_id)["status"], bare_stack.get(job_id)["attempt"]) == ("succeeded", 1)


def test_two_children_work_side_by_side(bare_stack):
    bare_stack.start_worker(workers=2)
    wait_until(lambda: len(bare_stack.child_pids()) == 2, 10)
    ids = [bare_stack.post(seconds=4) for _ in range(2)]
    wait_until(lambda: all(bare_stack.get(job_id)["status"] == "running" for job_id in ids), 10)
    assert all(bare_stack.wait_for(job_id, "succeeded")["attempt"] == 1 for job_id in ids)


def test_redis_away_for_a_while_costs_no_attempt(bare_stack):
    bare_stack.start_worker()
    job_id = bare_stack.post(seconds=3)
    bare_stack.wait_for(job_id, "running")
    with connect(bare_stack.redis_url) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)  # accepts connections, answers nothing
    answer = bare_stack.http.get(f"/jobs/{job_id}")
    os.kill(pid, signal.SIGCONT)
    assert (answer.status_code, answer.json()["code"]) == (503, "internal")
    assert bare_stack.wait_for(job_id, "succeeded")["attempt"] == 1


def test_a_job_past_its_time_fails(bare_stack):
    bare_stack.start_worker(run_timeout_s=1)
    job = bare_stack.wait_for(bare_stack.post(seconds=60), "failed", timeout_s=10)
    assert job["error"]["code"] == "run_timeout"


def test_a_killed_parent_takes_its_children_with_it(bare_stack):
    process = bare_stack.start_worker()
    job_id = bare_stack.post(seconds=60)
    bare_stack.wait_for(job_id, "running")
    (pid,) = bare_stack.child_pids()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    wait_until(lambda: is_gone(pid), 5)
