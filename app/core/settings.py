"""Every setting of the service: environment variables with the prefix `LIPSYNC_`, or a `.env` file.

An unknown name with this prefix is an error, because a misspelt limit would otherwise be no limit. An empty value is as
good as none: composed environments set names that way.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.hosts import host_name, is_loopback
from app.core.outgoing.policy import HOST_PATTERN
from app.core.outgoing.signatures import secret_key
from app.core.redis_address import read_redis_address

PREFIX: Final = "LIPSYNC_"
# Read by the command-line client and by the tests, not by the service.
FOREIGN_NAMES: Final = frozenset({"LIPSYNC_URL", "LIPSYNC_API_KEY", "LIPSYNC_SHARED"})

# The bounds above only keep sums of times and sizes inside the numbers of Redis and of the operating system.
Positive = Annotated[int, Field(gt=0, le=2**40)]
Finite = Annotated[float, Field(le=1e9, allow_inf_nan=False)]


def _split(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(name.strip().lower() for name in value.split(",") if name.strip())


def _split_secrets(value: object) -> object:
    """Return the checked secrets; they keep their upper case letters."""
    secrets = tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value
    if isinstance(secrets, tuple):
        for secret in secrets:
            secret_key(secret)
    return secrets


Port = Annotated[int, Field(gt=0, le=65535)]
Secrets = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_secrets)]
_ORIGIN: Final = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_NAME: Final = re.compile(r"[a-z0-9_.:-]+")
# Form of a setting, and that form in words.
_FORMS: Final = {
    "storage": (
        re.compile(r"/.*|s3://[A-Za-z0-9._-]{3,63}(/[A-Za-z0-9._/-]*)?"),
        "an absolute path like /srv/lipsync, or s3://bucket or s3://bucket/prefix",
    ),
    "device": (re.compile(r"auto|cpu|cuda(:[0-9]+)?"), "auto, cpu, cuda, or a GPU by number like cuda:1"),
    "public_url": (
        re.compile(r"https?://[^/?#\s]+(/[^?#\s]*)?[^/?#\s]"),
        "an address like https://dub.example, without a slash at its end",
    ),
}
# Names that are separated by commas in the environment.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Settings of the service, typed and checked."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    redis_url: str | None = Field(None, description="Redis for the records and the queue; unset: a private one.")
    data_dir: Path = Field(Path("data"), description="Folder of this host's working files and of the private Redis.")
    storage: str | None = Field(
        None,
        description=(
            "Storage of the files of jobs: a folder that all hosts mount, or s3://bucket/prefix; unset: DATA_DIR."
        ),
    )
    s3_endpoint_url: str | None = Field(None, description="Address of the S3 server; unset: Amazon's.")
    s3_public_url: str | None = Field(None, description="Address of the same S3 server for clients, used in links.")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    api_processes: int = Field(
        1, ge=1, le=64, description="Processes of the API on this host; each has the limits on connections for itself."
    )
    checkpoint: Path | None = Field(None, description="Weights of the network; unset: those in the package.")
    speech_encoder: Path | None = Field(
        None, description="Folder of the speech encoder that the weights name; unset: the installed package's."
    )
    device: str = Field("auto", description="What draws: `auto`, `cpu`, `cuda`, or a GPU by number, as in `cuda:1`.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    runtime: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="What computes the network; auto: the fastest on this machine, measured once."
    )
    video_decoder: Literal["software", "auto", "nvidia"] = Field(
        "software", description="What decodes H.264, HEVC, VP9 and AV1; auto: NVIDIA's GPU if a try succeeds."
    )
    video_encoder: Literal["software", "auto", "nvidia"] = Field(
        "software", description="What encodes the output, x264 or NVIDIA's GPU; auto: the GPU if a try succeeds."
    )
    workers: Positive = 1
    batch_size: Positive = Field(8, description="Crops that the network draws at once; a fast GPU likes more.")
    segment_s: Finite = Field(30.0, ge=1.0, description="Longer clips are done in segments of about this many seconds.")
    max_upload_bytes: int = Field(2 * 1024**3, gt=0, le=2**60)
    max_duration_s: Finite = Field(3600.0, gt=0)
    max_pixels: Positive = 4096 * 2304
    max_fps: Finite = Field(120.0, gt=0)
    cache_bytes: int = Field(
        2 * 1024**3,
        ge=0,
        le=2**60,
        description="Most bytes that each host keeps of faces and voices that its jobs have found; 0: none.",
    )
    retention_s: Positive = 24 * 3600
    max_queued_jobs: Positive = 1000
    max_active_per_key: Positive = Field(500, description="Most jobs of one caller that have not ended.")
    max_listeners: Positive = Field(
        1000, description="Most event streams and held polls of one process of the API; each takes two open files."
    )
    run_timeout_s: Positive = 2 * 3600
    max_attempts: Positive = 3
    auth: Literal["off", "keys"] = Field(
        "off", description="`keys`: every call needs an API key (`lipsync keys`). `off`: only for a loopback HOST."
    )
    allow_no_auth: bool = Field(False, description="Serve with AUTH=off on an address that other hosts can reach.")
    allowed_hosts: Names = Field((), description="Host names of this service besides localhost; needed with AUTH=off.")
    cors_origins: Names = Field((), description="Origins of pages whose scripts may call this service.")
    public_url: str | None = Field(None, description="Address of this service, for links.")
    url_inputs: Literal["off", "allow-list", "public"] = Field(
        "off",
        description="Whether jobs may name `video_url` and `audio_url`: of URL_HOSTS only, or of any public host.",
    )
    url_hosts: Names = Field((), description="Hosts of URL inputs; *.example.com stands for all names below it.")
    outgoing_ports: Annotated[tuple[Port, ...], NoDecode, BeforeValidator(_split)] = Field(
        (80, 443), description="Ports of URL inputs and webhooks."
    )
    url_timeout_s: Finite = Field(120.0, gt=0, description="Longest download of one URL input.")
    webhook_hosts: Names = Field((), description="Hosts of webhooks that may have private addresses.")
    webhook_secret: Secrets = Field((), description="Secrets that sign webhooks with AUTH=off: whsec_ and base64.")
    ffmpeg: str | None = Field(None, description="The ffmpeg program; unset: the one in imageio-ffmpeg.")

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        """Refuse a service without keys that other hosts can reach, unless it is asked for by name."""
        if self.auth == "off" and not self.allow_no_auth and not is_loopback(self.host):
            message = "without keys everybody who reaches {host} may use the service; set {yes} or {no}"
            names = {"yes": f"{PREFIX}AUTH=keys", "no": f"{PREFIX}ALLOW_NO_AUTH=true"}
            raise PydanticCustomError("exposed", message, {"host": self.host, **names})
        return self

    def __init__(self, **values: object) -> None:
        refuse_wrong_names()
        super().__init__(**values)  # type: ignore[arg-type]

    @field_validator(*_FORMS)
    @classmethod
    def _check_form(cls, value: str | None, info: ValidationInfo) -> str | None:
        pattern, wanted = _FORMS[info.field_name or ""]
        if value is not None and not pattern.fullmatch(value):  # not shown: an address may hold a password
            raise PydanticCustomError("form", "must be {wanted}", {"wanted": wanted})
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        origins = tuple(origin.removesuffix("/") for origin in origins)
        _refuse_others(origins, _ORIGIN, "an origin like https://studio.example, or http://localhost:3000")
        return origins

    @field_validator("allowed_hosts")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(host_name(name) for name in names)  # as it is compared: without a port
        _refuse_others(names, _NAME, "a host name like dub.example")
        return names

    @field_validator("url_hosts", "webhook_hosts")
    @classmethod
    def _check_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_others(patterns, HOST_PATTERN, "a host name in ASCII like media.example, or *.media.example")
        return patterns

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                read_redis_address(url)
            except ValueError as error:
                raise PydanticCustomError("redis_url", "{reason}", {"reason": str(error)}) from None
        return url


def _refuse_others(values: tuple[str, ...], pattern: re.Pattern[str], wanted: str) -> None:
    for value in values:
        if not pattern.fullmatch(value):
            raise PydanticCustomError("form", "{value} is not {wanted}", {"value": ascii(value[:80]), "wanted": wanted})


def refuse_wrong_names() -> None:
    """Raise ValueError if the environment or `.env` has a name with the prefix that is not a setting."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | FOREIGN_NAMES
    names = (name.upper() for name in dotenv_values(".env") | os.environ)
    unknown = sorted(name for name in names if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]}")
