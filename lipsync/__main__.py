"""The command line. It is the one package that may import all others.

Each command imports what it needs inside its function, so that a quick command does not load torch.
"""

from __future__ import annotations

import os

import click

from app.core.version import service_version
from lipsync.commands import benchmark, client, clip, evaluation, keys, service, training
from lipsync.commands.errors import CommandGroup


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(service_version(), prog_name="lipsync")
def main() -> None:
    """Lip-sync video to a voice: as a service, or as its client."""
    # torch reads this when it is loaded. Its idle threads must sleep: idle threads that spin take the cores from ffmpeg
    # and from other programs. On two busy cores that made synthesis ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


for command in (
    *(service.serve, service.api, service.worker, service.doctor, service.fetch_encoder),
    *(client.submit, client.status, client.wait, client.cancel, client.retry, client.download),
    keys.keys,
    clip.sync,
    benchmark.bench,
    *(training.corpus, training.prepare, training.train),
    *(evaluation.evaluate, evaluation.ablate, evaluation.fit_sync),
):
    main.add_command(command)


if __name__ == "__main__":
    main()
