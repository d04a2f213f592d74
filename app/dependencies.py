"""Dependencies of the routes, as annotated types: the signature of a route lists all that it uses.

All are coroutines. FastAPI calls a plain function in a thread, which costs more than a whole poll needs. A poll has one
dependency that does everything, because FastAPI takes some 20 microseconds to find each.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from fastapi import Depends, Path, Request
from starlette.concurrency import run_in_threadpool

from app.caller import Caller, find_caller, may_call
from app.core.access.api_key import Scope
from app.core.errors import ErrorCode, RequestError
from app.core.jobs import Job
from app.core.records.reading import JobReader, PlacedJob
from app.core.records.records import Records
from app.core.settings import Settings
from app.core.storage.port import Storage, is_id
from app.listeners import Listeners, MayListen
from app.services import Services
from app.shutdown import stopping_error


def services_of(request: Request) -> Services:
    """Return the services of the application that answers a call."""
    return cast(Services, request.app.state.services)


async def _services(request: Request) -> Services:
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]


async def _settings(services: ServicesDep) -> Settings:
    return services.settings


async def _records(services: ServicesDep) -> Records:
    return services.records


async def _storage(services: ServicesDep) -> Storage:
    return services.storage


async def _listeners(services: ServicesDep) -> Listeners:
    return services.listeners


async def _accepting(services: ServicesDep) -> None:
    """Refuse new work if this process is shutting down."""
    if services.shutdown.has_begun:
        raise stopping_error()


async def _caller(request: Request) -> Caller:
    keys = services_of(request).keys
    return Caller() if keys is None else await run_in_threadpool(find_caller, keys, request.headers)


CallerDep = Annotated[Caller, Depends(_caller)]


def may_listen(request: Request) -> MayListen:
    """Return the question whether the caller is still let in, for calls that last."""
    keys = services_of(request).keys

    async def ask() -> bool:
        return keys is None or await run_in_threadpool(may_call, keys, request.headers)

    return ask


def needs(scope: Scope) -> Any:
    """Return the dependency of a route whose caller needs a permission."""

    async def check(caller: CallerDep) -> None:
        caller.check_may(scope)

    return Depends(check)


SettingsDep = Annotated[Settings, Depends(_settings)]
RecordsDep = Annotated[Records, Depends(_records)]
StorageDep = Annotated[Storage, Depends(_storage)]
ListenersDep = Annotated[Listeners, Depends(_listeners)]
ACCEPTING: Final = Depends(_accepting)
MAY_SUBMIT: Final = needs(Scope.SUBMIT)
MAY_READ: Final = needs(Scope.READ)
MAY_ADMINISTER: Final = needs(Scope.ADMIN)


async def read_job(reader: JobReader, job_id: str, caller: Caller | None = None) -> PlacedJob:
    """Return the job; raises RequestError(not_found) if there is none or if it belongs to somebody else.

    Without `caller`, a job of any owner is returned.
    """
    placed = await reader.get(job_id) if is_id(job_id) else None
    if placed is None or (caller is not None and not caller.owns(placed.job.owner)):
        raise RequestError(ErrorCode.NOT_FOUND, "There is no such job.")
    return placed


JobId = Annotated[str, Path(description="Id of the job.", max_length=200)]


async def _polled_job(request: Request, job_id: JobId) -> PlacedJob:
    """Return the job of a caller who may read it."""
    caller = await _caller(request)
    caller.check_may(Scope.READ)
    return await read_job(services_of(request).reader, job_id, caller)


async def _own_job(services: ServicesDep, caller: CallerDep, job_id: JobId) -> Job:
    return (await read_job(services.reader, job_id, caller)).job


PolledJobDep = Annotated[PlacedJob, Depends(_polled_job)]
OwnJobDep = Annotated[Job, Depends(_own_job)]
