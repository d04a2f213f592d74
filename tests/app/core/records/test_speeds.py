from __future__ import annotations

import pytest

from app.core.records.keys import Key
from app.core.records.speeds import KEPT, Speeds

SMALL, LARGE = 512 * 512, 1080 * 1920


@pytest.fixture
def speeds(redis_client):
    return Speeds(redis_client)


def test_nothing_is_known_before_the_first_job(speeds):
    assert speeds.estimate_s(SMALL, 100) is None


def test_jobs_of_the_same_size_decide(speeds):
    for work_s in (9.0, 10.0, 30.0):
        speeds.record(SMALL, 100, work_s)
    speeds.record(LARGE, 100, 500.0)
    assert speeds.estimate_s(SMALL, 200) == 20.0


def test_another_size_is_scaled(speeds):
    speeds.record(SMALL, 100, 10.0)
    assert speeds.estimate_s(4 * SMALL, 100) == 20.0 and speeds.estimate_s(SMALL // 4, 100) == 5.0


def test_only_the_last_jobs_count(speeds, redis_client):
    for _ in range(KEPT + 5):
        speeds.record(SMALL, 100, 1000.0)
    for _ in range(KEPT):
        speeds.record(SMALL, 100, 10.0)
    assert redis_client.llen(Key.SPEEDS) == KEPT and speeds.estimate_s(SMALL, 100) == 10.0
