"""Intake of a new job: receive the form, check and probe it, store the files, save the record, send a message.

A failure before the record is saved leaves nothing behind. Once the record is saved, the job is accepted. If its
message to the workers cannot be sent now, the reaper sends it later.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import redis
from fastapi import Request
from kombu.exceptions import OperationalError
from starlette.concurrency import run_in_threadpool

from app.caller import Caller
from app.core.dub_voices import (
    check_all_used,
    check_voices,
    job_files,
    options_to_keep,
    voice_paths,
    voices_elsewhere,
)
from app.core.file_names import UPLOAD_START, is_upload
from app.core.jobs import JobInput, JobOptions, new_job_id
from app.core.options import check_options_fit, option_error, options_from_text
from app.core.outgoing.guarded_url import blocked
from app.core.queue import send_job
from app.core.records.records import Created
from app.core.storage.disk_space import output_bytes
from app.core.storage.port import StorageUnavailableError
from app.form_shapes import PART_OF_FIELD, UPLOAD_FIELDS, JobForm
from app.idempotency import checked_key, fingerprint
from app.outgoing_clients import check_webhook_url
from app.probe_files import probe_files
from app.received_form import received_form
from app.services import Services

_log = logging.getLogger("lipsync.api")


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

    def discard_unless_kept(self, services: Services) -> None:
        """Delete the stored files, unless a job needs them."""
        if not self.stored or self.kept:
            return
        try:
            services.storage.delete(self.job_id)
        except (StorageUnavailableError, OSError) as error:  # the call itself succeeded; the sweeper deletes them later
            _log.warning("upload not deleted job=%s error=%s", self.job_id, type(error).__name__)


@asynccontextmanager
async def received_upload(request: Request, services: Services, caller: Caller) -> AsyncIterator[Intake]:
    """Receive and check the form of a job; yield the upload. Raises what `received_form` and `probe_files` raise."""
    job_id = new_job_id()
    async with received_form(request, services, job_id, JobForm()) as received:
        texts = received.form.texts
        elsewhere = {field: _file_name(field, text) for field, text in texts.items() if field in PART_OF_FIELD}
        options = options_from_text({name: text for name, text in texts.items() if name not in PART_OF_FIELD})
        options = await run_in_threadpool(with_webhook, services, caller, options)
        sent = received.form.files
        check_voices(options, sent, {*sent, *(PART_OF_FIELD[field] for field in elsewhere)})
        check_all_used(options, sent)
        await received.fetch(services, caller.owner, elsewhere | voices_elsewhere(options.segments))
        named = {PART_OF_FIELD[field]: received.fetched[source] for field, source in elsewhere.items()}
        files = job_files(options, sent, named) | voice_paths(options.segments, sent, received.fetched)
        files = await run_in_threadpool(own_names, files, job_id)
        options = options_to_keep(options)
        job_input = await probe_files(services, files, options, received.form.sha256)
        check_options_fit(options, job_input, services.settings.max_duration_s)
        await run_in_threadpool(services.storage.check_space, output_bytes(job_input, options))
        intake = Intake(job_id, files, job_input, options)
        try:
            yield intake
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(intake.discard_unless_kept, services)


def _file_name(field: str, text: str) -> str:
    """Return what names the file of a field: its address, or `upload:ID`; raises InputError(url_blocked)."""
    if field in UPLOAD_FIELDS:
        return UPLOAD_START + text
    if is_upload(text):
        raise blocked(f"{field}: this is no address; send the id as {field.replace('_url', '_upload')}.")
    return text


def with_webhook(services: Services, caller: Caller, options: JobOptions) -> JobOptions:
    """Return the options with the address of the webhook, which may be the key's; may raise `redis.RedisError`.

    Raises InputError: url_blocked for an address of the request that can never be called, option_invalid if no secret
    can sign.
    """
    url = options.webhook_url or (caller.key.webhook_url if caller.key is not None else None)
    if not url:
        return options
    if options.webhook_url:  # the key's own was checked when the key was made, and its user cannot change it
        check_webhook_url(url, services.webhook_sender.policy, "webhook_url")
    if not services.webhook_secrets.of(caller.owner):
        raise option_error("webhook_url: this service has no LIPSYNC_WEBHOOK_SECRET to sign with.")
    return options.model_copy(update={"webhook_url": url})


def own_name(path: Path, job_id: str, name: str) -> Path:
    """Return a further name of a file, because the storage may move the file away."""
    own = path.with_name(f".{job_id}-{name}")
    try:
        os.link(path, own)
    except OSError:  # a file system without links
        shutil.copyfile(path, own)
    return own


def own_names(files: Mapping[str, Path], job_id: str) -> dict[str, Path]:
    """Return the files, each under a path of its own, because the storage may move it away."""
    own: dict[str, Path] = {}
    for name, path in files.items():
        own[name] = own_name(path, job_id, name) if path in own.values() else path
    return own


def save_job(services: Services, intake: Intake, caller: Caller, idempotency_key: str | None) -> Created:
    """Store the files, save the record and send the message.

    With an idempotency key that was used before, return the job of that earlier call.
    """
    idempotency = None
    if idempotency_key is not None:
        idempotency = (checked_key(idempotency_key), fingerprint("job", [(intake.input, intake.options)]))
    intake.store(services)
    try:
        created = services.records.create(
            intake.job_id, caller.owner, intake.input, intake.options, idempotency, caller.max_active
        )
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
