"""Commands of a client: they send requests to a running service."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from app.core.errors import ErrorCode, ServiceError
from lipsync.commands.errors import CommandError, hint_for, job_error
from lipsync.commands.options import (
    FILE,
    FILE_TO_WRITE,
    FiniteRange,
    check_has_voice,
    job_options,
    log_line,
    read_segments,
)

if TYPE_CHECKING:
    from app.client import Client

NO_SERVICE: Final = "Start a service with `lipsync serve`, or name one with --url or LIPSYNC_URL."
_TERMINAL: Final = ("succeeded", "failed", "canceled")


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that name the service; the command gets an open client of that service as `client`."""

    @click.option(
        "--url",
        envvar="LIPSYNC_URL",
        default="http://127.0.0.1:8000",
        show_default=True,
        show_envvar=True,
        help="Address of the service.",
    )
    @click.option("--api-key", envvar="LIPSYNC_API_KEY", show_envvar=True, help="API key for the service.")
    @functools.wraps(command)
    def run(url: str, api_key: str | None, **values: object) -> None:
        import httpx

        from app.client import Client

        try:
            with Client(url, api_key) as client:
                command(client=client, **values)
        except ServiceError as error:
            cause = error.__context__
            if not isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout)):
                raise
            if cause.request.url.netloc != httpx.URL(url).netloc:  # the service answers, and its bucket does not
                raise
            raise CommandError(error.code, error.message, NO_SERVICE) from error

    return run


class ProgressLine:
    """Line on standard error with the state of a job.

    A terminal shows one line that is rewritten. A file gets a new line for each stage and each tenth of the work.
    """

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()

    def __call__(self, job: dict[str, Any]) -> None:
        """Show one state."""
        progress, status = job["progress"], job["status"]
        text = " ".join(filter(None, [status, job["stage"]]))
        if job["queue_position"]:
            text = f"queued, number {job['queue_position']} in line"
        elif status == "running" and progress["frames_total"]:
            text += f" {progress['percent']:.0f}%"
            if progress["eta_s"] is not None:
                text += f", {progress['fps']:.1f} frames/s, {progress['eta_s']:.0f} s left"
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{text}", nl=status in _TERMINAL, err=True)
            return
        step = (status, job["stage"], job["queue_position"], progress["percent"] // 10)
        if step != self._last:
            self._last = step
            log_line(text)


def _check_succeeded(job: dict[str, Any]) -> None:
    """Raise CommandError with the error of a job that failed or was canceled."""
    if job["status"] == "failed":
        raise job_error(job["error"])
    if job["status"] == "canceled":
        raise CommandError(ErrorCode.CANCELED, "The job was canceled.", hint_for(ErrorCode.CANCELED, None))


@click.command()
@click.option("--video", required=True, type=FILE, help="A video or a still image.")
@click.option("--audio", type=FILE, help="The voice, or a video with sound; needed without --segments.")
@click.option("--audio-mix", type=FILE, help="Sound of the output instead of the voice.")
@click.option("--idempotency-key", help="The same key and request give the same job.")
@click.option("--via-storage", is_flag=True, help="Send the files straight to the service's bucket.")
@click.option("--output", type=FILE_TO_WRITE, help="Wait for the result and write it here.")
@job_options()
@with_client
def submit(
    client: Client,
    video: Path,
    audio: Path | None,
    audio_mix: Path | None,
    idempotency_key: str | None,
    via_storage: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Send a job; print its id, or with --output wait for the job and fetch the result."""
    from app.core.output_path import ending_on_signals, replaceable_path

    segments: Path | None = options.pop("segments")
    check_has_voice(audio, segments)
    options["segments"], voices = read_segments(segments)
    if output is not None:  # before any work
        given = (video, audio, audio_mix, segments, *voices.values())
        replaceable_path(output, [path for path in given if path is not None])
    job = client.submit(
        video,
        audio,
        options,
        audio_mix=audio_mix,
        voices=voices,
        idempotency_key=idempotency_key,
        via_storage=via_storage,
    )
    click.echo(job["id"])
    if output is not None:
        _check_succeeded(client.wait(job["id"], ProgressLine()))
        with ending_on_signals():
            client.download(job["id"], output)


@click.command()
@click.argument("job_id")
@with_client
def status(client: Client, job_id: str) -> None:
    """Print a job as JSON."""
    click.echo(json.dumps(client.status(job_id), indent=2))


@click.command()
@click.argument("job_id")
@click.option("--timeout-s", type=FiniteRange(0), help="Give up after this long.")
@with_client
def wait(client: Client, job_id: str, timeout_s: float | None) -> None:
    """Wait for a job to end; exit 0 only if it succeeded."""
    try:
        job = client.wait(job_id, ProgressLine(), timeout_s)
    except TimeoutError as error:
        raise CommandError(ErrorCode.RUN_TIMEOUT, "The job has not ended yet.") from error
    _check_succeeded(job)


@click.command()
@click.argument("job_id")
@with_client
def cancel(client: Client, job_id: str) -> None:
    """Cancel a job; print its status."""
    click.echo(client.cancel(job_id)["status"])


@click.command()
@click.argument("job_id")
@with_client
def retry(client: Client, job_id: str) -> None:
    """Try a failed or canceled job again; print its status."""
    click.echo(client.retry(job_id)["status"])


@click.command()
@click.argument("job_id")
@click.option("--output", required=True, type=FILE_TO_WRITE)
@with_client
def download(client: Client, job_id: str, output: Path) -> None:
    """Fetch a result."""
    from app.core.output_path import ending_on_signals

    with ending_on_signals():
        client.download(job_id, output)
