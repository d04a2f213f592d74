"""Leases call the records with the identity of their attempt."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from app.core.jobs import Progress
from app.core.records.records import Records, Renewal
from app.core.records.segments import Segments
from worker.jobs.leases import JobLease, SegmentLease

PROGRESS = Progress(percent=50.0, frames_done=7, frames_total=14, fps=1.0, eta_s=7.0)


class FakeRecords:
    """Records or segments (the kind) that note every call, if it fits the real method; `answer` is its result."""

    def __init__(self, kind, answer):
        self.kind, self.answer, self.calls = kind, answer, []

    def __getattr__(self, name):
        def call(*arguments):
            inspect.signature(getattr(self.kind, name)).bind(self, *arguments)
            self.calls.append((name, *arguments))
            return self.answer

        return call


@pytest.mark.parametrize("answer", [True, False])
def test_a_job_lease_moves_its_job(answer):
    records: Any = FakeRecords(Records, answer)
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
    segments: Any = FakeRecords(Segments, answer)
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
    records: Any = FakeRecords(Records, Renewal.CANCEL)
    segments: Any = FakeRecords(Segments, Renewal.CANCEL)
    assert JobLease(records, "id", 3).renew("encode", PROGRESS) is Renewal.CANCEL
    assert SegmentLease(segments, "id", 2, 3).renew("encode", PROGRESS) is Renewal.CANCEL
    assert [call[1:] for call in records.calls + segments.calls] == [("id", 3, "encode", PROGRESS), ("id", 2, 3, 7)]
