"""Commands that run the service or a part of it, or examine the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from app.core.errors import ErrorCode, InputError
from lipsync.commands.errors import EXIT_REFUSED
from lipsync.commands.options import FILE, check_can_be_folder, load_settings, log_line

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

    settings = load_settings()
    set_up_logging()
    if settings.redis_url is None and "LIPSYNC_REDIS_URL" in os.environ:  # perhaps a secret that did not arrive
        log_line("warning: LIPSYNC_REDIS_URL is empty, so the service uses a private Redis of its data folder.")
    sys.exit(run(settings, click.echo))


@click.command()
def api() -> None:
    """Run the HTTP API alone; needs LIPSYNC_REDIS_URL."""
    from app.core.listening import listening_sockets
    from app.core.logs import set_up_logging
    from app.core.start_checks import check_data_dir, check_ffmpeg, check_redis_login, check_storage

    settings = _settings_with_redis()
    check_data_dir(settings)
    check_storage(settings)
    if settings.ffmpeg is not None:  # the API uses none, but its workers often have the same settings
        check_ffmpeg(settings)
    check_redis_login(settings)
    set_up_logging()
    sockets = listening_sockets(settings.host, settings.port)

    def serve() -> None:
        from app.main import run_api  # late, see app.processes

        run_api(settings, sockets)

    if settings.api_processes == 1:
        serve()
    else:
        from app.processes import run_processes

        sys.exit(run_processes(settings.api_processes, serve))


@click.command()
@click.option("--check", "check_only", is_flag=True, help="Only check that a worker can start here, then end.")
def worker(check_only: bool) -> None:
    """Run the workers alone; needs LIPSYNC_REDIS_URL and the storage of the API."""
    from app.core.logs import set_up_logging
    from worker.main import run_worker
    from worker.start_checks import check_worker

    settings = _settings_with_redis()
    check_worker(settings)
    if check_only:
        from worker.loaded_network import settle_network
        from worker.media.codec_choice import settle_codecs

        settle_network(settings)
        settle_codecs(settings)
        return
    set_up_logging()
    sys.exit(run_worker(settings))


@click.command()
def doctor() -> None:
    """List what this machine has for lip-sync and what is wrong; exit 2 if something is wrong."""
    from worker.doctor import examine

    findings = examine(load_settings())
    for finding in findings:
        click.echo(f"{'ok   ' if finding.good else 'WRONG'} {finding.name:<14} {finding.text}")
    if not all(finding.good for finding in findings):
        sys.exit(EXIT_REFUSED)


@click.command()
@click.option("--out", "out_dir", required=True, type=FILE, help="Folder of the encoder; see LIPSYNC_SPEECH_ENCODER.")
@click.option("--from", "address", default=None, help="Another address than that of the Hugging Face hub.")
def fetch_encoder(out_dir: Path, address: str | None) -> None:
    """Download the speech encoder, for an installation without the package that carries it."""
    from model.speech_encoder.sources import HUB
    from model.speech_encoder.sources import fetch_encoder as fetch

    check_can_be_folder(out_dir)
    with tqdm(unit="B", unit_scale=True, desc="speech encoder") as bar:
        fetch(out_dir, address or HUB, bar.update)
    click.echo(f"{out_dir}: set LIPSYNC_SPEECH_ENCODER to this folder")
