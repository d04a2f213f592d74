"""Intake of a batch: one form with the files and a list of jobs that name them; all jobs are created, or none.

A file that several jobs name is sent, fetched and probed once. Each job has files of its own in the storage, so that it
can be deleted alone; in a folder they are links to the same bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import redis
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from app.caller import Caller
from app.core.dub_voices import check_is_there, check_voices, options_to_keep, voice_paths, voices_elsewhere
from app.core.dubs import voice_names
from app.core.errors import naming
from app.core.file_names import is_elsewhere
from app.core.jobs import JobInput, JobOptions, new_job_id
from app.core.options import (
    check_options_fit,
    checked_options,
    first_fault,
    needs_film_sound,
    option_error,
    place_text,
    quoted,
)
from app.core.records.batches import NewJob
from app.core.records.records import Created
from app.core.settings import Settings
from app.core.storage.disk_space import output_bytes
from app.form_shapes import BatchForm
from app.idempotency import checked_key, fingerprint
from app.intake import Intake, own_name, with_webhook
from app.probe_files import probe_files
from app.received_form import ReceivedForm, received_form
from app.services import Services

MAX_JOBS: Final = 500


_SOURCE: Final = "Name of a file of the form, an address, or `upload:ID`."


class BatchItem(BaseModel):
    """One job of a batch. video, audio, audio_mix: the name of a file of the form, an address, or upload:ID."""

    model_config = ConfigDict(extra="forbid")

    video: str = Field(description=_SOURCE, max_length=4096)
    audio: str | None = Field(
        None, description=f"{_SOURCE} Left out where the option `segments` names the voices.", max_length=4096
    )
    audio_mix: str | None = Field(None, description=_SOURCE, max_length=4096)
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the job, as in `POST /jobs`.")

    @property
    def sources(self) -> dict[str, str]:
        """Return the names or addresses of the files."""
        named = {"video": self.video, "audio": self.audio, "audio_mix": self.audio_mix}
        return {part: source for part, source in named.items() if source is not None}


# Facts by the files of a job, the voices of its dubs, and whether the video's own sound is needed.
_Probed = dict[tuple[tuple[tuple[str, Path], ...], tuple[str, ...], bool], JobInput]

_ITEMS: Final = TypeAdapter(Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_JOBS)])


@dataclass
class BatchIntake:
    """Batch that passed every check."""

    batch_id: str
    intakes: list[Intake]
    webhook_url: str | None


@asynccontextmanager
async def received_batch(request: Request, services: Services, caller: Caller) -> AsyncIterator[BatchIntake]:
    """Receive and check the form of a batch; a refusal names the job. Raises what `received_upload` raises."""
    batch_id = new_job_id()
    async with received_form(request, services, batch_id, BatchForm()) as received:
        items = await run_in_threadpool(_items, received.form.texts["jobs"])
        _check_number(len(items), services.settings, caller)
        webhook_url = received.form.texts.get("webhook_url") or None
        notice = await run_in_threadpool(with_webhook, services, caller, JobOptions(webhook_url=webhook_url))
        options = await run_in_threadpool(_all_options, items, received)  # of 500 jobs it can take a second
        _check_all_used(items, options, received)
        await received.fetch(services, caller.owner, _elsewhere(items, options))
        probed: _Probed = {}
        jobs = enumerate(zip(items, options, strict=True))
        intakes = [await _checked_item(services, received, number, *job, probed) for number, job in jobs]
        await run_in_threadpool(services.storage.check_space, sum(_wanted_bytes(intake) for intake in intakes))
        try:
            yield BatchIntake(batch_id, intakes, notice.webhook_url)
        finally:
            with anyio.CancelScope(shield=True):
                for intake in intakes:
                    await run_in_threadpool(intake.discard_unless_kept, services)


def save_batch(services: Services, batch: BatchIntake, caller: Caller, idempotency_key: str | None) -> Created:
    """Store the files and save the batch with its jobs; the reaper sends their messages within a second.

    With an idempotency key that was used before, return the batch of that earlier call.
    """
    idempotency = None
    if idempotency_key is not None:
        asked = [(intake.input, intake.options) for intake in batch.intakes]
        idempotency = (checked_key(idempotency_key), fingerprint("batch", asked, batch.webhook_url))
    for intake in batch.intakes:
        intake.files = {name: own_name(path, intake.job_id, name) for name, path in intake.files.items()}
        intake.store(services)
    jobs = [NewJob(intake.job_id, intake.input, intake.options) for intake in batch.intakes]
    try:
        created = services.batches.create(
            batch.batch_id, caller.owner, jobs, batch.webhook_url, idempotency, caller.max_active
        )
    except redis.RedisError:
        _keep(batch)  # unknown whether it was saved; the sweeper deletes files without a record
        raise
    if not created.replayed:
        _keep(batch)
    return created


def _keep(batch: BatchIntake) -> None:
    for intake in batch.intakes:
        intake.kept = True


def _items(text: str) -> list[BatchItem]:
    try:
        return _ITEMS.validate_json(text)
    except ValidationError as error:
        place, reason = first_fault(error, BatchItem)
        raise option_error(f"{place_text(('jobs', *place))}: {reason}.") from None


def _check_number(jobs: int, settings: Settings, caller: Caller) -> None:
    """Raise InputError for a batch that would be refused however long its sender waits."""
    most = min(caller.max_active or settings.max_active_per_key, settings.max_queued_jobs)
    if jobs > most:
        raise option_error(f"jobs: these are {jobs} jobs; at most {most} of yours may wait and run at a time.")


def _all_options(items: list[BatchItem], received: ReceivedForm) -> list[JobOptions]:
    return [_checked_options(number, item, received) for number, item in enumerate(items)]


def _checked_options(number: int, item: BatchItem, received: ReceivedForm) -> JobOptions:
    """Return the options of a job all of whose files are there or elsewhere; its error says which job it is."""
    with naming(f"jobs[{number}]"):
        options = _options(item)
    if bool(options.segments) == (item.audio is not None):
        reason = "with segments, each of them names its own voice" if options.segments else "this file is required"
        raise option_error(f"jobs[{number}].audio: {reason}.")
    with naming(f"jobs[{number}]"):
        for part, source in item.sources.items():
            check_is_there(part, source, received.form.files)
        check_voices(options, received.form.files, item.sources)
        return options


def _check_all_used(items: list[BatchItem], options: list[JobOptions], received: ReceivedForm) -> None:
    """Raise InputError(option_invalid) for a file of the form that no job names."""
    used = {source for item in items for source in item.sources.values()}
    used |= {dub.audio for chosen in options for dub in chosen.segments}
    for name in received.form.files:
        if name not in used:
            raise option_error(f"{quoted(name)}: no job of the batch names this file.")


def _elsewhere(items: list[BatchItem], options: list[JobOptions]) -> dict[str, str]:
    """Return what the jobs name that does not come with the form, by its place for errors."""
    found: dict[str, str] = {}
    for number, (item, chosen) in enumerate(zip(items, options, strict=True)):
        named = item.sources | voices_elsewhere(chosen.segments)
        found |= {f"jobs[{number}].{place}": name for place, name in named.items() if is_elsewhere(name)}
    return found


async def _checked_item(
    services: Services,
    received: ReceivedForm,
    number: int,
    item: BatchItem,
    options: JobOptions,
    probed: _Probed,
) -> Intake:
    """Return a job of a batch; its error says which one it is."""
    with naming(f"jobs[{number}]"):
        there = {**received.form.files, **received.fetched}
        files = {part: there[source] for part, source in item.sources.items()}
        files |= voice_paths(options.segments, received.form.files, received.fetched)
        options = options_to_keep(options)
        key = tuple(files.items()), tuple(voice_names(options.segments)), needs_film_sound(options)
        if key not in probed:
            probed[key] = await probe_files(services, files, options, received.form.sha256)
        check_options_fit(options, probed[key], services.settings.max_duration_s)
        return Intake(new_job_id(), files, probed[key], options)


def _options(item: BatchItem) -> JobOptions:
    if "webhook_url" in item.options:
        raise option_error("webhook_url: a batch has one, which is told when all its jobs have ended.")
    return checked_options(item.options)


def _wanted_bytes(intake: Intake) -> int:
    return output_bytes(intake.input, intake.options)
