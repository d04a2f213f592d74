"""Probe the files of a new job: some at the same time, in threads that all calls share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import anyio.to_thread

from app.core.dub_voices import voice_place
from app.core.dubs import voice_names
from app.core.errors import InputError, naming
from app.core.jobs import AudioFacts, JobInput, JobOptions, VideoFacts
from app.core.options import needs_film_sound
from app.core.storage.port import PARTS
from app.services import Services

_Facts = TypeVar("_Facts")


async def probe_files(
    services: Services, files: Mapping[str, Path], options: JobOptions, sha256: Mapping[Path, str]
) -> JobInput:
    """Probe the files of a job, some at the same time; raise the first error in the order video, audio, mix, voices.

    The errors of the voices of dubs name the dub. The video's own sound is probed too where it is needed.

    sha256: hashes that are known.
    """
    voices = voice_names(options.segments)
    own = asyncio.Semaphore(len(PARTS))  # the many voices of one job must not keep other callers waiting

    async def probe(function: Callable[[Path, str | None], _Facts], path: Path) -> _Facts:
        async with own:
            return await anyio.to_thread.run_sync(function, path, sha256.get(path), limiter=services.probes)

    async def probe_sound(name: str) -> AudioFacts | None:
        return await probe(services.prober.audio, files[name]) if name in files else None

    async def probe_voice(name: str) -> AudioFacts | None:
        with naming(voice_place(voices.index(name))):
            return await probe_sound(name)

    names = list(dict.fromkeys(voices))
    outcomes = await asyncio.gather(
        probe(services.prober.video, files["video"]),
        probe_sound("audio"),
        probe_sound("audio_mix"),
        *(probe_voice(name) for name in names),
        return_exceptions=True,
    )
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    video, audio, mix, *sounds = outcomes
    by_name = dict(zip(names, sounds, strict=True))
    film_audio = None
    if needs_film_sound(options) and isinstance(video, VideoFacts) and video.has_audio:
        with suppress(InputError):  # the job then warns that the video's own sound is missing
            film_audio = await probe_sound("video")
    facts = {"video": video, "audio": audio, "audio_mix": mix, "film_audio": film_audio}
    return JobInput.model_validate({**facts, "segments": [by_name[name] for name in voices]})
