"""Every operation of the API description against the running service, with calls that schemathesis makes up.

All checks are on. These exceptions are mistakes of the check, not of the service; CONFIG names them:

- `not_a_server_error` on /readyz allows 503: a readiness probe says so that no worker is alive, and here none is.
- `positive_data_acceptance` on the three forms allows 422: a description cannot say that a text is JSON, that `end_s`
  is greater than `start_s`, that both lie within the film, or how many bytes metadata has as JSON. On /uploads it
  allows 413: the largest size is a setting of the service.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from app.core.errors import ErrorCode, ServiceError, error_payload
from app.core.storage.port import StorageUnavailableError, result_name
from tests.app.conftest import Service, running_service
from tests.app.routes.test_results import MP4, REPORT, RESULT
from tests.service import put, running_redis

ALLOWED = '["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]'
CONFIG = f"""
[[operations]]
include-name = "GET /readyz"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]

[[operations]]
include-name = ["POST /jobs", "POST /jobs/validate", "POST /batches"]
checks.positive_data_acceptance.expected-statuses = {ALLOWED}

[[operations]]
include-name = "POST /uploads"
checks.positive_data_acceptance.expected-statuses = ["2xx", "409", "413", "429"]
"""


def do_jobs(service: Service, end: threading.Event) -> None:
    """End every job, as a worker would: three with a result, then one with an error."""
    records, done = service.services.records, 0
    while not end.wait(0.02):
        claim = records.claim("worker", str(time.monotonic_ns()))
        if claim is None:
            continue
        done += 1
        if done % 4 == 0:
            error = ServiceError(ErrorCode.WORKER_LOST, "The worker died.")
            records.fail(claim.job_id, claim.attempt, error_payload(error, "faces"))
        else:
            with suppress(OSError, StorageUnavailableError):  # the job is being deleted
                put(service.services.storage, claim.job_id, result_name(claim.attempt), MP4)
            records.succeed(claim.job_id, claim.attempt, RESULT, REPORT, [])


@contextmanager
def working_service(folder: Path) -> Iterator[Service]:
    """Run an application that believes every file, with a thread that ends its jobs; yield it."""
    (folder / "redis").mkdir()
    most = {"max_queued_jobs": 100_000, "max_active_per_key": 100_000}
    with (
        running_redis(folder / "redis") as url,
        running_service(redis_url=url, data_dir=folder / "data", **most) as service,
    ):
        end = threading.Event()
        worker = threading.Thread(target=do_jobs, args=(service, end))
        worker.start()
        try:
            yield service
        finally:
            end.set()
            worker.join()


def check(folder: Path, *options: str) -> int:
    """Run schemathesis; return the number of its calls. Fails with its report where a check failed."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    with working_service(folder) as service:
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml")]
        command += ["run", f"{service.url}/openapi.json", "--checks", "all", "--no-color", "--request-timeout", "60"]
        command += ["--generation-deterministic"]
        ended = subprocess.run(
            [*command, *options], capture_output=True, text=True, cwd=folder, check=False, timeout=1500
        )
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]
    generated = re.search(r"^\s*([\d,]+) generated", ended.stdout, re.MULTILINE)
    assert generated is not None, ended.stdout[-8000:]
    return int(generated[1].replace(",", ""))


@pytest.mark.slow
def test_two_thousand_calls(tmp_path: Path) -> None:
    assert check(tmp_path, "--max-examples", "100", "--continue-on-failure") >= 2000


def test_a_hundred_calls(tmp_path: Path) -> None:
    calls = check(tmp_path, "--max-examples", "10", "--phases", "examples,fuzzing")
    assert calls >= 100
