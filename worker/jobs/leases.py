"""Leases: the right of one attempt to work on a job or on a segment, and to record how its work ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from app.core.jobs import Progress
from app.core.records.records import Records, Renewal
from app.core.records.segments import Segments
from worker.pipeline.run_context import FinishedClip


class Lease(ABC):
    """Lease held by one attempt.

    Each method except `renew` ends the lease. It returns False, and changes nothing, if another attempt has the lease
    or the job is gone. Every method may raise `redis.RedisError`.
    """

    def __init__(self, job_id: str, attempt: int) -> None:
        self.job_id, self.attempt = job_id, attempt

    @property
    @abstractmethod
    def name(self) -> str:
        """Return what the lease is for, for the log."""

    @abstractmethod
    def renew(self, stage: str, progress: Progress) -> Renewal:
        """Renew the lease and record the progress; return whether the attempt may go on."""

    @abstractmethod
    def hand_back(self) -> bool:
        """Return the work to the queue; the attempt is not counted."""

    @abstractmethod
    def lose(self) -> bool:
        """Record that the attempt broke off; the work is tried again until the attempts are used up."""

    @abstractmethod
    def fail(self, error: Mapping[str, object]) -> bool:
        """End the job with an error payload."""

    @abstractmethod
    def end_canceled(self) -> bool:
        """End the job as canceled."""


class JobLease(Lease):
    """Lease of a whole job, or of the join of its segments."""

    def __init__(self, records: Records, job_id: str, attempt: int) -> None:
        super().__init__(job_id, attempt)
        self._records = records

    @property
    def name(self) -> str:
        """Return the job and the attempt, for the log."""
        return f"job={self.job_id} attempt={self.attempt}"

    def renew(self, stage: str, progress: Progress) -> Renewal:
        """Renew the lease and record stage and progress of the job."""
        return self._records.renew(self.job_id, self.attempt, stage, progress)

    def hand_back(self) -> bool:
        """Return the job to the queue; the attempt is not counted."""
        return self._records.hand_back(self.job_id, self.attempt)

    def lose(self) -> bool:
        """Record that the attempt at the job broke off."""
        return self._records.lose(self.job_id, self.attempt)

    def fail(self, error: Mapping[str, object]) -> bool:
        """End the job with an error payload."""
        return self._records.fail(self.job_id, self.attempt, error)

    def end_canceled(self) -> bool:
        """End the job as canceled."""
        return self._records.end_canceled(self.job_id, self.attempt)

    def succeed(self, clip: FinishedClip) -> bool:
        """End the job with its finished clip."""
        return self._records.succeed(self.job_id, self.attempt, clip.result, clip.report, clip.warnings)


class SegmentLease(Lease):
    """Lease of one segment of a job."""

    def __init__(self, segments: Segments, job_id: str, number: int, attempt: int) -> None:
        super().__init__(job_id, attempt)
        self._segments, self.number = segments, number

    @property
    def name(self) -> str:
        """Return the job, the segment and the attempt, for the log."""
        return f"job={self.job_id} segment={self.number} attempt={self.attempt}"

    def renew(self, stage: str, progress: Progress) -> Renewal:
        """Renew the lease and record the number of finished frames; the stage of a segment is not recorded."""
        return self._segments.renew(self.job_id, self.number, self.attempt, progress.frames_done)

    def hand_back(self) -> bool:
        """Return the segment to the queue; the attempt is not counted."""
        return self._segments.hand_back(self.job_id, self.number, self.attempt)

    def lose(self) -> bool:
        """Record that the attempt at the segment broke off."""
        return self._segments.lose(self.job_id, self.number, self.attempt)

    def fail(self, error: Mapping[str, object]) -> bool:
        """End the whole job with an error payload."""
        return self._segments.fail(self.job_id, self.number, self.attempt, error)

    def end_canceled(self) -> bool:
        """Return False: canceling a split job ends it at once, and its segments only lose their leases."""
        return False

    def finish(self, frames: int) -> bool:
        """Record that the segment is done, with its number of frames."""
        return self._segments.finish(self.job_id, self.number, self.attempt, frames)
