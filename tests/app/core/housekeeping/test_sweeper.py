from __future__ import annotations

import os
import time

import pytest

from app.core.housekeeping.sweeper import Sweeper
from app.core.jobs import JobOptions, new_job_id
from app.core.storage.cache import Cache
from app.core.storage.folder import FolderStorage
from app.core.storage.workspace import Workspace
from tests.service import INPUT, put, wait_until

RETENTION_S = 7200


class Rig:
    def __init__(self, records, upkeep, redis_client, root):
        self.records, self.redis, self.root = records, redis_client, root
        self.storage, self.workspace = FolderStorage(root, reserve_bytes=0), Workspace(root, reserve_bytes=0)
        self.workspace.prepare()
        self.cache = Cache(root / "cache", 10**6, reserve_bytes=0)
        self.sweeper = Sweeper(upkeep, self.storage, self.workspace, self.cache, RETENTION_S, interval_s=0.02)

    def new_job(self):
        job_id = self.records.create(new_job_id(), "", INPUT, JobOptions()).job_id
        return self.new_files(job_id)

    def new_files(self, job_id):
        put(self.storage, job_id, "video", b"x")
        return job_id

    def make_old(self, *job_ids, idle_s=RETENTION_S + 60):
        for job_id in job_ids:
            folder = self.root / "jobs" / job_id
            for path in (folder / "video", folder):
                os.utime(path, (time.time() - idle_s,) * 2)

    def kept(self, *job_ids):
        return {job_id for job_id in job_ids if self.storage.names(job_id)}


@pytest.fixture
def rig(records, upkeep, redis_client, tmp_path):
    return Rig(records, upkeep, redis_client, tmp_path)


def test_expired_files_are_removed_and_no_others(rig):
    running, waiting, ended, expired = (rig.new_job() for _ in range(4))
    assert rig.records.claim("w", "c").job_id == running
    for job_id in (ended, expired):
        rig.records.cancel(job_id)
    rig.redis.zadd("lipsync:expiry", {expired: 1})
    rig.sweeper.sweep_expired()
    assert rig.kept(waiting, running, ended, expired) == {waiting, running, ended}
    assert rig.records.get(expired) is not None, "the record explains for a while longer"
    rig.redis.zadd("lipsync:expiry", {expired: 1})
    rig.sweeper.sweep_expired()
    assert rig.records.get(expired) is None


def test_any_number_expires_at_once(rig):
    ids = [rig.new_job() for _ in range(2)]
    for number in range(300):  # more than one batch
        rig.redis.hset(f"lipsync:job:{number:032x}", mapping={"status": "failed"})
        rig.redis.zadd("lipsync:expiry", {f"{number:032x}": 1})
    rig.sweeper.sweep_expired()
    assert rig.redis.zcount("lipsync:expiry", "-inf", 1) == 0 and rig.kept(*ids) == set(ids)


def test_orphans_are_removed_when_they_would_have_expired(rig):
    running, waiting = rig.new_job(), rig.new_job()
    assert rig.records.claim("w", "c").job_id == running
    expired = rig.new_job()
    rig.redis.hset(f"lipsync:job:{expired}", "expired", 1)
    orphan, uploading, promised = (rig.new_files(new_job_id()) for _ in range(3))
    rig.make_old(waiting, running, expired, orphan)
    rig.make_old(promised, idle_s=RETENTION_S - 60)  # by another service perhaps
    rig.sweeper.sweep_orphans()
    assert rig.kept(waiting, running, expired, orphan, uploading, promised) == {waiting, running, uploading, promised}


def test_the_thread_does_all_three_sweeps_and_survives_a_storage_that_fails(rig, tmp_path):
    job_id = rig.new_job()
    rig.records.cancel(job_id)
    rig.redis.zadd("lipsync:expiry", {job_id: 1})
    (tmp_path / "jobs" / job_id).rename(tmp_path / "away")
    (tmp_path / "jobs" / job_id).write_bytes(b"in the way of a folder")  # reading it fails
    orphan = rig.new_files(new_job_id())
    rig.make_old(orphan)
    stale = tmp_path / "work" / "stale"
    stale.mkdir()
    os.utime(stale, (1, 1))
    rig.sweeper.start()
    wait_until(lambda: not stale.exists() and not rig.kept(orphan), 5)
    rig.sweeper.stop()
    assert rig.records.get(job_id) is not None


def test_what_was_found_in_an_input_goes_with_its_last_job(rig):
    one, other = rig.new_job(), rig.new_job()
    entries = [rig.cache.of_job("", job_id).entry("faces", "film") for job_id in (one, other)]
    for entry in entries:
        entry.put(lambda path: path.write_bytes(b"found"))
    rig.records.delete(one)
    rig.sweeper.sweep_host()
    assert entries[1].get() is not None
    rig.redis.hset(f"lipsync:job:{other}", "expired", "1")
    rig.sweeper.sweep_host()
    assert entries[1].get() is None and not any((rig.root / "cache").iterdir())
