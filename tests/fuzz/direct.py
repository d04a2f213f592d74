"""Mutated files given straight to the children that open them: probed, and decoded where the probe accepts them."""

from __future__ import annotations

import os
import resource
import shutil
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

import psutil

from app.core.checks import never_stop
from app.core.errors import ErrorCode, LipSyncError
from app.core.probing.answer import DAMAGED
from app.core.probing.probe import Limits, find_ffmpeg, probe_audio, probe_video
from tests.chaos.findings import Findings
from tests.fuzz.bases import Base
from tests.fuzz.mutations import mutate
from tests.processes import children_of, command_of, resident_bytes
from worker.media.decode import decode, open_source
from worker.media.sparse import sparse_frames, sparse_numbers
from worker.media.voice import read_voice

LIMIT_S: Final = 10.0
MOST_BYTES: Final = 2 * 1024**3  # resident memory of any child
FRAMES: Final = 12
FORK_SERVER: Final = "app.core.sandbox.fork_server_program"
LIMITS: Final = Limits()


@dataclass
class Tally:
    """Outcomes of many cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slow: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    def add(self, index: int, outcome: str, seconds: float) -> None:
        """Count a case."""
        self.outcomes[outcome] += 1
        self.slowest_s = max(self.slowest_s, seconds)
        if seconds > LIMIT_S:
            self.slow.append(index)


def case_content(bases: Sequence[Base], seed: int, index: int) -> tuple[Base, bytes, str]:
    """Return the base of a case, its mutated content, and its name."""
    base = bases[index % len(bases)]
    name = f"{seed}/{index}/{base.name}"
    return base, mutate(base.content, [other.content for other in bases], name), name


def run_direct(folder: Path, findings: Findings, bases: Sequence[Base], seed: int, cases: Sequence[int]) -> None:
    """Run cases, two at a time; they are numbers, each of which names a base and its mutations."""
    tally, lock = Tally(), threading.Lock()

    def run(index: int) -> float:
        base, content, name = case_content(bases, seed, index)
        work = folder / str(index)
        work.mkdir()
        started = time.monotonic()
        outcome = _outcome(work, base, content, name, tally)
        took_s = time.monotonic() - started
        with lock:
            tally.add(index, outcome, took_s)
        shutil.rmtree(work)
        return took_s

    with watched_children() as peak:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, cases))
        # again and alone, because other programs may have had the processor
        again = {index: run(index) for index in list(tally.slow)}
    slow = [
        f"{case_content(bases, seed, index)[2]}: {s:.1f} s, also alone" for index, s in again.items() if s > LIMIT_S
    ]
    for fault in (*tally.errors, *slow, *tally.unexplained):
        findings.note(f"  {fault}")
    codes = ", ".join(f"{name} {count}" for name, count in tally.outcomes.most_common())
    findings.figures(
        "files",
        f"{len(cases)} mutated, {codes}; slowest {tally.slowest_s:.1f} s; largest child {peak.bytes / 1e6:.0f} MB",
    )
    findings.promise("every file ends in success or a coded refusal", not tally.errors)
    findings.promise("no probe dies", not tally.unexplained)
    findings.promise(f"within {LIMIT_S:g} s", not slow)
    findings.promise(f"no child holds more than {MOST_BYTES / 2**30:g} GiB", peak.bytes < MOST_BYTES)
    findings.promise("no child is left", not _children_left())


def _children_left() -> list[psutil.Process]:
    """Return the children of this process but its fork server, which ends with it."""
    servers = [child for child in children_of(os.getpid()) if FORK_SERVER in command_of(child)]
    return [child for child in children_of(os.getpid(), recursive=True) if child not in servers]


def _outcome(work: Path, base: Base, content: bytes, name: str, tally: Tally) -> str:
    path = work / "input"
    path.write_bytes(content)
    try:
        (_hear if base.is_voice else _look)(path, work)
    except LipSyncError as error:
        if error.message == DAMAGED:
            tally.unexplained.append(f"{name}: the probe died")
        if error.code == ErrorCode.INTERNAL:
            tally.errors.append(f"{name}: {error}")
        return str(error.code)
    except Exception:  # noqa: BLE001 - whatever it is, it is a finding
        tally.errors.append(f"{name}: {traceback.format_exc()}")
        return "exception"
    return "accepted"


def _look(path: Path, work: Path) -> None:
    facts = probe_video(path, LIMITS)
    source = open_source(path, facts, find_ffmpeg(None), never_stop)
    for _ in islice(decode(source, 0, min(facts.frames, FRAMES), never_stop), FRAMES):
        pass
    list(sparse_frames(source, sparse_numbers(0, facts.frames, 3), facts.frames, lambda *_: None, never_stop))
    if facts.has_audio:
        _hear(path, work)


def _hear(path: Path, work: Path) -> None:
    facts = probe_audio(path, LIMITS)
    voice = read_voice(path, facts, work, never_stop)
    if len(voice) > 16_000 * (LIMITS.max_duration_s + 61):
        raise AssertionError("the voice is longer than its limit")


@dataclass
class Peak:
    """Largest resident memory of one child, in bytes."""

    bytes: int = 0


@contextmanager
def watched_children() -> Iterator[Peak]:
    """Measure the children of this process: the ended ones by the kernel's count, the others ten times a second."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            children = children_of(os.getpid(), recursive=True)
            peak.bytes = max(peak.bytes, *map(resident_bytes, children), 0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak.bytes = max(peak.bytes, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
