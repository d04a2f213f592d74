"""Demo: the sample goes through a real service over HTTP, from upload to MP4."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import av
from tqdm import tqdm

from app.client import Client
from lipsync.running_service import running_service
from lipsync.sample import VOICE, portrait

OUTPUT: Final = Path("demo.mp4")
JOB_TIMEOUT_S: Final = 600


def main() -> int:
    """Run the demo, write demo.mp4 into the current folder and return the exit status."""
    with tempfile.TemporaryDirectory(prefix="lipsync-demo-") as name:
        folder = Path(name)
        face = folder / "portrait.png"
        portrait().save(face)
        print("starting the service ...", flush=True)
        with running_service(folder) as url, Client(url) as client:
            print(f"it listens on {url}; sending portrait and voice to POST /jobs", flush=True)
            job = client.submit(face, VOICE)
            with tqdm(total=100, unit="%", desc="lip-sync") as bar:
                job = client.wait(job["id"], lambda state: _show(bar, state), JOB_TIMEOUT_S)
            if job["status"] != "succeeded":
                print(f"error: {job['error']['code']}: {job['error']['message']}", file=sys.stderr)
                return 1
            client.download(job["id"], OUTPUT)
    return _check_length(job)


def _show(bar: tqdm[Any], job: dict[str, Any]) -> None:
    bar.set_postfix_str(job["stage"] or job["status"])
    bar.update(job["progress"]["percent"] - bar.n)


def _check_length(job: dict[str, Any]) -> int:
    with av.open(str(VOICE)) as voice, av.open(str(OUTPUT)) as video:
        speech_s = float(voice.duration or 0) / av.time_base
        video_s = float(video.duration or 0) / av.time_base
        frames = sum(1 for _ in video.decode(video=0))
    speed = job["report"]["realtime_factor"]
    print(
        f"{OUTPUT.resolve()}: {frames} frames, {video_s:.2f} s for {speech_s:.2f} s of speech, "
        f"{speed:.2f} s of work per second of video"
    )
    if abs(video_s - speech_s) > 1 / 25 + 0.03:  # one frame, and the padding of AAC
        print("error: the length of the video is not that of the speech", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
