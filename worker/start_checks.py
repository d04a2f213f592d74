"""What the start of a worker needs from this machine, in addition to the checks of `app.core.start_checks`."""

from __future__ import annotations

import os
from typing import Final

from app.core.errors import ErrorCode, InputError
from app.core.settings import Settings
from app.core.start_checks import check_data_dir, check_ffmpeg, check_redis_login, check_storage

# With this, torch counts the GPUs without opening one. The parent of the pool must not open one before it forks.
_COUNT_ONLY: Final = "PYTORCH_NVML_BASED_CUDA_CHECK"


def check_worker(settings: Settings) -> None:
    """Raise InputError if a worker cannot start with these settings; reads no weights."""
    check_data_dir(settings)
    check_storage(settings)
    check_ffmpeg(settings)
    check_redis_login(settings)
    check_device(settings)


def check_device(settings: Settings) -> None:
    """Raise InputError if this machine lacks the device or the precision; loads torch only for one that it may lack."""
    if settings.device in ("auto", "cpu") and settings.precision != "fp16":
        return
    from model.runtimes.devices import choose_device, choose_precision

    before = os.environ.get(_COUNT_ONLY)
    os.environ[_COUNT_ONLY] = "1"
    try:
        device = choose_device(settings.device)
        if settings.precision != "auto":
            choose_precision(settings.precision, device)
    except ValueError as error:
        raise InputError(ErrorCode.OPTION_INVALID, f"LIPSYNC_DEVICE, LIPSYNC_PRECISION: {error}.") from None
    finally:
        os.environ.pop(_COUNT_ONLY)
        if before is not None:
            os.environ[_COUNT_ONLY] = before
