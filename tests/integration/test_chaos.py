"""A dozen jobs, done for real while everything is killed at random: the short form of `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.findings import Findings
from tests.chaos.kills import run_kills
from tests.chaos.outage import run_outage
from tests.chaos.webhooks import run_webhooks


@pytest.mark.slow
def test_kills_at_random_cost_nothing(tmp_path):
    findings = Findings()
    run_kills(tmp_path, findings, jobs=12, seed=1, mean_s=4.0)
    assert findings.broken == []


@pytest.mark.slow
def test_each_end_is_announced_whatever_is_killed(tmp_path):
    findings = Findings()
    run_webhooks(tmp_path, findings, jobs=8, seed=1, mean_s=4.0)
    assert findings.broken == []


@pytest.mark.slow
def test_half_a_minute_without_redis_costs_nothing(tmp_path):
    findings = Findings()
    run_outage(tmp_path, findings, seed=1)
    assert findings.broken == []
