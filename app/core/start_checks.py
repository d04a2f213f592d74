"""What a start needs from this machine. Each check returns a text about what it found, or raises InputError.

A start that cannot succeed ends with one sentence before anything runs, and `lipsync doctor` says the same. A Redis
that does not answer is no reason to end: it may start later than its clients. A Redis that refuses the login is one.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

import redis

from app.core.errors import LipSyncError
from app.core.listening import listening_sockets
from app.core.options import option_error
from app.core.output_path import shown
from app.core.probing.probe import find_ffmpeg
from app.core.program_output import program_output
from app.core.redis_address import read_redis_address
from app.core.settings import Settings
from app.core.storage.open import check_credentials, open_storage

ENCODERS: Final = ("libx264", "aac")
REDIS_TIMEOUT_S: Final = 3.0
REDIS_ANSWERS: Final = "answers"
REDIS_AWAY: Final = "does not answer now"
_TLS_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_FOLDERS: Final = ("incoming", "inputs", "work", "jobs", "redis")


def check_address(settings: Settings) -> str:
    """Check that a server can listen at the address of the settings."""
    for opened in listening_sockets(settings.host, settings.port):
        opened.close()
    return f"{settings.host}, port {settings.port or 'chosen at the start'}: free"


def check_data_dir(settings: Settings) -> str:
    """Check that the data folder can be made and written to; make nothing."""
    folder = settings.data_dir.absolute()
    name = f"LIPSYNC_DATA_DIR: {shown(folder)}"
    try:
        folder = _first_that_exists(folder)
        for place in (folder, *(settings.data_dir / part for part in _FOLDERS)):
            if os.path.lexists(place) and not place.is_dir():
                raise option_error(f"{name} cannot be used: {shown(place)} is not a folder.")
        with tempfile.TemporaryFile(dir=folder):  # asks the file system itself: rights alone do not tell
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise option_error(f"{name} cannot be written to: {reason}.") from None
    return f"{shown(settings.data_dir.absolute())} can be written to"


def check_storage(settings: Settings) -> str:
    """Check that the storage of the settings can be opened; one that is not there yet may be mounted later."""
    if settings.storage is None:
        return "the data folder"
    if settings.storage.startswith("/"):
        folder = Path(settings.storage)
        if os.path.lexists(folder) and not folder.is_dir():
            raise option_error(f"LIPSYNC_STORAGE: {shown(folder)} is not a folder.")
    try:
        check_credentials(settings)
        open_storage(settings)
    except LipSyncError as error:
        raise option_error(error.message) from None
    except ValueError as error:
        raise option_error(f"LIPSYNC_STORAGE, LIPSYNC_S3_ENDPOINT_URL: {error}.") from None
    return settings.storage


def _first_that_exists(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists; a link that leads nowhere exists. Raises OSError."""
    while True:
        try:
            path.lstat()
        except FileNotFoundError:
            path = path.parent
        else:
            return path


def check_redis_login(settings: Settings) -> str:
    """Check that Redis, if it answers now, accepts the user, the password and the database of LIPSYNC_REDIS_URL."""
    if settings.redis_url is None:
        return "a private one"
    options, timeout_s = read_redis_address(settings.redis_url), REDIS_TIMEOUT_S
    for name in _TLS_FILES & options.keys():
        if not os.access(options[name], os.R_OK):
            raise option_error(f"LIPSYNC_REDIS_URL: the file of {name} cannot be read.")
    with closing(
        redis.Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    ) as client:
        try:
            client.ping()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            raise option_error("LIPSYNC_REDIS_URL: Redis refuses this user or password.") from None
        except redis.ResponseError as error:
            if "DB index" in str(error):
                raise option_error("LIPSYNC_REDIS_URL: Redis has no database of this number.") from None
            return "does not work now"
        except redis.RedisError as error:
            if isinstance(error.__cause__ or error.__context__, ssl.SSLCertVerificationError):
                raise option_error("LIPSYNC_REDIS_URL: the certificate of Redis cannot be verified.") from None
            return REDIS_AWAY
    return REDIS_ANSWERS


def check_ffmpeg(settings: Settings) -> str:
    """Check that the ffmpeg of the settings is an ffmpeg, and that it has the encoders of the output."""
    try:
        program = find_ffmpeg(settings.ffmpeg)
    except LipSyncError as error:
        raise option_error(error.message) from None
    except RuntimeError:
        raise option_error("LIPSYNC_FFMPEG is not set, and the package imageio-ffmpeg has no ffmpeg.") from None
    version = program_output(program, "-version").partition("\n")[0]
    if not version.startswith("ffmpeg version"):
        raise option_error(f"LIPSYNC_FFMPEG: {program} is not ffmpeg.")
    found = program_output(program, "-hide_banner", "-encoders")
    missing = [name for name in ENCODERS if f" {name} " not in found]
    if missing:
        raise option_error(f"LIPSYNC_FFMPEG: {program} lacks the encoder {', '.join(missing)}.")
    return f"{version} at {program}"
