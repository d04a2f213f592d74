"""A job: its options, its facts, its states and the legal moves between the states.

    queued ──▶ running ──▶ succeeded
      │          │  └────▶ failed
      │          └───────▶ canceled
      ├──▶ canceled
      └──▶ failed            (its worker was lost too often)
    running ──▶ queued       (its worker was lost; the next attempt starts from the inputs)
    failed, canceled ──▶ queued     (the caller retries the job)

No other move changes a job that has ended. A retry runs the same job again, with the same id, inputs and options. The
count of attempts goes on, so a worker that still runs an earlier attempt is refused.

`Job` is the record in Redis. Clients see it as `app.schemas.JobView`.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.core.dubs import MAX_DUBS, Dub, check_dubs_together
from app.core.face_choice import FACE_PATTERN, parse_face
from app.core.picture_facts import PictureFacts


class JobStatus(StrEnum):
    """States of a job."""

    QUEUED = "queued"  # accepted and saved; no worker has claimed it
    RUNNING = "running"  # one worker holds its lease
    SUCCEEDED = "succeeded"  # the result is complete and can be downloaded
    FAILED = "failed"  # `error` says why and whether a retry can help
    CANCELED = "canceled"  # the caller asked for it

    @property
    def is_terminal(self) -> bool:
        """Return whether the job has ended."""
        return self in TERMINAL


TERMINAL: Final = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})

SYNC_MODES = Literal["cut_off", "loop", "bounce", "silence", "remap"]
PRIORITIES = Literal["low", "normal", "high"]
PRIORITY_LEAD_S: Final[dict[PRIORITIES, int]] = {"low": -3600, "normal": 0, "high": 3600}
PRESETS = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]
MAX_METADATA_BYTES: Final = 4096
MAX_METADATA_DEPTH: Final = 32


def check_metadata(value: dict[str, Any]) -> dict[str, Any]:
    """Return the object if every JSON reader can take it; raises ValueError.

    A number must be finite, a text must be Unicode without half of a surrogate pair, and lists and objects must not
    nest deeper than MAX_METADATA_DEPTH.
    """
    level: list[object] = [value]
    for _ in range(MAX_METADATA_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, float) and not math.isfinite(item):
                raise ValueError("must have finite numbers only")
            if isinstance(item, str) and any("\ud800" <= letter <= "\udfff" for letter in item):
                raise ValueError("must have whole Unicode characters only")
            if isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
        if not below:
            return value
        level = below
    raise ValueError(f"must not nest deeper than {MAX_METADATA_DEPTH - 1} levels")


class JobOptions(BaseModel):
    """Options of a job, with the same names in the form, in the record and on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sync_mode: SYNC_MODES = Field(
        "cut_off",
        description=(
            "What happens if video and voice differ in length. `cut_off`: the output ends with the shorter one. "
            "`loop`: the output is as long as the voice; the video starts again at its end. `bounce`: the same, but "
            "the video plays backward and forward in turn. `silence`: the output is as long as the video; silence "
            "follows the voice. `remap`: the output is as long as the voice; the video is sped up or slowed down to "
            "that length."
        ),
    )
    face: Annotated[str, AfterValidator(parse_face)] = Field(
        "largest",
        max_length=32,
        json_schema_extra={"pattern": FACE_PATTERN},
        description=(
            "The face whose lips follow the voice: `largest`; `all`; `index:N`, counted from the left, starting at 0; "
            "`point:X,Y`, the face at this point in pixels; or `speaking`, in each shot the face whose lips fit the "
            "video's own sound."
        ),
    )
    on_missing_face: Literal["pass_through", "fail"] = Field(
        "pass_through",
        description="For frames without the chosen face: `pass_through` leaves them unchanged, `fail` fails the job.",
    )
    silence_gate: bool = Field(True, description="Keep the mouth at rest while nobody speaks.")
    strength: float = Field(1.0, ge=0, le=1, description="0 leaves the mouth as filmed; 1 follows the voice fully.")
    padding: float = Field(
        0.0,
        ge=-0.3,
        le=0.5,
        description="How much to enlarge the region that is replaced, in face heights; a negative value shrinks it.",
    )
    crf: int = Field(
        18, ge=0, le=40, description="x264 quality: a lower value gives a better picture and a larger file."
    )
    preset: PRESETS = Field("veryfast", description="x264 preset: a slower one gives a smaller file.")
    output_height: int | None = Field(
        None, ge=64, le=4320, description="Height of the output in pixels; without it, the height of the video."
    )
    start_s: float = Field(
        0.0,
        ge=0,
        description="Use the video from this time on, in seconds; the voice is always used from its beginning.",
    )
    end_s: float | None = Field(None, gt=0, description="Use the video up to this time, in seconds.")
    priority: PRIORITIES = Field(
        "normal",
        description=(
            "Order among your own waiting jobs: a job goes before those one step lower that were created up to an "
            "hour earlier. Jobs of other callers are not affected, because callers take turns."
        ),
    )
    webhook_url: str | None = Field(
        None,
        max_length=2000,
        description=(
            "Address that gets a signed message (Standard Webhooks) when the job ends; without it, the address of the "
            "API key, if it has one."
        ),
    )
    segments: tuple[Dub, ...] = Field(
        (),
        max_length=MAX_DUBS,
        description=(
            "Stretches of the video, each with a voice and a face of its own; then no `audio` is sent, and the output "
            "is as long as the video. Outside all stretches the pictures stay as they are, and the video's own sound "
            "plays. A voice that is shorter than its stretch is followed by silence; a longer one is cut off."
        ),
    )
    metadata: Annotated[dict[str, Any], AfterValidator(check_metadata)] = Field(
        default_factory=dict, description="Any JSON object of yours, returned unchanged; at most 4 KiB."
    )

    @model_validator(mode="after")
    def _check_together(self) -> JobOptions:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError("end_s must be greater than start_s")
        if len(self.model_dump_json(include={"metadata"})) > MAX_METADATA_BYTES:
            raise ValueError("metadata must be at most 4 KiB of JSON")
        check_dubs_together(self.segments, self.face, self.sync_mode)
        return self


class Progress(BaseModel):
    """Progress of a running job: percentage, frames, frames per second, and the estimated seconds that remain."""

    percent: float = 0.0
    frames_done: int = 0
    frames_total: int = 0
    fps: float = 0.0
    eta_s: float | None = None


class VideoFacts(BaseModel):
    """Facts of the uploaded video: size when upright with square pixels, times in seconds from zero."""

    kind: Literal["video", "image"]
    format: str
    codec: str
    width: int
    height: int
    fps: str  # exact fraction such as "30000/1001", because a rounded rate drifts
    frames: int  # at the constant frame rate `fps`
    duration_s: float
    rotation: int  # degrees clockwise that make the picture upright; already applied to width and height
    variable_frame_rate: bool
    has_audio: bool
    keyframe_interval: int | None = None  # most frames from one key frame to the next; None if it is not known
    video_tracks: int = 1  # of which one is used: the default one, or else the first one that can be decoded
    clock_restarts: int = 0  # how often the timestamps start again or jump; the parts follow each other without a gap
    picture_changes: bool = False  # the stored picture changes its shape; all are fitted into width x height
    bytes: int
    sha256: str
    # What workers need and clients do not: only `JobInput.to_record` writes it. None: of a still picture, or of a
    # record of an earlier version, whose workers look for themselves.
    picture: PictureFacts | None = Field(None, exclude=True)


class AudioFacts(BaseModel):
    """Facts of an uploaded sound; all who read it follow them. The defaults are those of older records."""

    format: str
    codec: str
    sample_rate_hz: int = Field(description="The highest, where it changes.")
    channels: int = Field(description="The most, where their number changes.")
    duration_s: float = Field(description="From time zero to the end of the sound.")
    bytes: int
    sha256: str
    track: int = Field(0, description="Number of the chosen audio track among the `tracks` of the file, from 0.")
    tracks: int = 1
    track_choice: Literal["first", "default", "readable"] = Field(
        "first",
        description=(
            "Why this track: it is the `first` one; or its marks in the file make it the `default` of players; or it "
            "is the first that is `readable`."
        ),
    )
    start_s: float = Field(
        0.0,
        description=(
            "When the sound begins, counted from the picture of the file, or in a file of sound alone from its time "
            "zero. Silence is put before a sound that begins later. A negative value is a sound that begins before "
            "the picture."
        ),
    )
    is_joined: bool = Field(False, description="Several recordings follow each other, perhaps of different kinds.")
    damaged_s: float = Field(0.0, description="How much of the sound is damaged and left out.")
    missing_s: float = Field(0.0, description="How much of what the file promises is not in it: it was cut off.")


class JobInput(BaseModel):
    """Facts of the uploaded files; the output plays `audio_mix`, if there is one, instead of the voice."""

    video: VideoFacts
    audio: AudioFacts | None = Field(None, description="The voice; null where the option `segments` names the voices.")
    audio_mix: AudioFacts | None = None
    segments: tuple[AudioFacts, ...] = Field((), description="The voice of each entry of the option `segments`.")
    film_audio: AudioFacts | None = Field(
        None, description="The video's own sound, where the output plays it or `face=speaking` listens to it."
    )

    def to_record(self) -> dict[str, Any]:
        """Return everything for a worker, in a form that JSON can hold."""
        facts = self.model_dump(mode="json")
        facts["video"]["picture"] = None if self.video.picture is None else asdict(self.video.picture)
        return facts


class ResultFacts(BaseModel):
    """Facts of the finished MP4."""

    bytes: int
    sha256: str
    duration_s: float
    fps: str
    width: int
    height: int
    frames: int


class Report(BaseModel):
    """Figures of a finished job that help to understand an unexpected result."""

    face_coverage: float  # share of frames in which the chosen face was synthesized
    face_height_px: float  # median, forehead to chin
    sync_confidence: float | None = Field(
        None,
        description=(
            "How well the drawn lips fit the voice, 0..1: about 0.4 for filmed talkers with their own voice, about "
            "0.15 with the voice of somebody else. Null if the clip is too short, shows no face where most is said, or "
            "has no voice, and if `strength` is below 1. Of several segments, that of the one that fits worst."
        ),
    )
    stage_seconds: dict[str, float]
    realtime_factor: float  # wall seconds per second of output
    checkpoint: str
    device: str


class Job(BaseModel):
    """Record of one lip-sync job."""

    id: str
    status: JobStatus = JobStatus.QUEUED
    stage: str | None = None
    attempt: int = 0
    worker: str | None = None
    owner: str = ""  # the API key that the job belongs to; empty if keys are off
    cancel_requested: bool = False
    last_event: str = "0-0"  # id of the newest event that this record already includes
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
    """Return a new id that cannot be guessed and is safe as a file name."""
    return secrets.token_hex(16)


def now() -> datetime:
    """Return the current time in UTC, with its time zone."""
    return datetime.now(UTC)
