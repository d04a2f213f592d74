"""The real thing: `lipsync serve` with its own Redis, its own worker and its network, a real face and a real voice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import av
import pytest
import skimage.data
from PIL import Image

from app.client import Client
from app.core.errors import LipSyncError
from model.checkpoint_config import default_checkpoint
from tests.conftest import ROOT
from tests.processes import children_of, command_of, is_gone
from tests.service import wait_until

VOICE = ROOT / "lipsync" / "voice.wav"

pytestmark = pytest.mark.skipif(
    not default_checkpoint().is_file() and "LIPSYNC_CHECKPOINT" not in os.environ, reason="no weights in the package"
)


class Served:
    """One `lipsync serve` process."""

    def __init__(self, data_dir):
        environment = os.environ | {"LIPSYNC_DATA_DIR": str(data_dir), "LIPSYNC_PORT": "0"}
        environment.pop("LIPSYNC_REDIS_URL", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lipsync", "serve"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        line = self._output.readline()
        assert line.startswith("lipsync is ready at http://"), line
        self.client = Client(line.split()[-1])

    def children(self):
        """Return the process ids of its children and of theirs."""
        return [child.pid for child in children_of(self.process.pid, recursive=True)]

    def child(self, words):
        """Return the process id of the direct child whose command line holds the words."""
        (found,) = [child for child in children_of(self.process.pid) if words in " ".join(command_of(child))]
        return found.pid

    def end(self, number=signal.SIGTERM):
        self.client.close()
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._output.close()
        return status


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    Image.fromarray(skimage.data.astronaut()).save(folder / "face.png")
    for name, seconds in (("short", 1.2), ("longer", 3.0)):
        with wave.open(str(VOICE)) as voice, wave.open(str(folder / f"{name}.wav"), "wb") as part:
            part.setparams(voice.getparams())
            part.writeframes(voice.readframes(int(seconds * voice.getframerate())))
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    service = Served(tmp_path_factory.mktemp("served"))
    yield service
    assert service.end() == 0


def submit(served, media, voice="short.wav"):
    return served.client.submit(media / "face.png", media / voice, {"crf": 24})["id"]


def wait_running(served, job_id):
    wait_until(lambda: served.client.status(job_id)["status"] == "running", 30)


def test_a_face_speaks(served, media, tmp_path):
    seen: list[dict[str, Any]] = []
    job = served.client.wait(submit(served, media), seen.append, timeout_s=200)
    assert job["status"] == "succeeded", job["error"]
    assert (job["report"]["face_coverage"], job["result"]["fps"], job["attempt"]) == (1.0, "25", 1)
    assert {state["status"] for state in seen} >= {"running", "succeeded"}
    output = tmp_path / "out.mp4"
    served.client.download(job["id"], output)
    assert output.stat().st_size == job["result"]["bytes"]
    with av.open(str(output)) as container:
        assert container.metadata["synthetic"] == "lip-sync"
        assert sum(1 for _ in container.decode(video=0)) == job["result"]["frames"] == 30
    served.client.delete(job["id"])
    with pytest.raises(LipSyncError, match="not_found"):
        served.client.status(job["id"])


def test_faces_are_found_without_a_job(served, media):
    files = {"video": (media / "face.png").read_bytes(), "audio": (media / "short.wav").read_bytes()}
    answer = served.client._http.post("/jobs/validate", files=files).json()
    (face,) = answer["faces"]
    assert 150 < face["x"] < 300 and 30 < face["y"] < 200 and face["score"] > 0.5


def test_the_command_line_is_a_client(served, media, tmp_path):
    environment = os.environ | {"LIPSYNC_URL": str(served.client._http.base_url)}

    def lipsync(*arguments):
        command = [sys.executable, "-m", "lipsync", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    output = tmp_path / "out.mp4"
    done = lipsync(
        "submit",
        "--video",
        str(media / "face.png"),
        "--audio",
        str(media / "short.wav"),
        "--crf",
        "30",
        "--output",
        str(output),
    )
    assert done.returncode == 0 and output.stat().st_size > 1000, done.stderr
    job_id = done.stdout.strip()
    assert '"succeeded"' in lipsync("status", job_id).stdout
    assert lipsync("wait", job_id).returncode == 0
    refused = lipsync("submit", "--video", str(media / "face.png"), "--audio", str(media / "short.wav"), "--crf", "99")
    assert refused.returncode == 2
    assert refused.stderr == "error: option_invalid: crf: must be at most 40.\n"


def test_another_service_on_the_same_folder_is_refused(served, tmp_path):
    data_dir = Path(f"/proc/{served.process.pid}/environ").read_text().split("LIPSYNC_DATA_DIR=")[1].split("\0")[0]
    environment = os.environ | {"LIPSYNC_DATA_DIR": data_dir, "LIPSYNC_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "lipsync", "serve"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "error: internal: Another `lipsync serve` uses this data folder.",
    )


def test_killed_workers_and_redis_lose_nothing(served, media):
    job_id = submit(served, media, "longer.wav")
    wait_running(served, job_id)
    os.kill(served.child("redis-server"), signal.SIGKILL)
    os.kill(served.child("lipsync worker"), signal.SIGKILL)
    job = served.client.wait(job_id, timeout_s=200)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


def test_a_stop_hands_back_and_a_kill_leaves_no_orphan(tmp_path, media):
    first = Served(tmp_path)
    job_id = submit(first, media, "longer.wav")
    wait_running(first, job_id)
    children, started_at = first.children(), time.monotonic()
    assert first.end() == 0
    assert time.monotonic() - started_at < 40 and all(is_gone(pid) for pid in children)
    second = Served(tmp_path)
    job = second.client.wait(job_id, timeout_s=200)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    children = second.children()
    assert second.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: all(is_gone(pid) for pid in children), 5)
