from __future__ import annotations

import logging
import time

import pytest

from app.core.housekeeping.periodic import PeriodicThread
from tests.service import wait_until


class Work(PeriodicThread):
    """Work whose calls end as listed, then well."""

    def __init__(self, *ends, interval_s=0.01):
        super().__init__("work", interval_s, (OSError,), stop_timeout_s=5)
        self.ends, self.calls = list(ends), 0

    def run_once(self):
        self.calls += 1
        if self.ends:
            end = self.ends.pop(0)
            if end is not None:
                raise end


@pytest.mark.parametrize(
    ("ends", "logged"),
    [
        ([None, None], 0),
        ([OSError(), OSError(), OSError()], 1),
        ([OSError(), OSError(), None, OSError(), OSError()], 2),
        ([OSError(), ConnectionError(), ConnectionError()], 2),
    ],
    ids=["none", "one outage", "two outages", "two kinds"],
)
def test_an_expected_error_is_logged_once_until_a_call_succeeds_or_its_kind_changes(caplog, ends, logged):
    work = Work(*ends)
    with caplog.at_level(logging.WARNING, "lipsync.work"):
        work.start()
        wait_until(lambda: work.calls > len(ends), 5)
        work.stop()
    assert len(caplog.records) == logged


def test_it_is_stopped_at_once_however_long_the_interval():
    work = Work(interval_s=600)
    work.start()
    before = time.monotonic()
    work.stop()
    assert work.calls == 0 and time.monotonic() - before < 4
