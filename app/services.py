"""The services that the routes use, built once from the settings.

Only this module decides which implementation stands behind an interface.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import redis
from celery import Celery

from app.core.access.key_store import KeyStore
from app.core.housekeeping.reaper import Reaper
from app.core.housekeeping.sweeper import Sweeper
from app.core.jobs import AudioFacts, VideoFacts
from app.core.outgoing.client import OutgoingClient
from app.core.probing import probe as media
from app.core.queue import CeleryOutbox, make_celery
from app.core.records.batches import Batches
from app.core.records.connection import connect, connect_reader
from app.core.records.direct_uploads import DirectUploads
from app.core.records.reading import JobReader
from app.core.records.records import RecordLimits, Records
from app.core.records.speeds import Speeds
from app.core.records.upkeep import Upkeep
from app.core.records.webhooks import Webhooks
from app.core.settings import Settings
from app.core.storage.cache import Cache
from app.core.storage.open import open_cache, open_storage
from app.core.storage.port import Storage
from app.core.storage.workspace import Workspace
from app.fair_threads import FairThreads
from app.link_signer import LinkSigner
from app.listeners import QUIET_S, RECHECK_S, Listeners
from app.outgoing_clients import url_client, webhook_client
from app.shutdown import Shutdown
from app.uploads import UploadLimits, UploadPace
from app.webhook_content import EndedSubjects
from app.webhook_sender import SecretSource, WebhookSender

DOWNLOADS_AT_ONCE: Final = 16

FACE_WAITS: Final = 10


@dataclass(frozen=True)
class Prober:
    """Two functions that return the facts of an untrusted file, or raise InputError with the reason of the refusal.

    They get the path of the file, and its SHA-256 if it is known.
    """

    video: Callable[[Path, str | None], VideoFacts]
    audio: Callable[[Path, str | None], AudioFacts]

    @classmethod
    def of(cls, settings: Settings) -> Prober:
        """Return a prober that works in child processes, under the limits of the settings."""
        limits = media.Limits.of(settings)
        return cls(
            lambda path, sha256: media.probe_video(path, limits, sha256),
            lambda path, sha256: media.probe_audio(path, limits, sha256),
        )


@dataclass(frozen=True)
class Outside:
    """What the application meets outside: files of strangers, their pace of sending, and hosts that they name."""

    prober: Prober
    pace: UploadPace
    url_client: OutgoingClient

    @classmethod
    def of(cls, settings: Settings) -> Outside:
        """Return what the settings name."""
        return cls(Prober.of(settings), UploadPace(), url_client(settings))


@dataclass(frozen=True)
class Services:
    """Objects that live as long as the application."""

    settings: Settings
    redis: redis.Redis
    records: Records
    reader: JobReader
    upkeep: Upkeep
    storage: Storage
    workspace: Workspace
    cache: Cache
    upload_limits: UploadLimits
    links: LinkSigner
    keys: KeyStore | None  # None: no call needs a key
    celery: Celery
    prober: Prober
    reaper: Reaper
    sweeper: Sweeper
    batches: Batches
    speeds: Speeds
    direct_uploads: DirectUploads
    webhooks: Webhooks
    webhook_sender: WebhookSender
    webhook_secrets: SecretSource
    listeners: Listeners
    shutdown: Shutdown
    url_client: OutgoingClient
    downloads: FairThreads  # each holds a thread for as long as it takes
    probes: anyio.CapacityLimiter  # each probe is a process: about as many at once as there are cores
    face_waits: anyio.CapacityLimiter  # each holds a thread for seconds: most threads must stay free for other calls


def build_services(settings: Settings, outside: Outside) -> Services:
    """Return the services, without connecting to Redis or the storage; the settings need `redis_url`."""
    if settings.redis_url is None:
        raise ValueError("LIPSYNC_REDIS_URL is not set")
    client = connect(settings.redis_url)
    limits = RecordLimits.of(settings)
    records, upkeep = Records(client, limits), Upkeep(client, limits)
    batches = Batches(client, limits)
    storage, workspace, cache = open_storage(settings), Workspace(settings.data_dir), open_cache(settings)
    celery = make_celery(settings)
    shutdown = Shutdown()
    keys = KeyStore(client) if settings.auth == "keys" else None
    pause_s = QUIET_S if keys is None else RECHECK_S
    webhooks, secrets = Webhooks(client, settings.retention_s), SecretSource(keys, settings.webhook_secret)
    return Services(
        settings=settings,
        redis=client,
        records=records,
        reader=JobReader(connect_reader(settings.redis_url)),
        upkeep=upkeep,
        storage=storage,
        workspace=workspace,
        cache=cache,
        upload_limits=UploadLimits(settings.max_upload_bytes, workspace.check_space, outside.pace),
        links=LinkSigner(client),
        keys=keys,
        celery=celery,
        prober=outside.prober,
        reaper=Reaper(upkeep, CeleryOutbox(celery), settings.run_timeout_s),
        sweeper=Sweeper(upkeep, storage, workspace, cache, settings.retention_s),
        batches=batches,
        speeds=Speeds(client),
        direct_uploads=DirectUploads(client, settings.max_upload_bytes),
        webhooks=webhooks,
        webhook_sender=WebhookSender(webhooks, EndedSubjects(records, batches), secrets, webhook_client(settings)),
        webhook_secrets=secrets,
        listeners=Listeners(settings.redis_url, shutdown, settings.max_listeners, pause_s),
        shutdown=shutdown,
        url_client=outside.url_client,
        downloads=FairThreads(DOWNLOADS_AT_ONCE),
        probes=anyio.CapacityLimiter(max(2, -(-(os.cpu_count() or 2) // settings.api_processes))),
        face_waits=anyio.CapacityLimiter(FACE_WAITS),
    )
