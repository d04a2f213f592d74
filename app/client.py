"""Client of a running service, for the command line and for other programs.

Jobs are the JSON objects of the API; every failure is a LipSyncError with the code that the service sent.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import httpx

from app.core.errors import ErrorCode, InputError, LipSyncError, ServiceError
from app.core.files import replacing
from app.core.output_path import replaceable_path

TERMINAL: Final = frozenset({"succeeded", "failed", "canceled"})
PAUSE_S: Final = 0.5  # shortest time between two calls of `wait`
OUTAGE_S: Final = 60.0  # `wait` bears a service that does not answer for so long
HOLD_S: Final = 20.0  # time for which the service may hold one answer back
CHUNK_BYTES: Final = 1024**2


class Client:
    """Client of the service at `url`; `transport` replaces the network in tests."""

    def __init__(self, url: str, api_key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx.Timeout(30.0, write=120.0, read=120.0)
        self._http = httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout, transport=transport)

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
        audio: Path,
        options: Mapping[str, Any] | None = None,
        *,
        audio_mix: Path | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Create a job and return it; raises LipSyncError with the service's code."""
        paths = {"video": video, "audio": audio} | ({"audio_mix": audio_mix} if audio_mix else {})
        fields = {name: _text(value) for name, value in (options or {}).items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        with ExitStack() as stack:
            files = {name: (name, stack.enter_context(_open(path, name))) for name, path in paths.items()}
            return self._call("POST", "/jobs", files=files, data=fields, headers=headers)

    def status(self, job_id: str) -> dict[str, Any]:
        """Return the job."""
        return self._call("GET", f"/jobs/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel the job and return it."""
        return self._call("POST", f"/jobs/{job_id}/cancel")

    def retry(self, job_id: str) -> dict[str, Any]:
        """Retry a failed or canceled job and return it."""
        return self._call("POST", f"/jobs/{job_id}/retry")

    def delete(self, job_id: str) -> None:
        """Delete the job and its files."""
        self._send(self._http.build_request("DELETE", f"/jobs/{job_id}")).close()

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
                job = self._call("GET", f"/jobs/{job_id}", params={"wait": round(hold_s, 2)})
                answered_at = time.monotonic()
            except ServiceError:
                if time.monotonic() - answered_at > OUTAGE_S:
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
        response = self._send(self._http.build_request("GET", f"/jobs/{job_id}/result"), stream=True)
        try:
            with replacing(output) as partial, partial.open("wb") as file:
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    file.write(chunk)
        except httpx.TransportError:
            raise ServiceError(ErrorCode.INTERNAL, "The service interrupted the download.") from None
        finally:
            response.close()

    def _call(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._send(self._http.build_request(method, path, **parts)).json()
        return answer

    def _send(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        try:
            response = self._http.send(request, stream=stream)
            if response.is_error:
                response.read()
                raise problem_error(response)
        except httpx.TransportError:
            raise ServiceError(ErrorCode.INTERNAL, f"No answer from {self._http.base_url}.") from None
        return response


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


def _open(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(ErrorCode.OPTION_INVALID, f"{name}: cannot be read ({error.strerror}).") from None


def _text(value: object) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
