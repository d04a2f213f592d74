from __future__ import annotations

import time

import pytest
import redis

from app.core.errors import ErrorCode, InputError, RequestError
from app.core.probing.probe import ProbeBrokenError
from app.core.records.records import Renewal
from app.core.storage.folder import FolderStorage
from app.core.storage.port import StorageUnavailableError
from tests.service import wait_until
from worker.jobs.attempt import run_attempt
from worker.jobs.leases import Lease
from worker.jobs.monitor import AttemptLostError, HandedBackError, JobMonitor
from worker.media.media_process import ProcessKilledError


class FakeLease(Lease):
    """Lease that notes how it is ended; `answer` is the answer to each renewal."""

    name = "x"

    def __init__(self, answer=Renewal.OK):
        super().__init__("job", 1)
        self.answer, self.ends = answer, []

    def renew(self, stage, progress):
        return self.answer

    def hand_back(self):
        return self._end("hand_back")

    def lose(self):
        return self._end("lose")

    def fail(self, error):
        return self._end("fail", error["code"])

    def end_canceled(self):
        return self._end("end_canceled")

    def _end(self, *end):
        self.ends.append(end)
        return True


class FakeStorage(FolderStorage):
    """Storage without files, which can be unavailable."""

    def __init__(self, is_available=True):
        self.is_available = is_available

    def names(self, job_id):
        if not self.is_available:
            raise StorageUnavailableError
        return []


def monitor(stopping=False, run_timeout_s=60.0):
    return JobMonitor(run_timeout_s, lambda: stopping)


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (InputError(ErrorCode.NO_FACE_DETECTED, "None."), [("fail", "no_face_detected")]),
        (RequestError(ErrorCode.CANCELED, "Canceled."), [("end_canceled",)]),
        (HandedBackError(), [("hand_back",)]),
        (AttemptLostError(), []),
        (ProcessKilledError(), [("lose",)]),
        (ProbeBrokenError(), [("lose",)]),
        (redis.ConnectionError(), [("lose",)]),
        (redis.OutOfMemoryError(), [("lose",)]),
        (redis.ReadOnlyError(), [("lose",)]),
        (StorageUnavailableError(), [("lose",)]),
        (RuntimeError("secret"), [("fail", "internal")]),
        (MemoryError(), [("fail", "out_of_memory")]),
    ],
)
def test_each_error_ends_the_lease_in_one_way(error, ends):
    lease = FakeLease()
    run_attempt(lease, monitor(), FakeStorage(), raising(error))
    assert lease.ends == ends


def test_a_failure_without_the_storage_is_no_fault_of_the_job():
    lease = FakeLease()
    run_attempt(lease, monitor(), FakeStorage(is_available=False), raising(FileNotFoundError("video")))
    assert lease.ends == [("lose",)]


@pytest.mark.parametrize("error", [ProcessKilledError(), ProbeBrokenError()])
def test_a_child_killed_with_its_worker_is_no_loss(error):
    lease = FakeLease()
    run_attempt(lease, monitor(stopping=True), FakeStorage(), raising(error))
    assert lease.ends == [("hand_back",)]


def until_stopped(watched, timeout_s=60.0):
    def work():
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            watched.check()
            time.sleep(0.02)
        return "never"

    return work


@pytest.mark.parametrize(("answer", "ends"), [(Renewal.LOST, []), (Renewal.CANCEL, [("end_canceled",)])])
def test_the_answer_to_a_renewal_stops_the_work(answer, ends):
    lease, watched = FakeLease(answer), monitor()
    run_attempt(lease, watched, FakeStorage(), until_stopped(watched))
    assert lease.ends == ends


def test_work_past_its_time_fails():
    lease, watched = FakeLease(), monitor(run_timeout_s=0.2)
    run_attempt(lease, watched, FakeStorage(), until_stopped(watched))
    assert lease.ends == [("fail", "run_timeout")]


def test_work_that_does_not_stop_is_failed_by_the_heartbeat():
    lease, watched = FakeLease(), monitor(run_timeout_s=-40.0)

    def work():
        wait_until(lambda: lease.ends, 10)
        return "late"

    run_attempt(lease, watched, FakeStorage(), work)
    assert ("fail", "run_timeout") in lease.ends
