"""A form that was received: its files on this host, and those that it names by address or as a direct upload."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.core.checks import Check
from app.core.errors import ErrorCode, InputError, naming
from app.core.file_names import UPLOAD_START, is_upload
from app.core.outgoing.fetch import fetch
from app.core.outgoing.guarded_url import parse_url
from app.direct_upload import fetch_upload
from app.form_shapes import FormShape
from app.form_writer import Form
from app.listeners import until_client_leaves
from app.services import Services
from app.shutdown import stopping_error
from app.uploads import declared_bytes, receive_form

TIMEOUTS_OF_A_FORM: Final = 5  # all downloads of one form may take as long as so many that are stopped


@dataclass
class ReceivedForm:
    """Form whose files lie in a folder of this host, until the reception ends.

    fetched: paths of further files by address, or by `upload:ID`.
    """

    request: Request
    form: Form
    folder: Path
    fetched: dict[str, Path] = field(default_factory=dict)

    async def fetch(self, services: Services, owner: str, elsewhere: Mapping[str, str]) -> None:
        """Get the files that did not come with the form, one after the other, each once; they count as uploaded.

        elsewhere: addresses and `upload:ID`s, each with the place of the form that errors name.

        All downloads together have TIMEOUTS_OF_A_FORM times the time of one, the waits for a thread not counted. A
        download ends early when the client leaves or this process shuts down. Raises InputError(url_blocked,
        url_fetch_failed, option_invalid, input_too_large), CapacityError(storage_full, queue_full),
        StorageUnavailableError, ClientDisconnect, `redis.RedisError`.
        """
        for place, name in elsewhere.items():
            if not is_upload(name):
                with naming(place):
                    parse_url(name, services.url_client.policy)
        budget = TimeBudget(TIMEOUTS_OF_A_FORM * services.url_client.limits.total_s)
        for place, name in elsewhere.items():
            if name in self.fetched:
                continue
            with naming(place), until_client_leaves(self.request) as wait:
                check = partial(_check_wanted, services, wait)
                download = partial(self._download, services, name, budget, check)
                copy = partial(self._copy, services, owner, name, check)
                self.fetched[name] = await services.downloads.run(owner, copy if is_upload(name) else download)

    def _download(self, services: Services, url: str, budget: TimeBudget, check: Check) -> Path:
        path, left = self._next_path(), self._left_bytes(services)
        budget.spend(partial(fetch, services.url_client, url, path, max_bytes=left, check=check))
        return path

    def _copy(self, services: Services, owner: str, upload: str, check: Check) -> Path:
        folder, left = self._next_path(), self._left_bytes(services)
        folder.mkdir()
        return fetch_upload(services, owner, upload.removeprefix(UPLOAD_START), folder, left, check)

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
