"""What a job is: its options, its life, and the legal moves between states.

    queued ──▶ running ──▶ succeeded
      │          │  └────▶ failed
      │          └───────▶ canceled
      ├──▶ canceled
      └──▶ failed            (its worker was lost too often)
    running ──▶ queued       (its worker was lost; the next attempt starts from the inputs)
    failed, canceled ──▶ queued     only by the caller's own wish: a retry

Nothing else moves a job that has ended. A retry is the same job once more: same id, inputs and options; attempts are
counted on, so that whoever still works on an earlier one is refused.

`Job` is the record in the store and travels as JSON; what a client sees of it is `app.schemas.JobView`.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class JobStatus(StrEnum):
    """Name where a job is in its life."""

    QUEUED = "queued"  # accepted and saved; no worker has claimed it
    RUNNING = "running"  # one worker holds its lease
    SUCCEEDED = "succeeded"  # the result is complete and can be downloaded
    FAILED = "failed"  # `error` says why and whether a retry can help
    CANCELED = "canceled"  # the caller asked for it

    @property
    def is_terminal(self) -> bool:
        """Tell whether the job has ended."""
        return self in TERMINAL


TERMINAL: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})

SYNC_MODES = Literal["cut_off", "loop", "bounce", "silence", "remap"]
PRIORITIES = Literal["low", "normal", "high"]
PRIORITY_LEAD_S: Final[dict[PRIORITIES, int]] = {"low": -3600, "normal": 0, "high": 3600}
PRESETS = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]
MAX_METADATA_BYTES: Final = 4096


def parse_face(text: str) -> str:
    """Check a face choice: `largest`, `all`, `index:N` (N from 0) or `point:X,Y` (source pixels)."""
    kind, _, value = text.partition(":")
    if kind in ("largest", "all") and not value:
        return text
    if kind == "index" and value.isascii() and value.isdigit() and len(value) <= 3:
        return text
    if kind == "point":
        parts = value.split(",")
        if len(parts) == 2 and all(_is_pixel(part) for part in parts):
            return text
    raise ValueError("must be `largest`, `all`, `index:N` or `point:X,Y`")


def _is_pixel(text: str) -> bool:
    try:
        return 0 <= float(text) < 1e6  # also false for nan
    except ValueError:
        return False


class JobOptions(BaseModel):
    """What the caller may choose; the same names on the wire, in the record and on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sync_mode: SYNC_MODES = Field(
        "cut_off",
        description=(
            "What happens when picture and voice differ in length. `cut_off`: the shorter one ends the output. "
            "`loop`, `bounce`: as long as the voice, the picture starts again or runs to and fro. `silence`: as long "
            "as the picture, the voice is followed by silence. `remap`: as long as the voice, the picture is retimed."
        ),
    )
    face: Annotated[str, AfterValidator(parse_face)] = Field(
        "largest",
        max_length=32,
        description=(
            "Whose lips move: `largest`, `all`, `index:N` (counted from the left, from 0) or `point:X,Y` (pixels)."
        ),
    )
    on_missing_face: Literal["pass_through", "fail"] = Field(
        "pass_through", description="Frames without the chosen face stay as they are, or the job fails."
    )
    silence_gate: bool = Field(True, description="Rest the mouth where nobody speaks.")
    strength: float = Field(1.0, ge=0, le=1, description="0 leaves the mouth as filmed, 1 follows the voice fully.")
    padding: float = Field(0.0, ge=-0.3, le=0.5, description="Grows the blended region, in face heights.")
    crf: int = Field(18, ge=0, le=40, description="x264 quality: lower is better and larger.")
    preset: PRESETS = Field("veryfast", description="x264 speed against size.")
    output_height: int | None = Field(None, ge=64, le=4320, description="Scale the output to this height.")
    start_s: float = Field(0.0, ge=0, description="Use the picture from here on; the voice starts at its beginning.")
    end_s: float | None = Field(None, gt=0, description="Use the picture up to here.")
    priority: PRIORITIES = Field(
        "normal",
        description=(
            "Which of your own waiting jobs goes first: each step up is worth an hour of waiting. Other callers' jobs "
            "are not touched by it: callers take turns."
        ),
    )
    metadata: dict[str, Any] = Field(default_factory=dict, description="Yours; given back unchanged (at most 4 KiB).")

    @model_validator(mode="after")
    def _check_together(self) -> JobOptions:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError("end_s must be greater than start_s")
        if len(self.model_dump_json(include={"metadata"})) > MAX_METADATA_BYTES:
            raise ValueError("metadata must be at most 4 KiB of JSON")
        return self


class Progress(BaseModel):
    """How far a running job is."""

    percent: float = 0.0
    frames_done: int = 0
    frames_total: int = 0
    fps: float = 0.0
    eta_s: float | None = None


class VideoFacts(BaseModel):
    """What probing says of the picture: upright, square pixels; times in seconds, starting at zero."""

    kind: Literal["video", "image"]
    format: str
    codec: str
    width: int
    height: int
    fps: str  # a rational such as "30000/1001": rounding it would drift
    frames: int  # on the constant-rate grid
    duration_s: float
    rotation: int  # degrees clockwise that were applied
    variable_frame_rate: bool
    has_audio: bool
    bytes: int
    sha256: str


class AudioFacts(BaseModel):
    """What probing says of the voice."""

    format: str
    codec: str
    sample_rate_hz: int
    channels: int
    duration_s: float
    bytes: int
    sha256: str


class JobInput(BaseModel):
    """What was uploaded; the mix is heard in the output instead of the voice."""

    video: VideoFacts
    audio: AudioFacts
    audio_mix: AudioFacts | None = None


class ResultFacts(BaseModel):
    """What the finished MP4 is."""

    bytes: int
    sha256: str
    duration_s: float
    fps: str
    width: int
    height: int
    frames: int


class Report(BaseModel):
    """How the job went: what a user asks when the result surprises."""

    face_coverage: float  # share of frames in which the chosen face was synthesized
    face_height_px: float  # median, forehead to chin
    stage_seconds: dict[str, float]
    realtime_factor: float  # wall seconds per second of output
    checkpoint: str
    device: str


class Job(BaseModel):
    """One lip-sync job, as it is stored."""

    id: str
    status: JobStatus = JobStatus.QUEUED
    stage: str | None = None
    attempt: int = 0
    worker: str | None = None
    owner: str = ""  # the API key it belongs to; empty where keys are off
    cancel_requested: bool = False
    last_event: str = "0-0"  # the id of the newest event that this state includes
    progress: Progress = Field(default_factory=Progress)
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime
    input: JobInput
    options: JobOptions
    warnings: list[str] = Field(default_factory=list)
    error: dict[str, Any] | None = None
    result: ResultFacts | None = None
    report: Report | None = None


def new_job_id() -> str:
    """Return an id that cannot be guessed and is safe as a file name."""
    return secrets.token_hex(16)


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)
