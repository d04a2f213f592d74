from __future__ import annotations

import time

import pytest

from worker.jobs.monitor import DRAIN_S, HandedBackError, JobMonitor


@pytest.mark.parametrize(("done", "total", "handed_back"), [(5, 10, False), (1, 10_000, True), (0, 0, True)])
def test_a_stopping_worker_finishes_only_what_is_nearly_done(done, total, handed_back):
    monitor = JobMonitor(60.0, lambda: True)
    monitor.frames(0, total)
    time.sleep(0.1)
    monitor.frames(done, total)
    if handed_back:
        with pytest.raises(HandedBackError):
            monitor.check()
    else:
        monitor.check()
    assert 0 < DRAIN_S < 20


def test_the_speed_of_frames_that_are_rendered_again_is_their_own():
    monitor = JobMonitor(60.0, lambda: False)
    for done in (20, 40, 1):
        monitor.frames(done, 50)
    assert monitor.snapshot()[1].eta_s is None
    monitor.frames(2, 50)
    assert monitor.snapshot()[1].eta_s is not None
