from __future__ import annotations

import shutil

import pytest
import redis

from app.core.errors import ErrorCode
from app.core.records.connection import RedisRefusedError, connect, is_unavailable
from tests.app.conftest import running_service
from tests.app.routes.test_jobs import assert_problem
from tests.service import running_redis, wait_until

ERRORS = [
    (redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"), True),
    (redis.ResponseError("Error running script: @user_script:3: -MISCONF Errors writing to the AOF file"), True),
    (redis.ResponseError("Error running script: @user_script:3: -OOM command not allowed"), True),
    (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), True),
    (redis.ResponseError("MASTERDOWN Link with MASTER is down"), True),
    (redis.ResponseError("CLUSTERDOWN The cluster is down"), True),
    (redis.ResponseError("BUSY Redis is busy running a script."), True),
    (redis.ResponseError("DENIED Redis is running in protected mode"), True),
    (redis.exceptions.NoPermissionError("this user has no permissions to run the 'evalsha' command"), True),
    (redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), True),
    (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), True),
    (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), True),
    (redis.exceptions.AuthenticationError("invalid username-password pair"), True),
    (redis.TimeoutError("Timeout reading from socket"), True),
    (redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
    (redis.ResponseError("unknown command 'MISCONFIGURED'"), False),
    (redis.exceptions.NoScriptError("No matching script. Please use EVAL."), False),
    (redis.DataError("Invalid input of type: 'dict'"), False),
    (OSError("MISCONF"), False),
]


@pytest.mark.parametrize(("error", "unavailable"), ERRORS)
def test_redis_cannot_work_or_the_call_is_wrong(error, unavailable):
    assert is_unavailable(error) == unavailable


def spoil_disk(client, data):
    """Make Redis refuse writes, as it does when its last snapshot failed."""
    client.config_set("save", "3600 1")
    client.set("something", "changed")
    shutil.rmtree(data)
    client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 10)


def fill_memory(client, _):
    client.config_set("maxmemory", "1")


def become_replica(client, _):
    client.replicaof("127.0.0.1", "1")


def want_password(client, _):
    client.config_set("requirepass", "secret")
    client.client_kill_filter(_type="normal", skipme=True)


@pytest.mark.parametrize("refuse", [spoil_disk, fill_memory, become_replica, want_password])
def test_a_redis_that_refuses_is_a_503_that_names_a_time(refuse, tmp_path):
    data = tmp_path / "redis"
    data.mkdir()
    with running_redis(data) as url, running_service(redis_url=url, data_dir=tmp_path / "data") as service:
        job_id = service.post().json()["id"]
        client = connect(url)
        try:
            refuse(client, data)
            calls = [service.post]
            if refuse is not fill_memory:  # a Redis without memory still does what needs none
                calls += [
                    lambda: service.http.post(f"/jobs/{job_id}/cancel"),
                    lambda: service.http.delete(f"/jobs/{job_id}"),
                ]
            for call in calls:
                answer = call()
                assert_problem(answer, 503, ErrorCode.INTERNAL)
                assert int(answer.headers["retry-after"]) > 0
        finally:
            if refuse is spoil_disk:
                client.config_set("save", "")  # without it, Redis would not end before it has saved
            client.close()


def test_a_refused_command_is_of_one_kind(tmp_path):
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as url:
        client = connect(url)
        fill_memory(client, None)
        with pytest.raises(RedisRefusedError):
            client.set("a", "b")
        client.config_set("maxmemory", "0")
        assert client.set("a", "b") and client.get("a") == "b"
        client.close()
