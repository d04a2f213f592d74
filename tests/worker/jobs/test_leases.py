"""Leases call the records with the identity of their attempt."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.jobs import Progress
from app.core.records.records import Renewal
from worker.jobs.leases import JobLease, SegmentLease

PROGRESS = Progress(percent=50.0, frames_done=7, frames_total=14, fps=1.0, eta_s=7.0)


class FakeRecords:
    """Records, or segments, that note every call; `answer` is the result of each."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            return self.answer

        return call


@pytest.mark.parametrize("answer", [True, False])
def test_a_job_lease_moves_its_job(answer):
    records: Any = FakeRecords(answer)
    lease = JobLease(records, "id", 3)
    assert [lease.hand_back(), lease.lose(), lease.fail({"code": "x"}), lease.end_canceled()] == [answer] * 4
    assert records.calls == [
        ("hand_back", "id", 3),
        ("lose", "id", 3),
        ("fail", "id", 3, {"code": "x"}),
        ("end_canceled", "id", 3),
    ]
    assert lease.name == "job=id attempt=3"


@pytest.mark.parametrize("answer", [True, False])
def test_a_segment_lease_moves_its_segment_and_cannot_cancel(answer):
    segments: Any = FakeRecords(answer)
    lease = SegmentLease(segments, "id", 2, 3)
    assert [lease.hand_back(), lease.lose(), lease.fail({"code": "x"}), lease.finish(9)] == [answer] * 4
    assert lease.end_canceled() is False
    assert segments.calls == [
        ("hand_back", "id", 2, 3),
        ("lose", "id", 2, 3),
        ("fail", "id", 2, 3, {"code": "x"}),
        ("finish", "id", 2, 3, 9),
    ]
    assert lease.name == "job=id segment=2 attempt=3"


def test_a_renewal_records_the_progress():
    records: Any = FakeRecords(Renewal.CANCEL)
    assert JobLease(records, "id", 3).renew("encode", PROGRESS) is Renewal.CANCEL
    assert SegmentLease(records, "id", 2, 3).renew("encode", PROGRESS) is Renewal.CANCEL
    assert [call[1:] for call in records.calls] == [("id", 3, "encode", PROGRESS), ("id", 2, 3, 7)]
