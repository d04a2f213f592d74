"""How fast this service works, from its last jobs: an estimate for the next one."""

from __future__ import annotations

import json
from statistics import median
from typing import Final, cast

import redis

from app.core.records.keys import Key

KEPT: Final = 50
ENOUGH: Final = 3
ALIKE: Final = 2.0  # most by which the pixels of two pictures differ for the same seconds per frame


class Speeds:
    """Seconds per frame of the last jobs; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def record(self, pixels: int, frames: int, work_s: float) -> None:
        """Remember how long a job of so many frames with so many pixels each took."""
        pipeline = self._redis.pipeline()
        pipeline.lpush(Key.SPEEDS, json.dumps([pixels, work_s / max(1, frames)]))
        pipeline.ltrim(Key.SPEEDS, 0, KEPT - 1)
        pipeline.execute()

    def estimate_s(self, pixels: int, frames: int) -> float | None:
        """Return the seconds that a free worker needs for such a job; None before the first job has ended.

        It is the median of jobs with pictures of about this size; without enough of them, of all jobs, in proportion to
        the square root of the pixels, because a larger picture costs more, but the face in it about the same.
        """
        known = [cast("tuple[int, float]", tuple(json.loads(text))) for text in self._redis.lrange(Key.SPEEDS, 0, -1)]
        if not known:
            return None
        alike = [per_frame_s for seen, per_frame_s in known if 1 / ALIKE <= seen / pixels <= ALIKE]
        if len(alike) < ENOUGH:
            alike = [per_frame_s * (pixels / seen) ** 0.5 for seen, per_frame_s in known]
        return round(median(alike) * frames, 1)
