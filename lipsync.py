"""The command line: the one module that may import every package. Imports are lazy, so that each command is quick."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.core.errors import LipSyncError

if TYPE_CHECKING:
    from app.client import Client
    from app.core.settings import Settings

EXIT_REFUSED = 2
_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Group(click.Group):
    """Turn every error of ours into one line and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LipSyncError as error:
            click.echo(f"error: {error.code}: {error.message}", err=True)
            sys.exit(EXIT_REFUSED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Lip-sync video to a voice: as a service, or as its client."""


def load_settings() -> Settings:
    """Read the settings; a wrong one ends the program with one line."""
    from pydantic import ValidationError

    from app.core.settings import PREFIX, Settings

    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "".join(str(part) for part in first["loc"]).upper()
        reason = f"{PREFIX}{name}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    click.echo(f"error: option_invalid: {reason}.", err=True)
    sys.exit(EXIT_REFUSED)


def _settings_with_redis() -> Settings:
    settings = load_settings()
    if settings.redis_url is None:
        click.echo("error: option_invalid: LIPSYNC_REDIS_URL is not set; `lipsync serve` brings its own.", err=True)
        sys.exit(EXIT_REFUSED)
    return settings


# ---- the service


@main.command()
def serve() -> None:
    """Run the whole service: API, workers and, where LIPSYNC_REDIS_URL is unset, a private Redis."""
    from app.core.embedded import serve as run
    from app.core.logs import set_up_logging

    set_up_logging()
    sys.exit(run(load_settings(), click.echo))


@main.command()
def api() -> None:
    """Run the HTTP API alone; needs LIPSYNC_REDIS_URL."""
    from app.core.logs import set_up_logging
    from app.main import run_api

    set_up_logging()
    run_api(_settings_with_redis())


@main.command()
def worker() -> None:
    """Run the workers alone; needs LIPSYNC_REDIS_URL and the data folder of the API."""
    from app.core.logs import set_up_logging
    from worker.main import run_worker

    set_up_logging()
    sys.exit(run_worker(_settings_with_redis()))


# ---- a client of a running service


def _service(command: _Command) -> _Command:
    """Add the options that say which service is meant."""
    key = click.option("--api-key", envvar="LIPSYNC_API_KEY", help="The service's API key.")
    url = click.option("--url", envvar="LIPSYNC_URL", default="http://127.0.0.1:8000", show_default=True)
    return url(key(command))


def job_options(command: _Command) -> _Command:
    """Add one command-line option for each option of a job; they arrive as text, None where not given."""
    from app.core.jobs import JobOptions

    for name, field in reversed(JobOptions.model_fields.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, help=field.description)(command)
    return command


def _client(url: str, api_key: str | None) -> Client:
    from app.client import Client

    return Client(url, api_key)


def show_progress(job: dict[str, Any]) -> None:
    """Write a job's state over the last one, on a terminal; one line a state elsewhere."""
    progress = job["progress"]
    text = f"{job['status']} {job['stage'] or ''} {progress['percent']:.0f}%"
    if job["queue_position"]:
        text = f"queued, number {job['queue_position']} in line"
    elif progress["eta_s"] is not None and job["status"] == "running":
        text += f", {progress['fps']:.1f} frames/s, {progress['eta_s']:.0f} s left"
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=job["status"] in ("succeeded", "failed", "canceled"), err=True)
    else:
        click.echo(text, err=True)


def _end_on_failure(job: dict[str, Any]) -> None:
    """Exit with the job's own error where it did not succeed."""
    if job["status"] == "failed":
        click.echo(f"error: {job['error']['code']}: {job['error']['message']}", err=True)
        sys.exit(EXIT_REFUSED)
    if job["status"] == "canceled":
        click.echo("error: canceled: The job was canceled.", err=True)
        sys.exit(EXIT_REFUSED)


@main.command()
@click.option("--video", required=True, type=click.Path(path_type=Path), help="A video or a still image.")
@click.option("--audio", required=True, type=click.Path(path_type=Path), help="The voice, or a video with sound.")
@click.option("--audio-mix", type=click.Path(path_type=Path), help="Heard in the output instead of the voice.")
@click.option("--idempotency-key", help="The same key and request give the same job.")
@click.option("--output", type=click.Path(path_type=Path), help="Wait for the result and write it here.")
@job_options
@_service
def submit(
    url: str, api_key: str | None, video: Path, audio: Path, audio_mix: Path | None, idempotency_key: str | None,
    output: Path | None, **options: str | None,
) -> None:
    """Send a job; print its id, or with --output wait for it and fetch the result."""
    with _client(url, api_key) as client:
        job = client.submit(video, audio, options, audio_mix=audio_mix, idempotency_key=idempotency_key)
        click.echo(job["id"])
        if output is not None:
            _end_on_failure(client.wait(job["id"], show_progress))
            client.download(job["id"], output)


@main.command()
@click.argument("job_id")
@_service
def status(url: str, api_key: str | None, job_id: str) -> None:
    """Print a job as JSON."""
    with _client(url, api_key) as client:
        click.echo(json.dumps(client.status(job_id), indent=2))


@main.command()
@click.argument("job_id")
@click.option("--timeout-s", type=float, help="Give up after this long.")
@_service
def wait(url: str, api_key: str | None, job_id: str, timeout_s: float | None) -> None:
    """Wait for a job to end; exit 0 only where it succeeded."""
    with _client(url, api_key) as client:
        try:
            job = client.wait(job_id, show_progress, timeout_s)
        except TimeoutError:
            click.echo("error: run_timeout: The job has not ended yet.", err=True)
            sys.exit(EXIT_REFUSED)
    _end_on_failure(job)


@main.command()
@click.argument("job_id")
@_service
def cancel(url: str, api_key: str | None, job_id: str) -> None:
    """Cancel a job; print its status."""
    with _client(url, api_key) as client:
        click.echo(client.cancel(job_id)["status"])


@main.command()
@click.argument("job_id")
@click.option("--output", required=True, type=click.Path(path_type=Path))
@_service
def download(url: str, api_key: str | None, job_id: str, output: Path) -> None:
    """Fetch a result."""
    with _client(url, api_key) as client:
        client.download(job_id, output)


if __name__ == "__main__":
    main()
