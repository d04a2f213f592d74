"""The cache of findings: who gets which entry, what damages it, how large it gets, and when it is erased."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.storage.cache import Cache, Entry

ONE, TWO = "1" * 32, "2" * 32


def cache_in(folder: Path, max_bytes: int = 10**6, reserve_bytes: int = 0) -> Cache:
    return Cache(folder / "cache", max_bytes, reserve_bytes)


def writer(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def put(entry: Entry, content: bytes) -> None:
    entry.put(writer(content))


def content_of(entry: Entry) -> bytes | None:
    path = entry.get()
    return None if path is None else path.read_bytes()


def files_in(folder: Path, pattern: str = "*") -> list[Path]:
    return [path for path in (folder / "cache").rglob(pattern) if path.is_file()]


def test_another_job_of_the_same_owner_gets_the_finding(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    put(cache.of_job("anna", ONE).entry("faces", "film", 3), b"found")
    assert content_of(cache_in(tmp_path).of_job("anna", TWO).entry("faces", "film", 3)) == b"found"


@pytest.mark.parametrize(
    ("owner", "kind", "parts"),
    [
        ("berta", "faces", ("film", 3)),
        ("", "faces", ("film", 3)),
        ("anna", "features", ("film", 3)),
        ("anna", "faces", ("film", 4)),
        ("anna", "faces", ("another film", 3)),
        ("anna", "faces", ("film", 3, "other code")),
        ("anna\nfaces", "film", (3,)),
    ],
)
def test_nothing_else_gets_it(tmp_path: Path, owner: str, kind: str, parts: tuple[object, ...]) -> None:
    cache = cache_in(tmp_path)
    put(cache.of_job("anna", ONE).entry("faces", "film", 3), b"found")
    assert content_of(cache.of_job(owner, ONE).entry(kind, *parts)) is None


@pytest.mark.parametrize("damage", [b"", b"foun", b"fount", b"found and more"])
def test_a_damaged_entry_is_removed(tmp_path: Path, damage: bytes) -> None:
    entry = cache_in(tmp_path).of_job("", ONE).entry("faces")
    put(entry, b"found")
    (path,) = files_in(tmp_path, "*.entry")
    path.write_bytes(damage)
    assert content_of(entry) is None and not path.exists()
    put(entry, b"found")
    assert content_of(entry) == b"found"


def test_a_newer_finding_replaces_an_older_one(tmp_path: Path) -> None:
    entry = cache_in(tmp_path).of_job("", ONE).entry("faces")
    for content in (b"one", b"one and two", b"one and two"):
        put(entry, content)
    assert content_of(entry) == b"one and two" and len(files_in(tmp_path, "*.entry")) == 1


def test_an_entry_is_erased_with_the_last_job_that_made_or_used_it(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    put(cache.of_job("", ONE).entry("faces"), b"both")
    assert content_of(cache.of_job("", TWO).entry("faces")) == b"both"
    put(cache.of_job("", ONE).entry("voice"), b"one")
    kept = {ONE, TWO}
    assert cache.sweep(kept.__contains__) == 0
    kept.remove(ONE)
    assert cache.sweep(kept.__contains__) == 1
    assert content_of(cache.of_job("", TWO).entry("faces")) == b"both"
    assert content_of(cache.of_job("", TWO).entry("voice")) is None
    kept.clear()
    assert cache.sweep(kept.__contains__) == 1 and not files_in(tmp_path)


def test_a_deleted_job_is_forgotten_at_once(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.forget(ONE)  # before anything was ever kept
    for job_id in (ONE, TWO):
        put(cache.of_job("", job_id).entry("faces"), b"both")
    put(cache.of_job("", ONE).entry("voice"), b"one")
    cache.forget(ONE)
    assert [path.read_bytes() for path in files_in(tmp_path, "*.entry")] == [b"both"]
    cache.forget(TWO)
    assert not files_in(tmp_path)


def test_an_entry_that_is_made_after_its_job_was_deleted_goes_with_the_next_sweep(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.sweep(lambda _: False)
    put(cache.of_job("", ONE).entry("faces"), b"late")
    cache.sweep(lambda _: False)
    assert not files_in(tmp_path)


def make_old(folder: Path, key: str, age_s: float) -> None:
    for path in (folder / "cache" / key).iterdir():
        os.utime(path, (time.time() - age_s,) * 2)


def test_what_was_not_used_for_longest_gives_way(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, max_bytes=250)
    entries = [cache.of_job("", ONE).entry("faces", number) for number in range(4)]
    for number, entry in enumerate(entries[:2]):
        put(entry, bytes(100))
        make_old(tmp_path, entry.key, 100 - number)
    assert content_of(entries[0]) is not None  # used now, so the other one is older
    put(entries[2], bytes(100))
    assert [content_of(entry) is not None for entry in entries] == [True, False, True, False]


def test_a_sweep_keeps_to_the_bound_whoever_wrote(tmp_path: Path) -> None:
    large = cache_in(tmp_path)
    for number in range(5):
        put(large.of_job("", ONE).entry("faces", number), bytes(100))
    assert cache_in(tmp_path, max_bytes=300).sweep(lambda _: True) == 2
    assert sum(path.stat().st_size for path in files_in(tmp_path)) <= 300


@pytest.mark.parametrize(("max_bytes", "reserve_bytes"), [(4, 0), (0, 0), (10**6, 2**62)])
def test_what_is_too_large_or_finds_a_full_disk_is_not_kept(tmp_path: Path, max_bytes: int, reserve_bytes: int) -> None:
    entry = cache_in(tmp_path, max_bytes, reserve_bytes).of_job("", ONE).entry("faces")
    put(entry, b"found")
    assert content_of(entry) is None and not files_in(tmp_path, "*.entry") and not files_in(tmp_path, ".*")


def test_a_folder_that_cannot_be_used_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = cache_in(tmp_path)
    entry = cache.of_job("", ONE).entry("faces")
    put(entry, b"found")
    assert content_of(entry) is None and "entry not kept" in caplog.text


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def full(path: Path) -> None:
        path.write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    entry = cache_in(tmp_path).of_job("", ONE).entry("faces")
    entry.put(full)
    assert content_of(entry) is None and "No space left" in caplog.text and not files_in(tmp_path, ".*")


def put_many(folder: str, content: bytes) -> None:
    entry = cache_in(Path(folder)).of_job("", ONE).entry("faces")
    for _ in range(60):
        put(entry, content)
        found = content_of_or_gone(entry)
        assert found in (b"a" * 5000, b"b" * 5000, None)


def content_of_or_gone(entry: Entry) -> bytes | None:
    try:
        return content_of(entry)
    except FileNotFoundError:  # the other process has replaced it in between
        return None


def test_two_processes_may_write_one_entry_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=put_many, args=(str(tmp_path), letter * 5000)) for letter in (b"a", b"b")]
    for process in writers:
        process.start()
    for process in writers:
        process.join(120)
    assert [process.exitcode for process in writers] == [0, 0]
    put(cache_in(tmp_path).of_job("", ONE).entry("faces"), b"last")
    assert content_of(cache_in(tmp_path).of_job("", ONE).entry("faces")) == b"last"
