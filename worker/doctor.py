"""Check everything on this machine that a job needs; each check gives one finding."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from app.core.errors import LipSyncError
from app.core.files import file_sha256
from app.core.probing.probe import find_ffmpeg
from app.core.sandbox.confined import try_confinement
from app.core.settings import Settings
from app.core.start_checks import (
    REDIS_ANSWERS,
    check_address,
    check_data_dir,
    check_ffmpeg,
    check_redis_login,
    check_storage,
)
from app.core.storage.open import is_bucket, open_storage
from app.core.storage.port import StorageUnavailableError

Check = Callable[[Settings], str]

LOW_DISK_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True)
class Finding:
    """Result of one check: its name, whether all is well, and a text for the user."""

    name: str
    good: bool
    text: str


def examine(settings: Settings, checks: Mapping[str, Check] | None = None) -> list[Finding]:
    """Run the checks, all of them if none are given; a check that fails gives a finding, never an exception."""
    findings = []
    for name, check in (checks or ALL_CHECKS).items():
        try:
            findings.append(Finding(name, True, check(settings)))
        except LipSyncError as error:
            findings.append(Finding(name, False, error.message))
        except Exception as error:  # noqa: BLE001 - every error of a check is its finding
            findings.append(Finding(name, False, str(error) or type(error).__name__))
    return findings


def _sandbox(_: Settings) -> str:
    """Say what the kernel keeps from a child that opens a stranger's file; it works without, so nothing is wrong."""
    active = try_confinement()
    network = "no network" if active.system_calls else "NOT without network (no seccomp)"
    files = "no other files" if active.files else "NOT without other files (no Landlock, Linux 5.13)"
    return f"files of strangers are opened with {network}, {files}"


def _colours(settings: Settings) -> str:
    from worker.media.colour_conversion import ALPHA_DECODERS, CONVERTERS, known_decoders, known_filters

    binary = find_ffmpeg(settings.ffmpeg)
    missing = [name for name in CONVERTERS if name not in known_filters(binary)]
    if missing:
        raise RuntimeError(f"this ffmpeg lacks {', '.join(missing)}: it refuses video in BT.2020, P3 or HDR")
    missing = [name for name in ALPHA_DECODERS.values() if name not in known_decoders(binary)]
    if missing:
        raise RuntimeError(f"this ffmpeg lacks {', '.join(missing)}: it ignores the transparency of WebM")
    return "BT.2020, P3, HDR and transparency"


def _device(settings: Settings) -> str:
    from worker.loaded_network import load_generator

    synthesizer = load_generator(settings)
    return f"{synthesizer.device_name} in {synthesizer.precision}, {os.cpu_count()} CPU cores"


def _runtime(settings: Settings) -> str:
    """Say which runtime computes the network, why, and how fast each one is."""
    from worker.loaded_network import choose
    from worker.process_share import network_threads

    chosen = choose(settings)
    if not chosen.measured:
        return f"{chosen.runtime}: {chosen.reason}"
    speeds, threads = ", ".join(map(str, chosen.measured)), network_threads(settings)
    share = f"{threads} thread{'s' * (threads > 1)}, batches of {settings.batch_size}"
    return f"{chosen.runtime} in {chosen.precision}, {chosen.reason} with {share}: {speeds}"


def _video(settings: Settings) -> str:
    """Say what decodes and encodes video, and why."""
    from worker.media.codec_choice import choose_decoder, choose_encoder

    return f"decoder: {choose_decoder(settings)}; encoder: {choose_encoder(settings)}"


def _weights(settings: Settings) -> str:
    from model.evaluation.lip_voice import load_model
    from worker.loaded_network import checkpoint_path, settle_network

    settle_network(settings)
    load_model()
    path = checkpoint_path(settings)
    return f"{path.name}, sha256 {file_sha256(path)}"


def _speech_encoder(settings: Settings) -> str:
    from model.checkpoint import verify_checkpoint
    from worker.loaded_network import checkpoint_path, verify_speech_encoder

    name = verify_checkpoint(checkpoint_path(settings)).speech_encoder
    return f"{name} in {verify_speech_encoder(name, settings)}" if name else "none, the weights hear mel spectrograms"


def _face_models(_: Settings) -> str:
    import numpy as np

    from worker.faces.detect import FaceDetector

    with FaceDetector() as detector:
        detector.detect(np.zeros((64, 64, 3), np.uint8))
    return "face detector and mesh load"


def _redis(settings: Settings) -> str:
    if settings.redis_url is None:
        from app.core.private_redis import find_redis_server

        return f"a private one: {find_redis_server()}"
    found = check_redis_login(settings)
    if found != REDIS_ANSWERS:
        raise RuntimeError(found)
    return found


def _storage(settings: Settings) -> str:
    found = check_storage(settings)
    if settings.storage is None:
        return found
    try:
        open_storage(settings).check_space(0)
    except StorageUnavailableError as error:
        cause = error.__context__  # clients are not told, but who asks here may know
        missing = f"there is no such {'bucket' if is_bucket(settings) else 'folder'}"
        reason = missing if isinstance(cause, FileNotFoundError) else cause or error.message
        raise RuntimeError(f"LIPSYNC_STORAGE: {reason}") from None
    return f"{found} answers"


def _disk(settings: Settings) -> str:
    folder = settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < LOW_DISK_BYTES:
        raise RuntimeError(f"only {free / 1e9:.1f} GB free for uploads and results")
    return f"{free / 1e9:.0f} GB free for uploads and results"


START_CHECKS: Final[dict[str, Check]] = {
    "ffmpeg": check_ffmpeg,
    "redis": _redis,
    "data folder": check_data_dir,
    "address": check_address,
}
ALL_CHECKS: Final[dict[str, Check]] = START_CHECKS | {
    "sandbox": _sandbox,
    "colours": _colours,
    "video": _video,
    "device": _device,
    "runtime": _runtime,
    "weights": _weights,
    "speech encoder": _speech_encoder,
    "face models": _face_models,
    "storage": _storage,
    "disk": _disk,
}
