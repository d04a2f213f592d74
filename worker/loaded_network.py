"""Find, verify and load the generator's checkpoint, and the speech encoder that it names, as the settings say."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.settings import Settings
from model.checkpoint import read_checkpoint
from model.checkpoint_config import default_checkpoint
from model.errors import CheckpointError
from model.speech_encoder.sources import encoder_folder, verify_encoder
from model.synthesizer import Synthesizer, load_synthesizer


def checkpoint_path(settings: Settings) -> Path:
    """Return the path of the generator's checkpoint: from the settings, else the one in the package."""
    return settings.checkpoint or default_checkpoint()


def verify_checkpoint(settings: Settings) -> None:
    """Raise ServiceError if the checkpoint or the speech encoder that it names cannot be used; load nothing.

    Its code is checkpoint_missing if a file is missing, else checkpoint_invalid.
    """
    path = checkpoint_path(settings)
    if not path.is_file():
        raise ServiceError(ErrorCode.CHECKPOINT_MISSING, f"There is no checkpoint named {path.name}.")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the parent of the pool forks after this, and threads of OpenMP do not survive a fork
    try:
        config, _ = read_checkpoint(path)
    except CheckpointError as error:
        raise _invalid(error) from None
    finally:
        torch.set_num_threads(threads)
    if config.speech_encoder:
        verify_speech_encoder(config.speech_encoder, settings)


def verify_speech_encoder(name: str, settings: Settings) -> Path:
    """Return the folder of the named speech encoder; raises ServiceError as `verify_checkpoint` does."""
    try:
        encoder_folder(settings.speech_encoder)
    except CheckpointError as error:
        raise ServiceError(ErrorCode.CHECKPOINT_MISSING, f"The checkpoint cannot be used: {error}.") from None
    try:
        return verify_encoder(name, settings.speech_encoder)
    except CheckpointError as error:
        raise _invalid(error) from None


def _invalid(error: CheckpointError) -> ServiceError:
    return ServiceError(ErrorCode.CHECKPOINT_INVALID, f"The checkpoint cannot be used: {error}.")


def usable_cores() -> int:
    """Return the number of cores that this process may use, limited by the quota of its container."""
    cores = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    fields = quota.read_text(encoding="ascii").split() if quota.exists() else []
    if len(fields) == 2 and fields[0].isdigit():
        cores = min(cores, max(1, round(int(fields[0]) / int(fields[1]))))
    return cores


def load_generator(settings: Settings) -> Synthesizer:
    """Load the generator onto the device of the settings, with this process's share of the cores.

    Raises ServiceError for a checkpoint that cannot be used, InputError for a device or a precision that this machine
    does not have.
    """
    torch.set_num_threads(max(1, usable_cores() // settings.workers))
    path = checkpoint_path(settings)
    try:
        return load_synthesizer(
            path,
            device=settings.device,
            precision=settings.precision,
            batch_size=settings.batch_size,
            encoder_folder=settings.speech_encoder,
        )
    except CheckpointError as error:
        raise _invalid(error) from None
    except ValueError as error:
        raise InputError(ErrorCode.OPTION_INVALID, f"LIPSYNC_DEVICE, LIPSYNC_PRECISION: {error}.") from None
