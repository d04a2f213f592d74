from __future__ import annotations

import time

import pytest
import redis

from app.core.errors import ErrorCode, InputError, LipSyncError, RequestError
from app.core.probing.probe import ProbeKilledError
from app.core.records.records import Renewal
from app.core.storage.port import StorageUnavailableError
from tests.service import wait_until
from worker.jobs.attempt import DRAIN_S, AttemptLostError, HandedBackError, Hold, JobMonitor, attend, patiently
from worker.media.ffmpeg_process import ChildKilledError


class Moves:
    """Note which moves an attempt makes; `answer` is what Redis says to its heartbeat."""

    def __init__(self, answer=Renewal.OK, cut_off=False):
        self.answer, self.cut_off, self.made = answer, cut_off, []

    def hold(self):
        def note(name):
            def move(*error):
                self.made.append((name, *(payload["code"] for payload in error)))
                return True

            return move

        moves = (note("hand_back"), note("lose"), note("fail"), note("cancel"))
        return Hold("x", lambda *_: self.answer, *moves, is_cut_off=lambda: self.cut_off)


def monitor(stopping=False, run_timeout_s=60.0):
    return JobMonitor(run_timeout_s, lambda: stopping)


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "moves"),
    [
        (InputError(ErrorCode.NO_FACE_DETECTED, "None."), [("fail", "no_face_detected")]),
        (RequestError(ErrorCode.CANCELED, "Canceled."), [("cancel",)]),
        (HandedBackError(), [("hand_back",)]),
        (AttemptLostError(), []),
        (ChildKilledError(), [("lose",)]),
        (ProbeKilledError(), [("lose",)]),
        (redis.ConnectionError(), [("lose",)]),
        (redis.OutOfMemoryError(), [("lose",)]),
        (redis.ReadOnlyError(), [("lose",)]),
        (StorageUnavailableError(), [("lose",)]),
        (RuntimeError("secret"), [("fail", "internal")]),
        (MemoryError(), [("fail", "out_of_memory")]),
    ],
)
def test_each_end_is_one_move(error, moves):
    noted = Moves()
    attend(noted.hold(), monitor(), 60, raising(error))
    assert noted.made == moves


def test_a_failure_without_the_storage_is_nobody_s_fault():
    noted = Moves(cut_off=True)
    attend(noted.hold(), monitor(), 60, raising(FileNotFoundError("video")))
    assert noted.made == [("lose",)]


@pytest.mark.parametrize("error", [ChildKilledError(), ProbeKilledError()])
def test_a_child_killed_with_its_worker_is_no_loss(error):
    noted = Moves()
    attend(noted.hold(), monitor(stopping=True), 60, raising(error))
    assert noted.made == [("hand_back",)]


def until_stopped(watched, timeout_s=60.0):
    def work():
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            watched.check()
            time.sleep(0.02)
        return "never"

    return work


@pytest.mark.parametrize(("answer", "moves"), [(Renewal.LOST, []), (Renewal.CANCEL, [("cancel",)])])
def test_the_heartbeat_s_answer_stops_the_work(answer, moves):
    noted, watched = Moves(answer), monitor()
    attend(noted.hold(), watched, 60, until_stopped(watched))
    assert noted.made == moves


def test_work_past_its_time_fails():
    noted, watched = Moves(), monitor(run_timeout_s=0.2)
    attend(noted.hold(), watched, 0.2, until_stopped(watched))
    assert noted.made == [("fail", "run_timeout")]


def test_work_that_does_not_stop_is_ended_over_its_head():
    noted, watched = Moves(), monitor(run_timeout_s=-40.0)
    attend(noted.hold(), watched, -40.0, lambda: wait_until(lambda: noted.made, 10))
    assert ("fail", "run_timeout") in noted.made


@pytest.mark.parametrize(("done", "total", "handed_back"), [(5, 10, False), (1, 10_000, True), (0, 0, True)])
def test_when_the_worker_ends_what_is_nearly_done_is_finished(done, total, handed_back):
    watched = monitor(stopping=True)
    watched.frames(0, total)
    time.sleep(0.1)
    watched.frames(done, total)
    if handed_back:
        with pytest.raises(HandedBackError):
            watched.check()
    else:
        watched.check()
    assert 0 < DRAIN_S < 20


def test_a_move_is_made_again_until_redis_is_back():
    tries = []

    def move():
        tries.append(1)
        if len(tries) < 2:
            raise redis.ConnectionError
        return "moved"

    assert patiently(move) == "moved" and len(tries) == 2
    with pytest.raises(LipSyncError):
        patiently(raising(redis.ConnectionError()), raising(AttemptLostError()))
