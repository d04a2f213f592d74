"""A real Redis and a real HTTP server for tests, and the facts of files that were never probed."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from fastapi import FastAPI

from app.connections import ConnectionLimits
from app.core.errors import ErrorCode, InputError
from app.core.jobs import AudioFacts, JobInput, Report, VideoFacts
from app.core.listening import listening_sockets
from app.core.outgoing.client import OutgoingClient
from app.core.outgoing.policy import OutgoingPolicy
from app.core.picture_facts import PictureFacts
from app.core.private_redis import redis_command
from app.core.records.connection import connect
from app.core.records.records import WorkerFacts
from app.server import make_server
from app.services import Outside, Prober
from app.shutdown import DRAIN_S
from app.uploads import UploadPace

VIDEO = VideoFacts(
    kind="video",
    format="mov",
    codec="h264",
    width=640,
    height=480,
    fps="25",
    frames=250,
    duration_s=10.0,
    rotation=0,
    variable_frame_rate=False,
    has_audio=True,
    bytes=1000,
    sha256="a" * 64,
    picture=PictureFacts(0, "1/12800", True, False, False, 2, 2, 2, aspects=((1.5, "4/3"),), crop=(1, 2, 3, 4)),
)
AUDIO = AudioFacts(
    format="wav", codec="pcm_s16le", sample_rate_hz=16000, channels=1, duration_s=4.0, bytes=500, sha256="b" * 64
)
INPUT = JobInput(video=VIDEO, audio=AUDIO)
REPORT = Report(
    face_coverage=1,
    face_height_px=120,
    stage_seconds={"decode": 1},
    realtime_factor=0.5,
    checkpoint="net",
    device="cpu",
)

WORKER = WorkerFacts(
    name="host-7",
    pid=7,
    device="cpu",
    precision="bf16",
    checkpoint="net.safetensors",
    checkpoint_sha256="d" * 64,
    version="1",
)


@contextmanager
def running_redis(data: Path, url: str | None = None) -> Iterator[str]:
    """Run a private redis-server on the data of before and yield its address, a given one where it has to come back.

    Short folder name, because socket paths are limited.
    """
    with tempfile.TemporaryDirectory(prefix="ls-") as folder:
        address = Path(url.removeprefix("unix://")) if url else Path(folder, "r.sock")
        address.parent.mkdir(exist_ok=True)
        process = subprocess.Popen(redis_command(data, address))
        try:
            client = connect(f"unix://{address}")
            wait_until(lambda: _answers(client), 10)
            client.close()
            yield f"unix://{address}"
        finally:
            process.terminate()
            process.wait(60)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


class LiveServer:
    """An application on a real socket, served by a thread."""

    def __init__(self, app: FastAPI, limits: ConnectionLimits) -> None:
        sockets = listening_sockets("127.0.0.1", 0)
        self.port = sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = make_server(app, limits)
        self._thread = threading.Thread(target=self._server.run, args=(sockets,))
        self._thread.start()
        wait_until(lambda: self._server.started, 10)

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._server.server_state.connections)

    def ask_to_end(self, drain_s: float = DRAIN_S) -> None:
        """Do what a signal does."""
        self._server.drain_s = drain_s
        self._server.should_exit = True

    def join(self) -> None:
        """Wait for its end; fail where it does not come."""
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextmanager
def live_server(app: FastAPI, limits: ConnectionLimits | None = None) -> Iterator[LiveServer]:
    """Serve an application until left."""
    server = LiveServer(app, limits or ConnectionLimits())
    try:
        yield server
    finally:
        server.ask_to_end()
        server.join()


def fake_prober() -> Prober:
    """Return a prober that believes every file, except one that is empty or begins with `bad`."""

    def digest(path: Path, known: str | None) -> tuple[int, str]:
        content = path.read_bytes()
        assert known in (None, hashlib.sha256(content).hexdigest())
        if not content or content.startswith(b"bad"):
            raise InputError(ErrorCode.VIDEO_UNREADABLE, "The file cannot be read.")
        return len(content), hashlib.sha256(content).hexdigest()

    def video(path: Path, known: str | None) -> VideoFacts:
        size, sha256 = digest(path, known)
        return VIDEO.model_copy(update={"bytes": size, "sha256": sha256})

    def audio(path: Path, known: str | None) -> AudioFacts:
        size, sha256 = digest(path, known)
        return AUDIO.model_copy(update={"bytes": size, "sha256": sha256})

    return Prober(video, audio)


def fake_outside() -> Outside:
    """Return an outside whose files are believed and whose hosts are never reached."""
    return Outside(fake_prober(), UploadPace(), OutgoingClient(OutgoingPolicy()))


def put(storage, job_id, name, content):
    """Have the storage keep these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        storage.put(job_id, name, path)


SLOWDOWN = 6  # how much slower than alone a test may run on a busy machine


def wait_until(condition, timeout_s: float, poll_s: float = 0.05):
    """Return the first true value of the condition; fail after the time that a busy machine needs."""
    deadline = time.monotonic() + SLOWDOWN * timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(poll_s)
    raise AssertionError(f"nothing happened in {SLOWDOWN * timeout_s} s")
