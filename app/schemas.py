"""Bodies of the answers, as JSON schemas: job, problem, validation, and information about the service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from app.core.errors import ErrorCode
from app.core.jobs import Job, JobInput, JobOptions, JobStatus, Progress, Report, ResultFacts
from app.core.records.batches import Batch
from app.core.records.records import WorkerFacts
from app.core.records.webhooks import Webhook

_ID: Final = "6f1c0f0d5a9e4b0f8f6f3c1d2e4b5a69"
_EXAMPLE_VIDEO: Final = {
    "kind": "video",
    "format": "mov",
    "codec": "h264",
    "width": 1080,
    "height": 1920,
    "fps": "30000/1001",
    "frames": 600,
    "duration_s": 20.02,
    "rotation": 90,
    "variable_frame_rate": False,
    "has_audio": True,
    "bytes": 8123456,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
_EXAMPLE_AUDIO: Final = {
    "format": "wav",
    "codec": "pcm_s16le",
    "sample_rate_hz": 16000,
    "channels": 1,
    "duration_s": 19.5,
    "bytes": 624044,
    "sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
}
EXAMPLE_JOB: Final[dict[str, Any]] = {
    "id": _ID,
    "status": "running",
    "stage": "synthesize",
    "progress": {"percent": 41.5, "frames_done": 249, "frames_total": 600, "fps": 31.2, "eta_s": 11.2},
    "queue_position": None,
    "attempt": 1,
    "created_at": "2026-03-01T12:00:00Z",
    "started_at": "2026-03-01T12:00:01Z",
    "finished_at": None,
    "expires_at": "2026-03-02T12:00:00Z",
    "input": {
        "video": _EXAMPLE_VIDEO,
        "audio": _EXAMPLE_AUDIO,
        "audio_mix": None,
        "segments": [],
        "film_audio": None,
    },
    "options": JobOptions().model_dump(mode="json"),
    "warnings": [],
    "error": None,
    "result": None,
    "report": None,
    "links": {
        "self": f"/jobs/{_ID}",
        "result": f"/jobs/{_ID}/result",
        "events": f"/jobs/{_ID}/events",
        "cancel": f"/jobs/{_ID}/cancel",
    },
}


class ErrorView(BaseModel):
    """Reason why a job failed."""

    code: ErrorCode
    message: str
    stage: str | None
    retryable: bool
    hint: str


class ResultView(ResultFacts):
    """Facts of the finished MP4, and the path from which to download it."""

    url: str


class Links(BaseModel):
    """Paths of a job's routes on this service."""

    self_: str = Field(serialization_alias="self")
    result: str
    events: str
    cancel: str


class JobView(BaseModel):
    """Job as its caller sees it."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE_JOB})

    id: str
    status: JobStatus
    stage: str | None
    progress: Progress
    queue_position: int | None = Field(
        description=(
            "Place among all waiting jobs, starting at 1; new jobs can change it. Callers take turns; the jobs of one "
            "caller are ordered by priority and time of creation."
        )
    )
    attempt: int
    created_at: datetime
    started_at: datetime | None = Field(description="When the current attempt started.")
    finished_at: datetime | None
    expires_at: datetime = Field(description="When the files are deleted. When the job ends, the time is set again.")
    input: JobInput
    options: JobOptions
    warnings: list[str]
    error: ErrorView | None
    result: ResultView | None
    report: Report | None
    links: Links

    @classmethod
    def of(cls, job: Job, queue_position: int | None) -> JobView:
        """Return the view of a job."""
        address = f"/jobs/{job.id}"
        shared = job.model_dump(exclude={"worker", "owner", "cancel_requested", "last_event", "result"})
        url = f"{address}/result"
        result = None if job.result is None else ResultView(**job.result.model_dump(), url=url)
        links = Links(self_=address, result=url, events=f"{address}/events", cancel=f"{address}/cancel")
        return cls(**shared, queue_position=queue_position, result=result, links=links)


class BatchJobView(BaseModel):
    """Job of a batch."""

    id: str
    status: str = Field(description="Status of the job, or `deleted`.")


class BatchView(BaseModel):
    """Batch as its caller sees it."""

    id: str
    ended: bool = Field(description="Whether no job waits or runs.")
    created_at: datetime
    counts: dict[str, int] = Field(description="Number of jobs by status.")
    jobs: list[BatchJobView]

    @classmethod
    def of(cls, batch: Batch) -> BatchView:
        """Return the view of a batch."""
        jobs = [BatchJobView(id=job_id, status=status) for job_id, status in batch.statuses.items()]
        return cls(id=batch.id, ended=batch.has_ended, created_at=batch.created_at, counts=batch.counts, jobs=jobs)


class WebhookView(BaseModel):
    """Webhook that no try could deliver; `answer` is what the last try gave."""

    id: str
    type: str
    subject: str = Field(description="Id of the job or batch.")
    url: str
    happened_at: datetime
    tries: int
    answer: str | None

    @classmethod
    def of(cls, webhook: Webhook) -> WebhookView:
        """Return the view of a webhook."""
        return cls(
            id=webhook.id,
            type=webhook.kind,
            subject=webhook.subject,
            url=webhook.url,
            happened_at=webhook.happened_at,
            tries=webhook.tries,
            answer=webhook.answer,
        )


class FailedWebhooks(BaseModel):
    """Webhooks that no try could deliver."""

    webhooks: list[WebhookView]


class JobPage(BaseModel):
    """One page of jobs, newest first."""

    jobs: list[JobView]
    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page; null on the last page.")


class LinkView(BaseModel):
    """Address from which anyone can download the result without an API key."""

    url: str
    expires_at: datetime = Field(description="Never later than the job's own `expires_at`.")


class FaceView(BaseModel):
    """Person of the shown part, as one frame shows the face; `score` is the detector's confidence.

    The box is in pixels of the upright picture.
    """

    index: int = Field(description="Position counted from the left, starting at 0: the N of `face=index:N`.")
    x: float
    y: float
    width: float
    height: float
    score: float
    at_s: float = Field(0.0, description="Time of that frame in the video, to about 0.2 s.")


class ValidationView(BaseModel):
    """Facts and options that a job with these files would have."""

    input: JobInput
    options: JobOptions
    faces: list[FaceView] | None = Field(
        description="People who can be told apart, from left to right; null if no worker was free to look."
    )
    estimated_work_s: float | None = Field(
        description="Seconds that a free worker needs, judged by the last jobs of this service; null before the first."
    )
    warnings: list[str]


class Problem(BaseModel):
    """Problem of a call (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:lipsync:error:audio_stream_missing",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "The file sent as `audio` has no sound.",
                "code": "audio_stream_missing",
                "request_id": "3b1d7c2e9f4a4f0e",
                "retryable": False,
                "hint": "Send a file that has an audio track.",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    code: ErrorCode
    request_id: str
    retryable: bool
    hint: str


class InfoView(BaseModel):
    """Versions, limits and workers of the service."""

    version: str
    python: str
    limits: dict[str, int | float]
    workers: list[WorkerFacts] = Field(description="Live workers, each with its device, precision and weights.")
    direct_uploads: bool = Field(description="Whether files can be sent straight to storage (`POST /uploads`).")


def _number(value: object) -> object:
    """Refuse texts and truth values, which pydantic would turn into numbers; 10.0 is an integer in JSON."""
    if isinstance(value, str | bool):
        raise PydanticCustomError("number", "must be a number")
    return value


class UploadRequest(BaseModel):
    """Wish to upload a file."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"bytes": 8123456}})

    bytes: Annotated[int, BeforeValidator(_number)] = Field(gt=0, le=2**50, description="Size of the file.")


class UploadView(BaseModel):
    """Upload: where and how its bytes are to be sent, once or more, until it expires."""

    id: str
    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str] = Field(description="Headers that must be sent with the bytes.")
    expires_at: datetime = Field(description="Until then the bytes can be sent and jobs can name the upload.")
    max_bytes: int = Field(description="Size of the file; the address takes neither more nor less.")
