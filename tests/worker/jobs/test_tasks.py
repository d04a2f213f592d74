"""The checks of an attempt before it writes anything."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.jobs import JobOptions, JobStatus, new_job_id
from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records
from app.core.records.segments import Segments
from app.core.settings import Settings
from app.core.storage.folder import FolderStorage
from app.core.storage.workspace import Workspace
from tests.service import INPUT, put, running_redis
from worker.jobs import tasks
from worker.jobs.runtime import Pipeline, Runtime


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield Settings(redis_url=url, data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture
def client(settings):
    client = connect(settings.redis_url)
    yield client
    client.close()


@pytest.fixture
def make_runtime(settings, client):
    def make(begin, reserve_bytes=0):
        nothing: Any = None
        limits, workspace = RecordLimits.of(settings), Workspace(settings.data_dir, reserve_bytes)
        workspace.prepare()
        return Runtime(
            name="host-1",
            settings=settings,
            redis=client,
            records=Records(client, limits),
            segments=Segments(client, limits),
            storage=FolderStorage(settings.data_dir),
            workspace=workspace,
            synthesizer=nothing,
            detectors=nothing,
            pipeline=Pipeline(begin, begin, begin),
            find_faces=lambda *_: [],
            is_stopping=lambda: False,
        )

    return make


def test_a_full_disk_fails_the_job_before_anything_is_written(make_runtime, settings):
    begun = []
    runtime = make_runtime(lambda *parts: begun.append(parts), reserve_bytes=10**18)
    job_id = runtime.records.create(new_job_id(), "", INPUT, JobOptions()).job_id
    for name in ("video", "audio"):
        put(runtime.storage, job_id, name, b"x")
    tasks.run_job(runtime)
    job = runtime.records.get(job_id)
    assert (job.status, job.error["code"], job.error["retryable"]) == (JobStatus.FAILED, "storage_full", True)
    assert begun == [] and list((settings.data_dir / "work").iterdir()) == []
