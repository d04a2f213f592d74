"""The time of a refusal does not tell what was wrong with the token. The other load of the machine meets all alike."""

from __future__ import annotations

import random
import statistics
import time

import pytest

from tests.app.conftest import running_service
from tests.app.wrong_tokens import share_of_longer, wrong_tokens

REQUESTS = 2000  # of each reason
# Of the pairs of times. With these numbers chance alone gives less than 0.03 from one half.
LEAST_SHARE, MOST_SHARE = 0.44, 0.56


@pytest.mark.slow
def test_unknown_and_wrong_keys_take_the_same_time(redis_url, tmp_path):
    chance = random.Random(1)
    took: dict[str, list[float]] = {}
    with running_service(redis_url=f"{redis_url}?db=4", data_dir=tmp_path, auth="keys") as service:
        tokens = wrong_tokens(service.services.keys)
        for _ in range(REQUESTS):
            for reason in chance.sample(sorted(tokens), len(tokens)):
                started = time.perf_counter()
                status = service.http.get("/jobs", headers={"X-API-Key": tokens[reason]}).status_code
                took.setdefault(reason, []).append(time.perf_counter() - started)
                assert status == 401
    shares = {reason: share_of_longer(times, took["unknown id"]) for reason, times in took.items()}
    for reason, times in took.items():
        print(f"{reason}: median {statistics.median(times) * 1e6:.0f} us, longer than unknown {shares[reason]:.3f}")
    assert all(LEAST_SHARE < share < MOST_SHARE for share in shares.values()), shares
