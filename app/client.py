"""Client of a running service, for the command line and for other programs.

Jobs are the JSON objects of the API; every failure is a LipSyncError with the code that the service sent.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import httpx

from app.core.errors import ErrorCode, InputError, LipSyncError, RequestError, ServiceError
from app.core.files import replacing
from app.core.options import quoted
from app.core.output_path import replaceable_path
from app.core.storage.port import is_id

TERMINAL: Final = frozenset({"succeeded", "failed", "canceled"})
PAUSE_S: Final = 0.5  # shortest time between two calls of `wait`
OUTAGE_S: Final = 60.0  # `wait` bears a service that does not answer for so long
HOLD_S: Final = 20.0  # time for which the service may hold one answer back
CHUNK_BYTES: Final = 1024**2
_TIMEOUT: Final = httpx.Timeout(30.0, write=120.0, read=120.0)


class Client:
    """Client of the service at `url`; `transport` replaces the network in tests.

    Raises InputError for an address or a key that no request can carry.
    """

    def __init__(self, url: str, api_key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {_header('api_key', api_key)}"} if api_key else {}
        try:
            address = httpx.URL(url.rstrip("/"))
            if address.scheme not in ("http", "https") or not address.host:
                raise ValueError("it must begin with http:// or https://, and name a host")
            self._http = httpx.Client(base_url=address, headers=headers, timeout=_TIMEOUT, transport=transport)
        except (httpx.InvalidURL, ValueError, ImportError) as error:  # the last for a proxy that needs a package
            raise InputError(ErrorCode.OPTION_INVALID, f"url: cannot be used ({error}).") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        video: Path,
        audio: Path | None,
        options: Mapping[str, Any] | None = None,
        *,
        audio_mix: Path | None = None,
        voices: Mapping[str, Path] | None = None,
        idempotency_key: str | None = None,
        via_storage: bool = False,
    ) -> dict[str, Any]:
        """Create a job and return it; raises LipSyncError with the service's code.

        voices: files that the option `segments` names, by name; they are always sent with the form. via_storage: the
        other files go straight to the service's bucket, and the job names them.
        """
        given = {"video": video, "audio": audio, "audio_mix": audio_mix}
        paths = {name: path for name, path in given.items() if path is not None}
        fields = {name: _text(value) for name, value in (options or {}).items() if value is not None}
        headers = {}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = _header("idempotency_key", idempotency_key)
        with ExitStack() as stack:
            files: dict[str, tuple[str | None, BinaryIO | str]] = {}
            for name, path in paths.items():
                if via_storage:
                    files[f"{name}_upload"] = (None, self.upload(path, name))
                else:
                    files[name] = (name, stack.enter_context(_open(path, name)))
            for name, path in (voices or {}).items():
                files[name] = (name, stack.enter_context(_open(path, name)))
            return self._job("POST", "/jobs", files=files, data=fields, headers=headers)

    def upload(self, path: Path, name: str) -> str:
        """Send a file straight to the service's bucket and return the id of the upload.

        name: of the part, for errors. Raises LipSyncError; its code is `upload_unavailable` without a bucket.
        """
        with _open(path, name) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            upload = self._call("POST", "/uploads", json={"bytes": size_bytes})
            try:
                # Not with this client: the address is the bucket's, which must not see the API key.
                answer = httpx.request(
                    upload["method"], upload["url"], headers=upload["headers"], content=file, timeout=_TIMEOUT
                )
            except (httpx.HTTPError, httpx.InvalidURL, KeyError):
                raise ServiceError(ErrorCode.INTERNAL, f"{name}: the storage of the service does not answer.") from None
        if answer.is_error:
            raise ServiceError(ErrorCode.INTERNAL, f"{name}: the storage answered with status {answer.status_code}.")
        return str(upload["id"])

    def status(self, job_id: str) -> dict[str, Any]:
        """Return the job."""
        return self._job("GET", _path(job_id))

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel the job and return it."""
        return self._job("POST", _path(job_id) + "/cancel")

    def retry(self, job_id: str) -> dict[str, Any]:
        """Retry a failed or canceled job and return it."""
        return self._job("POST", _path(job_id) + "/retry")

    def delete(self, job_id: str) -> None:
        """Delete the job and its files."""
        self._send(self._http.build_request("DELETE", _path(job_id))).close()

    def info(self) -> dict[str, Any]:
        """Return the versions, limits and workers of the service."""
        return self._call("GET", "/info")

    def wait(
        self,
        job_id: str,
        on_change: Callable[[dict[str, Any]], None] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Wait until the job has ended and return it, whatever its status; pass each answer to `on_change`.

        The service holds each answer back until the job changes. A service that does not answer is called again for
        OUTAGE_S seconds. Raises TimeoutError after `timeout_s` seconds, and LipSyncError.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        answered_at, hold_s = time.monotonic(), 0.0
        while True:
            asked_at = time.monotonic()
            try:
                job = self._job("GET", _path(job_id), params={"wait": round(hold_s, 2)})
                answered_at = time.monotonic()
            except ServiceError:
                if time.monotonic() > min(answered_at + OUTAGE_S, deadline):
                    raise
            else:
                if on_change is not None:
                    on_change(job)
                if job["status"] in TERMINAL:
                    return job
            left_s = deadline - time.monotonic()
            if left_s < 0:
                raise TimeoutError(f"job {job_id} has not ended")
            time.sleep(min(left_s, max(0.0, asked_at + PAUSE_S - time.monotonic())))
            hold_s = max(0.0, min(HOLD_S, deadline - time.monotonic()))

    def download(self, job_id: str, output: Path) -> None:
        """Write the result to the file `output`, which appears only when it is complete.

        Raises InputError if that would replace anything but a regular file, before the service is asked.
        """
        output = replaceable_path(output, ())
        response = self._send(self._http.build_request("GET", _path(job_id) + "/result"), stream=True)
        try:
            if response.headers.get("content-type") != "video/mp4":
                raise self._no_service()
            with replacing(output) as partial, partial.open("wb") as file:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)
        except httpx.RequestError:
            raise ServiceError(ErrorCode.INTERNAL, "The service interrupted the download.") from None
        finally:
            response.close()

    def _job(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        job = self._call(method, path, **parts)
        if not isinstance(job.get("status"), str):
            raise self._no_service()
        return job

    def _call(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        response = self._send(self._http.build_request(method, path, **parts))
        try:
            answer = response.json()
        except ValueError:  # a page, for example
            answer = None
        if not isinstance(answer, dict):
            raise self._no_service()
        return answer

    def _send(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        try:
            response = self._http.send(request, stream=stream)
            if response.is_error:
                response.read()
                raise problem_error(response)
        except httpx.LocalProtocolError as error:  # a file that changed while it was sent, for example
            raise InputError(ErrorCode.OPTION_INVALID, f"The request cannot be sent: {error}.") from None
        except httpx.RequestError:
            raise ServiceError(ErrorCode.INTERNAL, f"No answer from {self._http.base_url}.") from None
        return response

    def _no_service(self) -> LipSyncError:
        """Return the error for an answer that no lip-sync service gives; another try would not help."""
        return RequestError(ErrorCode.NOT_FOUND, f"What answers at {self._http.base_url} is no lipsync service.")


def problem_error(response: httpx.Response) -> LipSyncError:
    """Return the error that a problem answer describes; any other answer becomes `internal` with its status."""
    try:
        problem = response.json()
        code = ErrorCode(problem["code"])
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return ServiceError(ErrorCode.INTERNAL, f"The service answered with status {response.status_code}.")
    family = ServiceError if response.status_code >= 500 else LipSyncError
    return family(code, detail)


def _path(job_id: str) -> str:
    """Return the path of a job; raises RequestError for a text that is no id, which must not enter an address."""
    if not is_id(job_id):
        raise RequestError(ErrorCode.NOT_FOUND, f"There is no job {quoted(job_id)}: an id has 32 hexadecimal digits.")
    return f"/jobs/{job_id}"


def _header(name: str, value: str) -> str:
    """Return a value for a header; raises InputError if no header can carry it."""
    if not value.isascii() or not value.isprintable():
        raise InputError(ErrorCode.OPTION_INVALID, f"{name}: must have printable ASCII characters only.")
    return value


def _open(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(ErrorCode.OPTION_INVALID, f"{name}: cannot be read ({error.strerror}).") from None


def _text(value: object) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
