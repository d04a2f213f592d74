"""Client of the stack: jobs over HTTP through the published port, and checks of their results."""

from __future__ import annotations

import hashlib
import time
import wave
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import httpx
import numpy as np
import skimage

VOICE: Final = Path(__file__).parents[2] / "lipsync" / "voice.wav"
PORTRAIT: Final = Path(skimage.__file__).parent / "data" / "astronaut.png"  # NASA, public domain
READY_TIMEOUT_S: Final = 180.0
POLL_S: Final = 0.3
IMAGE_FPS: Final = 25  # frame rate of a video that was made from a still picture
COMPARED_PX: Final = 128  # frames are compared in this size, because averaging removes most noise of the encoder
MOVED_LEVELS: Final = 4.0  # grey levels of 255; a mouth that opens changes more than that


class BrokenPromiseError(Exception):
    """Promise of the stack that does not hold."""


class StackClient:
    """Client of the running stack."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)
        self._portrait = PORTRAIT.read_bytes()

    def use_key(self, token: str) -> None:
        """Send this API key with every call."""
        self._http.headers["Authorization"] = f"Bearer {token}"

    def wait_until_ready(self) -> None:
        """Wait until the service reports that it is ready."""
        self._until("the service is ready", self._is_ready, READY_TIMEOUT_S)

    def _is_ready(self) -> bool:
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False  # not listening yet

    def submit(self, voice: Path) -> dict[str, Any]:
        """Send the astronaut's portrait with a voice and return the accepted job."""
        files = {"video": ("portrait.png", self._portrait), "audio": (voice.name, voice.read_bytes())}
        answer = self._http.post("/jobs", files=files, data={"sync_mode": "loop"})
        if answer.status_code != 202:
            raise BrokenPromiseError(f"POST /jobs answered {answer.status_code}: {answer.text}")
        job: dict[str, Any] = answer.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the job as it is now."""
        answer = self._http.get(f"/jobs/{job_id}")
        if answer.status_code != 200:
            raise BrokenPromiseError(f"GET /jobs/{job_id} answered {answer.status_code}: {answer.text}")
        job: dict[str, Any] = answer.json()
        return job

    def wait(self, job_id: str, timeout_s: float) -> dict[str, Any]:
        """Wait until the job has ended and return it; raises BrokenPromiseError if it did not succeed."""
        self._until("the job has ended", lambda: self.job(job_id)["finished_at"] is not None, timeout_s)
        job = self.job(job_id)
        if job["status"] != "succeeded":
            raise BrokenPromiseError(f"the job {job['status']}: {job['error']}")
        return job

    def wait_until_working(self, job_ids: list[str], timeout_s: float) -> None:
        """Wait until all of these jobs are running and have done frames, at the same time."""

        def are_working() -> bool:
            jobs = [self.job(job_id) for job_id in job_ids]
            if ended := [job["id"] for job in jobs if job["finished_at"] is not None]:
                raise BrokenPromiseError(f"ended before it was seen running: {ended}")
            return all(job["status"] == "running" and job["progress"]["frames_done"] > 0 for job in jobs)

        self._until(f"{len(job_ids)} jobs are running", are_working, timeout_s)

    def cancel(self, job_id: str, timeout_s: float) -> None:
        """Cancel a job and wait until it is canceled."""
        self._http.post(f"/jobs/{job_id}/cancel").raise_for_status()
        self._until("the job is canceled", lambda: self.job(job_id)["status"] == "canceled", timeout_s)

    def download(self, job: dict[str, Any], target: Path) -> Path:
        """Fetch the result and compare its hash with that of the job."""
        content = self._http.get(f"/jobs/{job['id']}/result").raise_for_status().content
        if hashlib.sha256(content).hexdigest() != job["result"]["sha256"]:
            raise BrokenPromiseError("the result's SHA-256 is not the one in the job")
        target.write_bytes(content)
        return target

    @staticmethod
    def _until(condition: str, holds: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise BrokenPromiseError(f"not within {timeout_s:g} s: {condition}")
            time.sleep(POLL_S)


def make_voice(path: Path, seconds: float) -> Path:
    """Write `seconds` of the sample voice, which is repeated if it is shorter."""
    with wave.open(str(VOICE)) as source:
        parameters = source.getparams()
        sound = source.readframes(parameters.nframes)
    wanted = round(seconds * parameters.framerate) * parameters.sampwidth * parameters.nchannels
    with wave.open(str(path), "wb") as target:
        target.setparams(parameters)
        target.writeframes((sound * (wanted // len(sound) + 1))[:wanted])
    return path


def check_video(path: Path, job: dict[str, Any], seconds: float) -> None:
    """Check codecs, length and movement of a result; raises BrokenPromiseError.

    The source is a still picture, so all movement was synthesized.
    """
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        found = (video.codec_context.name, video.pix_fmt, audio.codec_context.name, video.average_rate)
        frames = [
            frame.reformat(COMPARED_PX, COMPARED_PX, "gray", interpolation="AREA").to_ndarray().astype(np.float32)
            for frame in container.decode(video)
        ]
    if found != ("h264", "yuv420p", "aac", Fraction(IMAGE_FPS)):
        raise BrokenPromiseError(f"the result holds {found}")
    if len(frames) != job["result"]["frames"] or abs(len(frames) - seconds * IMAGE_FPS) > 1:
        raise BrokenPromiseError(f"{len(frames)} frames for {seconds} s; the job says {job['result']['frames']}")
    if max(float(np.abs(frame - frames[0]).max()) for frame in frames) < MOVED_LEVELS:
        raise BrokenPromiseError("nothing moves in the result")
