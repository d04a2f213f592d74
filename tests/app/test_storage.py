from __future__ import annotations

import os
import time

import pytest

from app.core.errors import CapacityError
from app.core.storage import LocalStorage

ID = "0123456789abcdef" * 2


@pytest.fixture
def storage(tmp_path):
    store = LocalStorage(tmp_path / "data", reserve_bytes=0)
    store.prepare()
    return store


@pytest.mark.parametrize("job_id", ["", "..", "../" + ID, ID + "/..", ID.upper(), ID + "\n", "a" * 31])
def test_only_an_id_names_a_folder(storage, job_id):
    for use in (storage.folder, storage.create, storage.delete, lambda name: storage.work_folder(name, 1)):
        with pytest.raises(ValueError, match="id"):
            use(job_id)


def test_only_a_part_names_a_file(storage):
    with pytest.raises(ValueError, match="part"):
        storage.upload(ID, "../x")


def test_folders_are_private(storage):
    assert storage.create(ID).stat().st_mode & 0o777 == 0o700


def test_a_result_appears_complete_under_its_attempt(storage):
    storage.create(ID)
    output = storage.work_folder(ID, 2) / "out.mp4"
    output.write_bytes(b"mp4")
    storage.publish(ID, 2, output)
    assert storage.result(ID, 2).read_bytes() == b"mp4"
    assert not output.exists() and not storage.result(ID, 1).exists()
    storage.drop_result(ID, 2)
    storage.drop_result(ID, 2)
    assert not storage.result(ID, 2).exists()


def test_a_deleted_job_takes_no_result(storage):
    output = storage.work_folder(ID, 1) / "out.mp4"
    output.write_bytes(b"mp4")
    with pytest.raises(FileNotFoundError):
        storage.publish(ID, 1, output)


def test_a_piece_is_there_for_all_attempts_until_dropped(storage):
    storage.create(ID)
    for name in ("plan-1.npz", "segment-0-1.mp4"):
        made = storage.work_folder(ID, 1, segment=0) / "made"
        made.write_bytes(b"x")
        storage.publish_piece(ID, name, made)
        assert storage.piece(ID, name).read_bytes() == b"x" and not made.exists()
    storage.drop_piece(ID, "plan-1.npz")
    assert [path.name for path in storage.piece(ID, "plan-1.npz").parent.iterdir()] == ["segment-0-1.mp4"]
    storage.drop_pieces(ID)
    assert list(storage.folder(ID).iterdir()) == []
    for name in ("../x.mp4", ".mp4", "a/b.mp4", "plan"):
        with pytest.raises(ValueError, match="piece"):
            storage.piece(ID, name)


def test_attempts_at_segments_do_not_disturb_each_other(storage):
    whole, first, second = (storage.work_folder(ID, 1, segment) for segment in (None, 0, 1))
    again = storage.work_folder(ID, 2, segment=1)
    assert whole.is_dir() and first.is_dir() and again.is_dir() and not second.exists()
    old = time.time() - 100
    os.utime(first, (old, old))
    assert list(storage.idle_work(50)) == [(ID, None, first)]


def test_delete_removes_all_and_may_be_repeated(storage):
    (storage.create(ID) / "video").write_bytes(b"x")
    storage.delete(ID)
    storage.delete(ID)
    assert not storage.folder(ID).exists()


def test_room(tmp_path):
    store = LocalStorage(tmp_path, reserve_bytes=0)
    store.check_room(1000)
    with pytest.raises(CapacityError, match="storage_full"):
        store.check_room(10**18)
    with pytest.raises(CapacityError, match="storage_full"):
        LocalStorage(tmp_path, reserve_bytes=10**18).check_room(0)


def test_a_new_attempt_s_folder_replaces_those_of_dead_ones(storage):
    dead = storage.work_folder(ID, 1)
    (dead / "part").write_bytes(b"x")
    other = storage.work_folder("f" * 32, 1)
    assert storage.work_folder(ID, 2).is_dir() and other.is_dir() and not dead.exists()


def test_idle_folders_are_those_nothing_was_written_to(storage):
    job, work = storage.create(ID), storage.work_folder(ID, 3)
    (job / "video").write_bytes(b"x")
    old = time.time() - 100
    for path in (job, work):
        os.utime(path, (old, old))
    assert list(storage.idle_jobs(50)) == [], "the video is new"
    os.utime(job / "video", (old, old))
    assert list(storage.idle_jobs(50)) == [ID]
    assert list(storage.idle_work(50)) == [(ID, 3, work)]
    assert list(storage.idle_work(500)) == []
