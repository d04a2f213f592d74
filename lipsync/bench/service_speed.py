"""Cost of the service itself, over real HTTP: submissions, uploads, polls and listeners.

The API runs alone, with a Redis of its own and without workers, so nothing else needs the processor and jobs wait until
they are canceled. What an upload costs is compared with a server that only receives the same bytes, in the same run.
"""

from __future__ import annotations

import io
import os
import secrets
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from app.connections import raise_descriptor_limit
from app.core.private_redis import redis_command
from lipsync.bench.http_load import READ_BYTES, answers_per_s, dial, form_of, get_request, post_form
from lipsync.bench.process_costs import tree_cpu_s
from lipsync.sample import VOICE, portrait
from lipsync.supervisor import free_port

SUBMISSIONS: Final = 5
POLL_SECONDS: Final = 3.0
POLL_CLIENTS: Final = 8
UPLOAD_BYTES: Final = 100 * 10**6
UPLOADS_AT_ONCE: Final = 20
LISTENERS: Final = 1000
IDLE_SECONDS: Final = 10.0
START_TIMEOUT_S: Final = 60.0
DELIVERY_TIMEOUT_S: Final = 60.0

# A server that receives a body and does nothing with it: what no service can be faster than.
RECEIVER: Final = """
import sys, uvicorn
async def app(scope, receive, send):
    while scope["type"] == "http" and (await receive()).get("more_body"):
        pass
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
uvicorn.run(app, port=int(sys.argv[1]), http="h11", loop="uvloop", ws="none", lifespan="off", log_config=None)
"""


def measure_service(clip: Path) -> dict[str, Any]:
    """Measure the service; `clip`: a film that is made as large as UPLOAD_BYTES by bytes that players skip.

    Returns {submit_overhead_s: median of `POST /jobs` with small files, polls_per_s, polls_per_s_of_one_client,
    upload: {...}, listeners: {...}}.
    """
    raise_descriptor_limit()  # for the connections of listeners
    picture = io.BytesIO()
    portrait().save(picture, "PNG")
    with tempfile.TemporaryDirectory(prefix="ls-") as name, _api(Path(name)) as api, _receiver() as receiver:
        small = form_of([("video", picture.getvalue()), ("audio", VOICE.read_bytes())])
        answers = [post_form(api.url, "/jobs", *small) for _ in range(SUBMISSIONS)]
        job = answers[0][1].raise_for_status().headers["location"]
        large = form_of([("video", _padded(clip.read_bytes())), ("audio", VOICE.read_bytes())])
        return {
            "submit_overhead_s": statistics.median(took_s for took_s, _ in answers),
            "polls_per_s": answers_per_s(api.url, job, POLL_CLIENTS, POLL_SECONDS),
            "polls_per_s_of_one_client": answers_per_s(api.url, job, 1, POLL_SECONDS),
            "poll_cpu_s": _poll_cpu_s(api, job),
            "upload": _uploads(api, receiver, *large),
            "listeners": _listeners(api, job),
        }


class _Api:
    """Running API: its address and its process."""

    def __init__(self, url: str, pid: int) -> None:
        self.url, self.pid = url, pid

    @property
    def rss_bytes(self) -> int:
        """Return the resident memory of the server, without children."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def cancel(self, job: str) -> None:
        """Cancel a job."""
        httpx.post(f"{self.url}{job}/cancel", timeout=DELIVERY_TIMEOUT_S).raise_for_status()


@contextmanager
def _api(folder: Path) -> Iterator[_Api]:
    """Run `lipsync api` with a Redis of its own."""
    port, redis_socket = free_port("127.0.0.1"), folder / "redis.sock"
    own = {"REDIS_URL": f"unix://{redis_socket}", "DATA_DIR": str(folder / "data"), "PORT": str(port), "AUTH": "off"}
    environment = os.environ | {f"LIPSYNC_{name}": value for name, value in own.items()}
    with _process(redis_command(folder, redis_socket)):
        _wait_for(redis_socket.exists)
        with _process([sys.executable, "-m", "lipsync", "api"], environment) as pid:
            url = f"http://127.0.0.1:{port}"
            _wait_for(lambda: _answers(f"{url}/healthz"))
            yield _Api(url, pid)


@contextmanager
def _receiver() -> Iterator[str]:
    port = free_port("127.0.0.1")
    with _process([sys.executable, "-c", RECEIVER, str(port)]):
        url = f"http://127.0.0.1:{port}"
        _wait_for(lambda: _answers(url))
        yield url


@contextmanager
def _process(command: list[str], environment: dict[str, str] | None = None) -> Iterator[int]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the service was not there after {START_TIMEOUT_S:g} s")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _padded(film: bytes) -> bytes:
    """Return an MP4 that is as long as UPLOAD_BYTES, with random bytes in a `free` box at its end."""
    left = max(8, UPLOAD_BYTES - len(film))
    return film + left.to_bytes(4, "big") + b"free" + secrets.token_bytes(left - 8)


def _poll_cpu_s(api: _Api, job: str) -> float:
    """Return the processor seconds of the API for one poll of several clients."""
    before = tree_cpu_s(api.pid)
    answers = answers_per_s(api.url, job, POLL_CLIENTS, POLL_SECONDS) * POLL_SECONDS
    return (tree_cpu_s(api.pid) - before) / answers


def _uploads(api: _Api, receiver: str, kind: bytes, body: bytes) -> dict[str, Any]:
    """Return what a large upload costs beyond receiving it, and how much memory many at once take."""
    beyond_s, received_s = [], []
    for _ in range(SUBMISSIONS):
        received_s.append(post_form(receiver, "/", kind, body)[0])
        took_s, answer = post_form(api.url, "/jobs", kind, body)
        beyond_s.append(took_s - received_s[-1])
        httpx.delete(f"{api.url}{answer.raise_for_status().headers['location']}").raise_for_status()
    growth = _rss_growth_bytes(api, kind, body)
    return {
        "bytes": len(body),
        "received_s": statistics.median(received_s),
        "beyond_receiving_s": statistics.median(beyond_s),
        "at_once": UPLOADS_AT_ONCE,
        "rss_growth_bytes": growth,
    }


def _rss_growth_bytes(api: _Api, kind: bytes, body: bytes) -> int:
    before = peak = api.rss_bytes
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as pool:
        uploads = [pool.submit(post_form, api.url, "/jobs", kind, body) for _ in range(UPLOADS_AT_ONCE)]
        while not all(upload.done() for upload in uploads):
            peak = max(peak, api.rss_bytes)
            time.sleep(0.01)
    for upload in uploads:
        _, answer = upload.result()
        httpx.delete(f"{api.url}{answer.raise_for_status().headers['location']}").raise_for_status()
    return peak - before


def _listeners(api: _Api, job: str) -> dict[str, Any]:
    """Return what many event streams cost while nothing happens, and how long they wait for the end of the job."""
    with ExitStack() as opened, selectors.DefaultSelector() as ready:
        rss_before = api.rss_bytes
        for _ in range(LISTENERS):
            connection = opened.enter_context(closing(dial(api.url)))
            connection.sendall(get_request(f"{job}/events"))
            ready.register(connection, selectors.EVENT_READ)
        _read_until(ready, b"event: status", LISTENERS)
        cpu_before, started = tree_cpu_s(api.pid), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        idle_cpu = (tree_cpu_s(api.pid) - cpu_before) / (time.perf_counter() - started)
        rss_bytes = api.rss_bytes - rss_before
        started = time.perf_counter()
        api.cancel(job)
        _read_until(ready, b"event: end", LISTENERS)
        delivered_s = time.perf_counter() - started
    return {
        "listeners": LISTENERS,
        "delivered_s": delivered_s,
        "idle_cpu_share": idle_cpu,
        "rss_growth_bytes": rss_bytes,
    }


def _read_until(ready: selectors.BaseSelector, text: bytes, wanted: int) -> None:
    """Read all connections until so many have got the text."""
    received: dict[int, bytes] = {}
    complete: set[int] = set()
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    while len(complete) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"events were not delivered within {DELIVERY_TIMEOUT_S:g} s")
        for key, _ in ready.select(1.0):
            block = key.fileobj.recv(READ_BYTES)  # type: ignore[union-attr]
            so_far = received[key.fd] = received.get(key.fd, b"") + block
            if text in so_far:
                complete.add(key.fd)
            if not block:
                ready.unregister(key.fileobj)
            if so_far.startswith(b"HTTP/1.1 429"):
                raise RuntimeError("the service takes fewer listeners")
