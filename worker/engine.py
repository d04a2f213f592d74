"""The real things a worker is built around: the checkpoint, the network, and a look for faces in one frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.core.errors import ErrorCode, ServiceError
from app.core.settings import Settings
from model.checkpoint import CheckpointError, default_checkpoint, verify_checkpoint
from model.synthesizer import Synthesizer, load_synthesizer


def checkpoint_path(settings: Settings) -> Path:
    """Return the generator's weights: those of the settings, else those in the package."""
    return settings.checkpoint or default_checkpoint()


def verify(settings: Settings) -> None:
    """Raise ServiceError(checkpoint_missing, checkpoint_invalid) for weights that cannot be used; loads nothing."""
    path = checkpoint_path(settings)
    if not path.is_file():
        raise ServiceError(ErrorCode.CHECKPOINT_MISSING, f"There is no checkpoint named {path.name}.")
    try:
        verify_checkpoint(path)
    except CheckpointError as error:
        raise ServiceError(ErrorCode.CHECKPOINT_INVALID, f"The checkpoint {path.name} is not usable: {error}") from None


def load(settings: Settings) -> Synthesizer:
    """Load the network onto the device of the settings."""
    return load_synthesizer(
        checkpoint_path(settings), device=settings.device, precision=settings.precision, batch_size=settings.batch_size)
