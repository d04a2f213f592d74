from __future__ import annotations

import pytest
import redis

from worker.jobs.monitor import AttemptLostError
from worker.jobs.unavailable import retry_while_unavailable


def raise_error(error):
    raise error


def test_a_call_is_repeated_until_redis_answers():
    calls = []

    def call():
        calls.append(1)
        if len(calls) < 2:
            raise redis.ConnectionError
        return "answer"

    assert retry_while_unavailable(call) == "answer" and len(calls) == 2


def test_the_check_can_end_the_repetition():
    with pytest.raises(AttemptLostError):
        retry_while_unavailable(lambda: raise_error(redis.ConnectionError()), lambda: raise_error(AttemptLostError()))
