"""Messages over every kind of address of Redis, with a real server that asks for a password."""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from kombu.exceptions import OperationalError

from app.core.errors import InputError
from app.core.private_redis import find_redis_server
from app.core.queue import JOBS_QUEUE, broker_tls, broker_url, count_messages, make_celery, send_job
from app.core.records.connection import connect
from app.core.settings import Settings
from app.core.start_checks import check_redis_login
from lipsync.supervisor import free_port
from tests.service import wait_until

PASSWORD = "p@ss:/w?r#d%41+é &"
JOB_ID = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://h:1?db=2", "redis://h:1/2"),
        ("redis://[::1]:1", "redis://[::1]:1/0"),
        ("redis://u:p%40%2F@h", "redis://u:p%40%2F@h:6379/0"),
        ("rediss://h", "rediss://h:6379/0"),
        ("unix:///tmp/r.sock", "redis+socket:///tmp/r.sock?virtual_host=0"),
        ("unix:///tmp/r.sock?db=3", "redis+socket:///tmp/r.sock?virtual_host=3"),
        ("unix://:p%40@/tmp/r.sock?db=3", "redis+socket://:p%40@/tmp/r.sock?virtual_host=3"),
        ("unix://u:p@/tmp/r.sock", "redis+socket://u:p@/tmp/r.sock?virtual_host=0"),
        ("unix:///tmp/r.sock?username=u&password=p%26", "redis+socket://u:p%26@/tmp/r.sock?virtual_host=0"),
        ("unix:///tmp/a%20b%25.sock", "redis+socket:///tmp/a%20b%25.sock?virtual_host=0"),
    ],
)
def test_broker_url(url, broker):
    assert broker_url(url) == broker


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("redis://h", None),
        ("unix:///r.sock", None),
        ("rediss://h", {"ssl_cert_reqs": "required"}),
        ("rediss://h?ssl_cert_reqs=none", {"ssl_cert_reqs": "none"}),
        ("rediss://h?ssl_ca_certs=/ca.pem", {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}),
    ],
)
def test_broker_tls(url, tls):
    assert broker_tls(url) == tls


@pytest.fixture(scope="module")
def guarded_redis():
    """Yield the folder and the port of a Redis with a password, another user, a unix socket, TCP and TLS."""
    with tempfile.TemporaryDirectory(prefix="ls-") as name:
        folder, port, tls_port = Path(name), free_port("127.0.0.1"), free_port("127.0.0.1")
        make_certificate(folder)
        configuration = folder / "redis.conf"
        quoted = PASSWORD.replace('"', '\\"')
        configuration.write_text(
            f'port {port}\nbind 127.0.0.1\nunixsocket "{folder}/r s.sock"\nsave ""\ndir {folder}\n'
            f'requirepass "{quoted}"\nuser worker on >simple ~* &* +@all\n'
            f"tls-port {tls_port}\ntls-cert-file {folder}/cert.pem\ntls-key-file {folder}/key.pem\n"
            f"tls-ca-cert-file {folder}/cert.pem\ntls-auth-clients no\nlogfile {folder}/log\n"
        )
        process = subprocess.Popen([find_redis_server(), str(configuration)])
        try:
            wait_until(lambda: process.poll() is not None or is_open(folder), 10)
            if process.poll() is not None:
                pytest.skip("this redis-server has no TLS")
            yield folder, port, tls_port
        finally:
            process.terminate()
            process.wait(60)


def make_certificate(folder):
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    key = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(["openssl", "req", *key, *subject, *files], check=True, capture_output=True)


def is_open(folder):
    with connect(f"unix://:{quote(PASSWORD, safe='')}@{quote(str(folder))}/r%20s.sock") as client:
        try:
            return client.ping()
        except redis.ConnectionError:
            return False


@contextmanager
def celery_of(url):
    celery = make_celery(Settings(redis_url=url))
    try:
        yield celery
    finally:
        celery.close()


@pytest.mark.parametrize(
    "form",
    [
        "unix://:{password}@{folder}/r%20s.sock",
        "unix://:{password}@{folder}/r%20s.sock?db=3",
        "unix://worker:simple@{folder}/r%20s.sock?db=2",
        "unix://{folder}/r%20s.sock?db=4&password={password}",
        "redis://:{password}@127.0.0.1:{port}/5",
        "redis://worker:simple@127.0.0.1:{port}?db=6",
        "rediss://:{password}@127.0.0.1:{tls_port}/7?ssl_ca_certs={folder}/cert.pem",
    ],
)
def test_messages_reach_the_database_of_the_records(guarded_redis, form):
    folder, port, tls_port = guarded_redis
    url = form.format(folder=folder, port=port, tls_port=tls_port, password=quote(PASSWORD, safe=""))
    with celery_of(url) as celery, connect(url) as client:
        send_job(celery, JOB_ID)
        assert client.llen(JOBS_QUEUE) == 1
        assert count_messages(celery, JOBS_QUEUE) == 1
        assert quote(PASSWORD, safe="") not in celery.connection_for_read().as_uri()
        client.flushdb()


def test_an_unknown_certificate_is_refused(guarded_redis):
    _, _, tls_port = guarded_redis
    url = f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{tls_port}"
    with celery_of(url) as celery, pytest.raises(Exception, match="certificate"):
        send_job(celery, JOB_ID)
    with pytest.raises(InputError, match="certificate of Redis cannot be verified"):
        check_redis_login(Settings(redis_url=url))
    with pytest.raises(InputError, match="file of ssl_ca_certs cannot be read"):
        check_redis_login(Settings(redis_url=f"{url}?ssl_ca_certs=/nowhere.pem"))


def test_a_redis_that_is_away_is_told_soon(tmp_path):
    with celery_of(f"unix://{tmp_path}/none.sock") as celery:
        started_at = time.monotonic()
        with pytest.raises(OperationalError):
            send_job(celery, JOB_ID)
        assert time.monotonic() - started_at < 3
