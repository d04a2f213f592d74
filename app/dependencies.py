"""Dependencies of the routes, as annotated types: the signature of a route lists all that it uses."""

from __future__ import annotations

from typing import Annotated, Final, cast

from fastapi import Depends, Path, Request

from app.core.errors import ErrorCode, RequestError
from app.core.jobs import Job
from app.core.records.records import Records
from app.core.settings import Settings
from app.core.storage.port import Storage, is_id
from app.listeners import Listeners
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


def _owner() -> str:
    return ""  # LIPSYNC_AUTH=off: all callers count as the same one


SettingsDep = Annotated[Settings, Depends(_settings)]
RecordsDep = Annotated[Records, Depends(_records)]
StorageDep = Annotated[Storage, Depends(_storage)]
ListenersDep = Annotated[Listeners, Depends(_listeners)]
ACCEPTING: Final = Depends(_accepting)
OwnerDep = Annotated[str, Depends(_owner)]


def find_job(records: Records, job_id: str, owner: str | None = None) -> Job:
    """Return the job; raises RequestError(not_found) if there is none or if it belongs to another owner.

    Without `owner`, a job of any owner is returned.
    """
    job = records.get(job_id) if is_id(job_id) else None
    if job is None or owner not in (None, job.owner):
        raise RequestError(ErrorCode.NOT_FOUND, "There is no such job.")
    return job


def _own_job(
    records: RecordsDep, owner: OwnerDep, job_id: Annotated[str, Path(description="Id of the job.", max_length=200)]
) -> Job:
    return find_job(records, job_id, owner)


OwnJobDep = Annotated[Job, Depends(_own_job)]
