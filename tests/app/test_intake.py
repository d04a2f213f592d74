"""What is done with a form after it was received, without a server."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio

from app.core.dubs import Dub
from app.core.jobs import JobOptions
from app.core.storage.port import PARTS
from app.idempotency import fingerprint
from app.probe_files import probe_files
from tests.service import AUDIO, INPUT, VIDEO

VOICES = 20


def test_a_request_without_segments_is_the_same_as_before_there_were_any() -> None:
    options = JobOptions(crf=20)
    hashes = [fact.sha256 if fact else "" for fact in (INPUT.video, INPUT.audio, INPUT.audio_mix)]
    parts = ["job", "", options.model_dump_json(exclude={"segments"}), *hashes]
    before = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    assert fingerprint("job", [(INPUT, options)]) == before


def test_the_voices_of_one_job_leave_room_for_the_probes_of_others() -> None:
    limiter, lock, used = anyio.CapacityLimiter(VOICES), threading.Lock(), []

    def probe(facts: Any) -> Any:
        def work(path: Path, sha256: str | None) -> Any:
            with lock:
                used.append(limiter.statistics().borrowed_tokens)
            return facts

        return work

    dubs = tuple(Dub(start_s=number, end_s=number + 1, audio=f"v{number}") for number in range(VOICES))
    files = {"video": Path("video")} | {f"voice-{number}": Path(f"v{number}") for number in range(VOICES)}
    services = SimpleNamespace(prober=SimpleNamespace(video=probe(VIDEO), audio=probe(AUDIO)), probes=limiter)
    facts = anyio.run(probe_files, cast("Any", services), files, JobOptions(segments=dubs), {})
    assert facts.segments == (AUDIO,) * VOICES and len(used) == VOICES + 2  # with the sound of the film
    assert 1 <= max(used) <= len(PARTS)
