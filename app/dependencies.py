"""Dependencies of the routes, as annotated types: the signature of a route lists all that it uses."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from fastapi import Depends, Path, Request
from starlette.concurrency import run_in_threadpool

from app.caller import Caller, find_caller, may_call
from app.core.access.api_key import Scope
from app.core.errors import ErrorCode, RequestError
from app.core.jobs import Job
from app.core.records.records import Records
from app.core.settings import Settings
from app.core.storage.port import Storage, is_id
from app.listeners import Listeners, MayListen
from app.services import Services
from app.shutdown import stopping_error


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(_services)]


def _settings(services: ServicesDep) -> Settings:
    return services.settings


def _records(services: ServicesDep) -> Records:
    return services.records


def _storage(services: ServicesDep) -> Storage:
    return services.storage


def _listeners(services: ServicesDep) -> Listeners:
    return services.listeners


def _accepting(services: ServicesDep) -> None:
    """Refuse new work if this process is shutting down."""
    if services.shutdown.has_begun:
        raise stopping_error()


def _caller(services: ServicesDep, request: Request) -> Caller:
    return find_caller(services.keys, request.headers)


CallerDep = Annotated[Caller, Depends(_caller)]


def _may_listen(services: ServicesDep, request: Request) -> MayListen:
    """Return the question whether the caller is still let in, for calls that last."""

    async def ask() -> bool:
        return services.keys is None or await run_in_threadpool(may_call, services.keys, request.headers)

    return ask


MayListenDep = Annotated[MayListen, Depends(_may_listen)]


def needs(scope: Scope) -> Any:
    """Return the dependency of a route whose caller needs a permission."""

    async def check(caller: CallerDep) -> None:  # async: it waits for nothing, so it needs no thread
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


def find_job(records: Records, job_id: str, caller: Caller | None = None) -> Job:
    """Return the job; raises RequestError(not_found) if there is none or if it belongs to somebody else.

    Without `caller`, a job of any owner is returned.
    """
    job = records.get(job_id) if is_id(job_id) else None
    if job is None or (caller is not None and not caller.owns(job.owner)):
        raise RequestError(ErrorCode.NOT_FOUND, "There is no such job.")
    return job


def _own_job(
    records: RecordsDep, caller: CallerDep, job_id: Annotated[str, Path(description="Id of the job.", max_length=200)]
) -> Job:
    return find_job(records, job_id, caller)


OwnJobDep = Annotated[Job, Depends(_own_job)]
