from __future__ import annotations

import time

import pytest

from app.core.access.key_store import KeyStore, new_key
from app.core.errors import CapacityError, ErrorCode, RequestError
from app.core.records.connection import connect
from tests.app.wrong_tokens import wrong_tokens
from tests.service import running_redis


@pytest.fixture
def store(redis_client):
    return KeyStore(redis_client)


def test_a_key_is_found_by_its_token_alone(store, redis_client):
    key = new_key("Team A", rate_per_min=10)
    token = store.create(key)
    assert store.find(str(token)) == key and store.all() == [key]
    assert store.find(str(token)[:-1] + ("a" if str(token)[-1] != "a" else "b")) is None
    assert store.find(f"lsk_{'0' * 12}_{token.secret}") is None
    kept = " ".join(str(redis_client.hgetall(name)) for name in redis_client.keys("*api_key:*"))
    assert token.digest in kept and token.secret not in kept


def test_a_revoked_key_is_wrong_at_once(store):
    key = new_key("Team A")
    token = store.create(key)
    store.revoke(key.id)
    assert store.find(str(token)) is None and store.all() == []
    with pytest.raises(RequestError) as refused:
        store.revoke(key.id)
    assert refused.value.code is ErrorCode.NOT_FOUND


def test_an_expired_key_is_wrong(store):
    token = store.create(new_key("Team A", expires_at=int(time.time()) - 1))
    assert store.find(str(token)) is None
    assert store.find(str(store.create(new_key("Team B", expires_at=int(time.time()) + 60)))) is not None


@pytest.mark.parametrize(("overlap_s", "works"), [(60, True), (0, False)])
def test_the_secret_before_works_for_the_overlap(store, overlap_s, works):
    key = new_key("Team A")
    first = store.create(key)
    second = store.rotate(key.id, overlap_s)
    assert store.find(str(second)) == key
    assert (store.find(str(first)) == key) is works
    third = store.rotate(key.id, overlap_s)
    assert store.find(str(third)) == key and store.find(str(first)) is None


def test_every_refusal_asks_redis_for_the_same(tmp_path):
    asked = {}
    with running_redis(tmp_path) as url, connect(url) as client:  # of its own: Redis counts the commands of all clients
        store = KeyStore(client)
        for reason, text in wrong_tokens(store).items():
            assert store.find(text) is None  # the script is known to Redis from here on
            client.config_resetstat()
            assert store.find(text) is None
            stats = client.info("commandstats")
            asked[reason] = {name: of["calls"] for name, of in stats.items() if name != "cmdstat_config|resetstat"}
    assert all(commands == asked["unknown id"] for commands in asked.values()), asked
    assert asked["unknown id"]["cmdstat_hmget"] == 1


def test_rotating_an_unknown_key_makes_none(store):
    with pytest.raises(RequestError):
        store.rotate("0" * 12, 60)
    assert store.all() == []


def test_a_minutes_calls_may_come_at_once_and_no_more(store):
    key, free = new_key("Team A", rate_per_min=3), new_key("Team B")
    for _ in range(3):
        store.take_call(key)
    with pytest.raises(CapacityError) as refused:
        store.take_call(key)
    assert refused.value.code is ErrorCode.RATE_LIMITED
    assert refused.value.retry_after_s in range(1, 21)
    for _ in range(10):
        store.take_call(free)


def test_the_bucket_fills_evenly(store):
    key = new_key("Team A", rate_per_min=600_000)  # ten a millisecond
    for _ in range(200):
        store.take_call(key)
