"""Intake of a new job: receive the form, check and probe it, store the files, save the record, send a message.

A failure before the record is saved leaves nothing behind. Once the record is saved, the job is accepted. If its
message to the workers cannot be sent now, the reaper sends it later.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
import redis
from fastapi import Request
from kombu.exceptions import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.caller import Caller
from app.core.dub_voices import addresses, check_all_used, check_voices, job_files, options_to_keep, voice_paths
from app.core.dubs import dub_name, voice_names
from app.core.errors import ErrorCode, InputError, LipSyncError
from app.core.jobs import AudioFacts, JobInput, JobOptions, VideoFacts, new_job_id
from app.core.options import check_options_fit, needs_film_sound, option_error, options_from_text
from app.core.outgoing.fetch import fetch
from app.core.outgoing.guarded_url import parse_url
from app.core.queue import send_job
from app.core.records.records import Created
from app.core.storage.disk_space import output_bytes
from app.core.storage.port import PARTS, StorageUnavailableError
from app.direct_upload import fetch_upload
from app.form_shapes import UPLOAD_FIELDS, URL_FIELDS, FormShape, JobForm
from app.form_writer import Form
from app.listeners import until_client_leaves
from app.services import Services
from app.shutdown import stopping_error
from app.uploads import declared_bytes, receive_form

MAX_KEY_CHARACTERS: Final = 255
TIMEOUTS_OF_A_FORM: Final = 5  # all downloads of one form may take as long as so many that are stopped
# For the API description; `checked_key` decides. A server removes spaces around the value of a header.
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

    def discard_unless_kept(self, services: Services) -> None:
        """Delete the stored files, unless a job needs them."""
        if not self.stored or self.kept:
            return
        try:
            services.storage.delete(self.job_id)
        except (StorageUnavailableError, OSError) as error:  # the call itself succeeded; the sweeper deletes them later
            _log.warning("upload not deleted job=%s error=%s", self.job_id, type(error).__name__)


@dataclass
class ReceivedForm:
    """Form whose files lie in a folder of this host, until the reception ends.

    fetched: paths of further files by address, or by id of the upload.
    """

    request: Request
    form: Form
    folder: Path
    fetched: dict[str, Path] = field(default_factory=dict)

    async def fetch(self, services: Services, owner: str, urls: Iterable[str]) -> None:
        """Download the files at these addresses, one after the other, each once; they count as uploaded.

        All downloads together have TIMEOUTS_OF_A_FORM times the time of one, the waits for a thread not counted. A
        download ends early when the client leaves or this process shuts down. Raises InputError(url_blocked,
        url_fetch_failed, input_too_large), CapacityError(storage_full, queue_full), ClientDisconnect.
        """
        wanted = [url for url in dict.fromkeys(urls) if url not in self.fetched]
        for url in wanted:
            parse_url(url, services.url_client.policy)
        budget = TimeBudget(TIMEOUTS_OF_A_FORM * services.url_client.limits.total_s)
        for url in wanted:
            path, left = self._next_path(), self._left_bytes(services)
            with until_client_leaves(self.request) as wait:
                check = partial(_check_wanted, services, wait)
                download = partial(fetch, services.url_client, url, path, max_bytes=left, check=check)
                await services.downloads.run(owner, partial(budget.spend, download))
            self.fetched[url] = path

    async def fetch_uploads(self, services: Services, owner: str, upload_ids: Iterable[str]) -> None:
        """Copy the files of these uploads from the bucket, each once; they count as uploaded with the form.

        Raises InputError(option_invalid, input_too_large), CapacityError(storage_full), StorageUnavailableError,
        ClientDisconnect, `redis.RedisError`.
        """
        for upload_id in dict.fromkeys(upload_ids):
            if upload_id in self.fetched:
                continue
            folder, left = self._next_path(), self._left_bytes(services)
            folder.mkdir()
            with until_client_leaves(self.request) as wait:
                check = partial(_check_wanted, services, wait)
                copy = partial(fetch_upload, services, owner, upload_id, folder, left, check)
                self.fetched[upload_id] = await services.downloads.run(owner, copy)

    def _next_path(self) -> Path:
        return self.folder / f".fetched-{len(self.fetched)}"  # no file of a form has such a name

    def _left_bytes(self, services: Services) -> int:
        present = [*self.form.files.values(), *self.fetched.values()]
        return services.upload_limits.max_bytes - sum(path.stat().st_size for path in present)


def _check_wanted(services: Services, wait: anyio.CancelScope) -> None:
    """Raise an error if a download is no longer wanted or possible."""
    if wait.cancel_called:
        raise ClientDisconnect
    if services.shutdown.has_begun:
        raise stopping_error()
    services.workspace.check_space(0)


@dataclass
class TimeBudget:
    """Seconds that are left for several works together."""

    left_s: float

    def spend(self, work: Callable[[], object]) -> None:
        """Do a work and take its time away; raises InputError(url_fetch_failed) if none was left before it."""
        if self.left_s <= 0:
            message = "The files at the addresses take too long together; send fewer at once, or upload them."
            raise InputError(ErrorCode.URL_FETCH_FAILED, message)
        started = time.monotonic()
        work()
        self.left_s -= time.monotonic() - started


@asynccontextmanager
async def received_form(
    request: Request, services: Services, upload_id: str, shape: FormShape
) -> AsyncIterator[ReceivedForm]:
    """Receive a form; its files on this host are deleted at the end.

    Raises InputError, CapacityError(storage_full), StorageUnavailableError, ClientDisconnect, OSError.
    """
    limits = services.upload_limits
    # Looked at, but not promised: a form that only declares its length must not keep others out. The space for each
    # block is checked when the block has arrived.
    declared = declared_bytes(request, limits.max_bytes)
    for place in (services.storage, services.workspace):
        await run_in_threadpool(place.check_space, declared)
    held = ExitStack()
    try:
        folder = held.enter_context(services.workspace.incoming(upload_id))
        yield ReceivedForm(request, await receive_form(request, folder, limits, shape), folder)
    finally:
        # Shielded from cancellation: a canceled request must not leave uploaded files behind.
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(held.close)


@asynccontextmanager
async def received_upload(request: Request, services: Services, caller: Caller) -> AsyncIterator[Intake]:
    """Receive and check the form of a job; yield the upload. Raises what `received_form` and `probe_files` raise."""
    job_id = new_job_id()
    async with received_form(request, services, job_id, JobForm()) as received:
        texts = received.form.texts
        urls = {URL_FIELDS[name]: text for name, text in texts.items() if name in URL_FIELDS}
        uploads = {UPLOAD_FIELDS[name]: text for name, text in texts.items() if name in UPLOAD_FIELDS}
        others = URL_FIELDS.keys() | UPLOAD_FIELDS.keys()
        options = options_from_text({name: text for name, text in texts.items() if name not in others})
        options = await run_in_threadpool(with_webhook, services, caller, options)
        sent = received.form.files
        check_voices(options, sent, {*sent, *urls, *uploads})
        check_all_used(options, sent)
        await received.fetch(services, caller.owner, [*urls.values(), *addresses(options.segments)])
        await received.fetch_uploads(services, caller.owner, uploads.values())
        named = {name: received.fetched[source] for name, source in (urls | uploads).items()}
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


def with_webhook(services: Services, caller: Caller, options: JobOptions) -> JobOptions:
    """Return the options with the address of the webhook, which may be the key's; may raise `redis.RedisError`.

    Raises InputError: url_blocked for an address that may not be called, option_invalid if no secret can sign.
    """
    url = options.webhook_url or (caller.key.webhook_url if caller.key is not None else None)
    if url is None:
        return options
    parse_url(url, services.webhook_sender.policy)
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
        try:
            return await probe_sound(name)
        except LipSyncError as error:
            error.message = f"{dub_name(voices.index(name))}.audio: {error.message}"
            raise

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


def save_job(services: Services, intake: Intake, caller: Caller, idempotency_key: str | None) -> Created:
    """Store the files, save the record and send the message.

    With an idempotency key that was used before, return the job of that earlier call.
    """
    idempotency = None
    if idempotency_key is not None:
        idempotency = (checked_key(idempotency_key), fingerprint("job", [intake]))
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


def checked_key(key: str) -> str:
    """Return an idempotency key; raises InputError(option_invalid)."""
    if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise option_error(f"Idempotency-Key: must be 1 to {MAX_KEY_CHARACTERS} printable characters.")
    return key


def fingerprint(kind: str, intakes: Iterable[Intake], webhook_url: str | None = None) -> str:
    """Return a hash that is equal for equal requests: of their kind, the options and the content of the files.

    It is kept with a record, so a request that says nothing of a newer option has the hash of earlier versions.
    """
    parts = [kind, webhook_url or ""]
    for intake in intakes:
        facts = (intake.input.video, intake.input.audio, intake.input.audio_mix, *intake.input.segments)
        options = intake.options.model_dump_json(exclude=None if intake.options.segments else {"segments"})
        parts += [options, *(fact.sha256 if fact else "" for fact in facts)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
