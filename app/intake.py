"""Intake of a new job: receive the form, check and probe it, store the files, save the record, send a message.

A failure before the record is saved leaves nothing behind. Once the record is saved, the job is accepted. If its
message to the workers cannot be sent now, the reaper sends it later.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
import redis
from fastapi import Request
from kombu.exceptions import OperationalError
from starlette.concurrency import run_in_threadpool

from app.core.jobs import JobInput, JobOptions, new_job_id
from app.core.options import check_options_fit, option_error, options_from_text
from app.core.queue import send_job
from app.core.records.records import Created
from app.core.storage.disk_space import output_bytes
from app.core.storage.port import StorageUnavailableError
from app.services import Services
from app.uploads import Form, declared_bytes, receive_form

MAX_KEY_CHARACTERS: Final = 255
# For the API description; `_checked_key` decides. A server removes spaces around the value of a header.
KEY_SCHEMA: Final[dict[str, Any]] = {
    "minLength": 1,
    "maxLength": MAX_KEY_CHARACTERS,
    "pattern": "^[!-~]([ -~]*[!-~])?$",
}

_log = logging.getLogger("lipsync.api")
_Facts = TypeVar("_Facts")


@dataclass
class Intake:
    """Upload that passed every check.

    The files are on this host until they are stored. Stored files are deleted at the end, unless `kept` is set.
    """

    job_id: str
    files: dict[str, Path]
    input: JobInput
    options: JobOptions
    stored: bool = False
    kept: bool = False

    def store(self, services: Services) -> None:
        """Move the files to the storage, where workers can read them."""
        self.stored = True
        for name, path in self.files.items():
            services.storage.put(self.job_id, name, path)


@asynccontextmanager
async def received_upload(request: Request, services: Services) -> AsyncIterator[Intake]:
    """Receive and check a form; yield the upload.

    Raises InputError, CapacityError(storage_full), StorageUnavailableError, ClientDisconnect, OSError.
    """
    limits, job_id = services.upload_limits, new_job_id()
    # Looked at, but not promised: a form that only declares its length must not keep others out. The space for each
    # block is checked when the block has arrived.
    declared = declared_bytes(request, limits.max_bytes)
    for place in (services.storage, services.workspace):
        await run_in_threadpool(place.check_space, declared)
    intake: Intake | None = None
    held = ExitStack()
    try:
        folder = held.enter_context(services.workspace.incoming(job_id))
        form = await receive_form(request, folder, limits)
        options = options_from_text(form.options)
        job_input = await _probe(services, form)
        check_options_fit(options, job_input)
        await run_in_threadpool(services.storage.check_space, output_bytes(job_input, options))
        intake = Intake(job_id, form.files, job_input, options)
        yield intake
    finally:
        # Shielded from cancellation: a canceled request must not leave uploaded files behind.
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(held.close)
            if intake is not None and intake.stored and not intake.kept:
                await run_in_threadpool(_delete_files, services, job_id)


def _delete_files(services: Services, job_id: str) -> None:
    try:
        services.storage.delete(job_id)
    except (StorageUnavailableError, OSError) as error:  # the call itself succeeded; the sweeper deletes them later
        _log.warning("upload not deleted job=%s error=%s", job_id, type(error).__name__)


async def _probe(services: Services, form: Form) -> JobInput:
    """Probe all files at the same time; raise the first error in the order video, audio, mix."""
    files = form.files

    async def probe(function: Callable[[Path], _Facts], path: Path) -> _Facts:
        return await anyio.to_thread.run_sync(function, path, limiter=services.probes)

    async def probe_mix() -> object:
        return await probe(services.prober.audio, files["audio_mix"]) if "audio_mix" in files else None

    video, audio, mix = await asyncio.gather(
        probe(services.prober.video, files["video"]),
        probe(services.prober.audio, files["audio"]),
        probe_mix(),
        return_exceptions=True,
    )
    for outcome in (video, audio, mix):
        if isinstance(outcome, BaseException):
            raise outcome
    return JobInput.model_validate({"video": video, "audio": audio, "audio_mix": mix})


def save_job(services: Services, intake: Intake, owner: str, idempotency_key: str | None) -> Created:
    """Store the files, save the record and send the message.

    With an idempotency key that was used before, return the job of that earlier call.
    """
    idempotency = None
    if idempotency_key is not None:
        idempotency = (_checked_key(idempotency_key), _fingerprint(intake))
    intake.store(services)
    try:
        created = services.records.create(intake.job_id, owner, intake.input, intake.options, idempotency)
    except redis.RedisError:
        intake.kept = True  # unknown whether it was saved; the sweeper deletes files without a record
        raise
    if created.replayed:
        _log.info("replayed job=%s", created.job_id)
        return created
    intake.kept = True
    send_message(services, created.job_id)
    video = intake.input.video
    _log.info("accepted job=%s frames=%d bytes=%d", created.job_id, video.frames, video.bytes)
    return created


def send_message(services: Services, job_id: str) -> None:
    """Send the task of a queued job to the workers; if that fails, the reaper sends it later."""
    try:
        send_job(services.celery, job_id)
    except (OperationalError, redis.RedisError):  # kombu passes a refusal of Redis on as it is
        services.upkeep.mark_unsent([job_id])
        _log.warning("message not sent job=%s", job_id)


def _checked_key(key: str) -> str:
    if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise option_error(f"Idempotency-Key: must be 1 to {MAX_KEY_CHARACTERS} printable characters.")
    return key


def _fingerprint(intake: Intake) -> str:
    """Return a hash that is equal for equal requests: of the options and the content of the files."""
    facts = (intake.input.video, intake.input.audio, intake.input.audio_mix)
    parts = [intake.options.model_dump_json(), *(fact.sha256 if fact else "" for fact in facts)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
