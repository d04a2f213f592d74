"""Callers take turns, each with its own jobs by priority and arrival; the places in line show the same order."""

from __future__ import annotations

import random

import pytest

from app.core.jobs import JobOptions, new_job_id
from app.core.records.records import RecordLimits, Records, WorkerFacts
from app.core.records.segments import JOIN, SplitFacts
from app.core.records.upkeep import Upkeep
from tests.service import INPUT

LIMITS = RecordLimits(60, max_attempts=3, max_queued_jobs=500, max_active_per_owner=500)


@pytest.fixture
def records(redis_client):
    return Records(redis_client, LIMITS)


class Line:
    """Queue of jobs with short names; the first letter is the owner."""

    def __init__(self, records, redis_client):
        self.records, self.upkeep, self.redis = records, Upkeep(redis_client, LIMITS), redis_client
        self.ids = {}
        self.claims = 0

    def send(self, *names):
        for name in names:
            priority = {"+": "high", "-": "low"}.get(name[-1], "normal")
            self.ids[name] = self.records.create(new_job_id(), name[0], INPUT, JobOptions(priority=priority)).job_id

    def take(self):
        """Claim one job; return its name and the attempt's number, or None."""
        self.claims += 1
        claim = self.records.claim("w", f"claim-{self.claims}")
        if claim is None:
            return None
        return next(name for name, job_id in self.ids.items() if job_id == claim.job_id), claim.attempt

    def take_all(self):
        return [name for name, _ in iter(self.take, None)]

    def forecast(self):
        """Return the names in the order of their places, which must be 1, 2, 3, ..."""
        places = self.records.queue_positions(self.ids.values())
        assert sorted(places.values()) == list(range(1, len(places) + 1))
        names = {job_id: name for name, job_id in self.ids.items()}
        return [names[job_id] for job_id in sorted(places, key=places.__getitem__)]

    def grow_old(self, name, seconds):
        self.redis.zincrby(f"lipsync:queue:{name[0]}", -seconds * 1e6, self.ids[name])


@pytest.fixture
def line(records, redis_client):
    return Line(records, redis_client)


ORDERS = [
    ("one caller: as they came", "a1 a2 a3", "a1 a2 a3"),
    ("two callers in turns, the first to wait begins", "a1 a2 a3 b1 b2", "a1 b1 a2 b2 a3"),
    ("three with different numbers of jobs", "a1 a2 a3 a4 b1 c1 c2", "a1 b1 c1 a2 c2 a3 a4"),
    ("priority within a caller", "a1- a2 a3+ a4+", "a3+ a4+ a2 a1-"),
    ("priority takes nothing from another caller", "a1+ a2+ a3+ b1- b2", "a1+ b2 a2+ b1- a3+"),
]


@pytest.mark.parametrize(("sent", "taken"), [row[1:] for row in ORDERS], ids=[row[0] for row in ORDERS])
def test_the_order_is_as_forecast(line, sent, taken):
    line.send(*sent.split())
    assert line.forecast() == taken.split()
    assert line.take_all() == taken.split()


def test_a_hundred_jobs_do_not_starve_a_single_one(line):
    line.send(*[f"a{number}" for number in range(100)])
    assert line.take() == ("a0", 1)
    line.send("b0")
    assert line.records.queue_positions([line.ids["b0"]]) == {line.ids["b0"]: 2}
    assert [line.take()[0] for _ in range(3)] == ["a1", "b0", "a2"]


def test_a_caller_with_one_job_at_a_time_gets_no_more_than_its_turns(line):
    line.send(*[f"a{number}" for number in range(5)], "b0")
    taken = []
    for number in range(1, 6):
        taken.append(line.take()[0])
        if taken[-1].startswith("b"):
            line.send(f"b{number}")
    assert taken == ["a0", "b0", "a1", "b2", "a2"]


@pytest.mark.parametrize(("waited_s", "first"), [(0, "a2+"), (3500, "a2+"), (3700, "a1")])
def test_a_priority_is_worth_one_hour_of_waiting(line, waited_s, first):
    line.send("a1", "a2+")
    line.grow_old("a1", waited_s)
    assert line.take() == (first, 1)


def test_a_job_queued_again_keeps_its_place_among_its_owner_s(line):
    line.send("a1", "a2", "b1")
    assert line.take() == ("a1", 1)
    assert line.records.hand_back(line.ids["a1"], 1)
    assert line.forecast() == ["b1", "a1", "a2"]
    line.redis.zadd("lipsync:leases", {line.ids["b1"]: 1})
    assert line.take() == ("b1", 1)
    line.redis.zadd("lipsync:leases", {line.ids["b1"]: 1}, xx=True)
    line.upkeep.reap()
    assert line.take() == ("a1", 2)
    assert line.take() == ("b1", 2)
    assert line.take() == ("a2", 1)
    assert line.take() is None


def test_canceled_and_deleted_jobs_take_no_turn(line):
    line.send("a1", "b1", "c1")
    line.records.cancel(line.ids["a1"])
    line.records.delete(line.ids["b1"])
    assert line.forecast() == ["c1"]
    assert line.take_all() == ["c1"]
    assert line.redis.exists("lipsync:turns", "lipsync:queue:a", "lipsync:queue:b", "lipsync:queue:c") == 0


def test_places_are_the_order_of_any_queue(line):
    dice = random.Random(5)
    for round_number in range(6):
        for number in range(15):
            line.send(f"{dice.choice('abcd')}{round_number}.{number}{dice.choice(['', '+', '-'])}")
        forecast = line.forecast()
        taken = [line.take()[0] for _ in range(dice.randrange(10))]
        assert taken == forecast[: len(taken)]
    forecast = line.forecast()
    assert line.take_all() == forecast


class LongLine(Line):
    """Jobs in twenty segments each, and a broker that delivers in order."""

    def __init__(self, records, segments, redis_client):
        super().__init__(records, redis_client)
        self.segments, self.messages = segments, []

    def split(self, *names):
        for name in names:
            self.send(name)
            taken, attempt = self.take()
            assert taken == name
            assert self.segments.split(self.ids[name], attempt, SplitFacts(plan=1, segments=20, frames=2000))

    def do_one(self):
        """Let the one worker do what the next message names; return the job's name, or `end` for a join."""
        self.messages += self.upkeep.take_unsent_units()
        job_id, _, what = self.messages.pop(0).partition(".")
        if what == JOIN:
            attempt = self.segments.claim_join(job_id, "w", "claim-join")
            assert self.records.end_canceled(job_id, attempt)
            return "end"
        attempt = self.segments.claim(job_id, int(what), "w", f"claim-{what}")
        assert self.segments.finish(job_id, int(what), attempt, 100)
        return next(name for name, known in self.ids.items() if known == job_id)


@pytest.fixture
def long_line(records, segments, redis_client):
    return LongLine(records, segments, redis_client)


def test_the_segments_of_many_long_jobs_do_not_starve_those_of_a_single_one(long_line):
    long_line.split(*[f"a{number}" for number in range(10)])
    assert {long_line.do_one() for _ in range(3)} == {"a0"}
    long_line.split("b0")
    done = [long_line.do_one() for _ in range(45)]
    assert done.index("b0") <= 4, "few messages were sent ahead"
    assert done[: done.index("b0") + 8].count("b0") >= 4, "then both in turn"
    assert done.count("b0") == 20 and done.count("a0") == 17
    assert "a2" not in done, "jobs are finished in the order in which they began"


def test_all_segments_are_done_and_then_joined(long_line):
    long_line.split("a0", "b0", "c0")
    done = [long_line.do_one() for _ in range(63)]
    assert [done.count(name) for name in ("a0", "b0", "c0", "end")] == [20, 20, 20, 3]
    assert long_line.upkeep.take_unsent_units() == []


def test_more_workers_get_more_messages_ahead(long_line, records):
    long_line.split("a0")
    assert len(long_line.upkeep.take_unsent_units()) == 4
    for number in range(3):
        records.announce(
            WorkerFacts(
                name=f"w{number}",
                pid=1,
                device="cpu",
                precision="fp32",
                checkpoint="n",
                checkpoint_sha256="d",
                version="1",
            )
        )
    assert len(long_line.upkeep.take_unsent_units()) == 6
    assert long_line.upkeep.take_unsent_units() == []
