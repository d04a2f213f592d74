"""Commands that run the service or a part of it, or examine the machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from app.core.errors import ErrorCode, InputError
from lipsync.commands.errors import EXIT_REFUSED
from lipsync.commands.options import load_settings

if TYPE_CHECKING:
    from app.core.settings import Settings


def _settings_with_redis() -> Settings:
    """Read the settings; raises InputError if no Redis is set."""
    settings = load_settings()
    if settings.redis_url is None:
        raise InputError(ErrorCode.OPTION_INVALID, "LIPSYNC_REDIS_URL is not set; `lipsync serve` brings its own.")
    return settings


@click.command()
def serve() -> None:
    """Run the whole service: API, workers and, if LIPSYNC_REDIS_URL is unset, a private Redis."""
    from app.core.logs import set_up_logging
    from lipsync.supervisor import serve as run

    set_up_logging()
    sys.exit(run(load_settings(), click.echo))


@click.command()
def api() -> None:
    """Run the HTTP API alone; needs LIPSYNC_REDIS_URL."""
    from app.core.logs import set_up_logging
    from app.main import run_api

    set_up_logging()
    run_api(_settings_with_redis())


@click.command()
def worker() -> None:
    """Run the workers alone; needs LIPSYNC_REDIS_URL and the storage of the API."""
    from app.core.logs import set_up_logging
    from worker.main import run_worker

    set_up_logging()
    sys.exit(run_worker(_settings_with_redis()))


@click.command()
def doctor() -> None:
    """List what this machine has for lip-sync and what is wrong; exit 2 if something is wrong."""
    from worker.doctor import examine

    findings = examine(load_settings())
    for finding in findings:
        click.echo(f"{'ok   ' if finding.good else 'WRONG'} {finding.name:<12} {finding.text}")
    if not all(finding.good for finding in findings):
        sys.exit(EXIT_REFUSED)
