"""Mutated files and requests against a real `lipsync serve` on this machine."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import psutil
import skimage

from app.core.errors import ErrorCode
from app.core.parent_death import tied_to_this_process
from tests.chaos.findings import Findings
from tests.conftest import ROOT
from tests.fuzz.bases import Base
from tests.fuzz.direct import LIMIT_S, case_content
from tests.fuzz.mutations import mutate
from tests.processes import children_of, command_of, is_gone, name_of, resident_bytes

FIRST_CASE: Final = 1_000_000  # so that these files differ from those that are opened directly
JOB_SHARE: Final = 4  # one file in so many becomes a job, the others are only checked
JOB_TIMEOUT_S: Final = 120.0
GROWTH_BYTES: Final = 400 * 1024**2  # of the API's and the workers' memory together
PATIENCE_S: Final = 2.0
SETTLE_S: Final = 20.0
PORTRAIT: Final = Path(skimage.__file__).parent / "data" / "astronaut.png"  # NASA, public domain
BOUNDARY: Final = "fuzzed-boundary"


class ServedProcess:
    """A `lipsync serve`, its address, and its child processes."""

    def __init__(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LIPSYNC_")}
        environment |= {"LIPSYNC_DATA_DIR": str(folder / "data"), "LIPSYNC_PORT": "0", "OMP_NUM_THREADS": "1"}
        self._log = (folder / "serve.log").open("wb")
        self._process = subprocess.Popen(
            tied_to_this_process([sys.executable, "-m", "lipsync", "serve"]),
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("lipsync is ready at http://"):
            raise RuntimeError(f"the service did not start: {line}")
        self.url = line.split()[-1]

    def children(self) -> list[psutil.Process]:
        """Return all processes below it."""
        return children_of(self._process.pid, recursive=True)

    def working_children(self) -> list[str]:
        """Return the commands of the children that open files."""
        found = []
        for child in self.children():
            command = command_of(child)
            if any("ffmpeg" in Path(part).name for part in command[:1]) or name_of(child).startswith("probing.child"):
                found.append(" ".join(command)[:200])
        return found

    def members(self) -> dict[str, int]:
        """Return the process ids of the direct children by their commands, so that a restart is noticed."""
        return {" ".join(command_of(child)[-4:]): child.pid for child in children_of(self._process.pid)}

    def resident_bytes(self) -> int:
        """Return the memory of all processes together."""
        return sum(map(resident_bytes, self.children()))

    def end(self) -> int:
        """Ask it to end and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()
        return status


@contextmanager
def served(folder: Path, findings: Findings, files: dict[str, bytes]) -> Iterator[ServedProcess]:
    """Run a service that has done one job with these files, and check at the end that it works and leaves nothing."""
    service = ServedProcess(folder)
    try:
        with httpx.Client(base_url=service.url, timeout=JOB_TIMEOUT_S) as http:
            http.post("/jobs/validate", files=files)
            _outcome_of(http, http.post("/jobs", files=files))
        members, resident = service.members(), service.resident_bytes()
        yield service
        deadline = time.monotonic() + SETTLE_S
        while service.working_children() and time.monotonic() < deadline:
            time.sleep(0.2)
        left = service.working_children()
        findings.promise(f"no child is left {left or ''}", not left)
        findings.promise("API and worker stay up", service.members() == members and _works(service.url))
        grown = service.resident_bytes() - resident
        findings.promise(f"memory grows by less than {GROWTH_BYTES / 2**20:.0f} MiB", grown < GROWTH_BYTES)
        findings.figures("service", f"memory {resident / 1e6:.0f} MB before, {grown / 1e6:+.0f} MB after")
    finally:
        children = service.children()
        status = service.end()
        alive = [child for child in children if not is_gone(child.pid)]
        findings.promise("the service ends with nothing left", status == 0 and not alive)


def run_through_service(folder: Path, findings: Findings, bases: Sequence[Base], seed: int, count: int) -> None:
    """Send `count` mutated files, and as many mutated requests."""
    pictures = [base for base in bases if not base.is_voice]
    good = {
        False: next(base for base in bases if base.name == "h264_aac.mp4").content,
        True: next(base for base in bases if base.name == "pcm.wav").content,
    }
    files = {"video": PORTRAIT.read_bytes(), "audio": good[True]}
    with served(folder, findings, files) as service, httpx.Client(base_url=service.url, timeout=LIMIT_S * 3) as http:

        def send_file(index: int) -> tuple[str, float]:
            base, content, name = case_content(bases, seed, FIRST_CASE + index)
            video, audio = (good[False], content) if base.is_voice else (content, good[True])
            path = "/jobs" if index % JOB_SHARE == 0 else "/jobs/validate"
            started = time.monotonic()
            try:
                answer = http.post(path, files={"video": video, "audio": audio}, data={"preset": "ultrafast"})
                took_s = time.monotonic() - started
                outcome = _outcome_of(http, answer)
            except httpx.TimeoutException:
                outcome, took_s = "no answer", time.monotonic() - started
            if not _is_promised(outcome) or took_s > LIMIT_S:
                findings.note(f"  {name} {path}: {outcome} after {took_s:.1f} s")
            return outcome, took_s

        def send_request(index: int) -> tuple[str, float]:
            request = mutated_request(seed, index, good, pictures)
            started = time.monotonic()
            outcome = exchange(service.url, request)
            took_s = time.monotonic() - started
            if not _is_promised(outcome) or took_s > LIMIT_S:
                findings.note(f"  request {seed}/{index}: {outcome} after {took_s:.1f} s: {request[:200]!r}")
            return outcome, took_s

        for name, send in (("service files", send_file), ("requests", send_request)):
            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(send, range(count)))
            # again and alone, because other programs may have had the processor
            for index, (_, took_s) in enumerate(answers):
                if took_s > LIMIT_S:
                    answers[index] = send(index)
            _report(findings, name, answers)
        _end_all_jobs(http)


def _report(findings: Findings, name: str, answers: Sequence[tuple[str, float]]) -> None:
    outcomes, slowest_s = Counter(outcome for outcome, _ in answers), max(took_s for _, took_s in answers)
    text = ", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common())
    findings.figures(name, f"{len(answers)} mutated, {text}; slowest {slowest_s:.1f} s")
    findings.promise(f"{name}: success or a coded refusal", all(map(_is_promised, outcomes)))
    findings.promise(f"{name}: within {LIMIT_S:g} s", slowest_s <= LIMIT_S)


def _outcome_of(http: httpx.Client, answer: httpx.Response) -> str:
    """Return how a file ended: the code of the refusal, or the code or state of its job, which is then deleted."""
    if answer.status_code == 202:
        job = answer.json()
        deadline = time.monotonic() + JOB_TIMEOUT_S
        while job["status"] in ("queued", "running") and time.monotonic() < deadline:
            job = http.get(f"/jobs/{job['id']}", params={"wait": 10}).json()
        http.delete(f"/jobs/{job['id']}")
        return str(job["error"]["code"]) if job["error"] else str(job["status"])
    if answer.status_code >= 500 or "code" not in answer.json():
        return f"valid {answer.status_code}" if answer.status_code == 200 else f"HTTP {answer.status_code}"
    return str(answer.json()["code"])


def _is_promised(outcome: str) -> bool:
    fine = {"succeeded", "valid 200", "closed", *(str(code) for code in ErrorCode)} - {str(ErrorCode.INTERNAL)}
    return outcome in fine or outcome.startswith(("HTTP 2", "HTTP 3", "HTTP 4"))


def mutated_request(seed: int, index: int, good: dict[bool, bytes], pictures: Sequence[Base]) -> bytes:
    """Return the bytes of a request: a form, a JSON body or a query, with its mutations anywhere."""
    form = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{suffix}\r\n\r\n'.encode() + content + b"\r\n"
        for name, suffix, content in (
            ("sync_mode", "", b"loop"),
            ("metadata", "", json.dumps({"a": [1, None, "\u00e9"]}).encode()),
            ("video", '; filename="face.mp4"', pictures[index % len(pictures)].content[:3000]),
            ("audio", '; filename="voice.wav"', good[True][:2000]),
            ("end_s", "", b"1.5"),
        )
    )
    form += f"--{BOUNDARY}--\r\n".encode()
    multipart = f"multipart/form-data; boundary={BOUNDARY}"
    item = {"video": "face.mp4", "audio": "http://127.0.0.1/a", "options": {"crf": 20, "face": "index:0"}}
    upload = {"video": "upload:" + "0" * 32, "audio": "face.mp4", "options": {"metadata": {"a": [1]}}}
    options = json.dumps([item, upload]).encode()
    batch = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in (("jobs", options), ("face.mp4", pictures[index % len(pictures)].content[:3000]))
    )
    batch += f"--{BOUNDARY}--\r\n".encode()
    job = f"/jobs/{index:032x}"
    kinds = (
        ("POST", "/jobs", multipart, form),
        ("POST", "/jobs/validate", multipart, form),
        ("POST", "/batches", multipart, batch),
        ("POST", "/uploads", "application/json", b'{"bytes": 1000}'),
        ("DELETE", f"/uploads/{index:032x}", "text/plain", b""),
        ("POST", f"/webhooks/{index:032x}-1-0/resend", "application/json", b"{}"),
        ("POST", f"{job}/cancel", "application/json", b"{}"),
        ("GET", "/jobs?status=queued&limit=10&cursor=abc", "text/plain", b""),
        ("GET", f"{job}/result?download=1", "text/plain", b""),
        ("DELETE", job, "application/json", options),
    )
    method, path, kind, body = kinds[index % len(kinds)]
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    whole = head.encode() + b"Idempotency-Key: abc\r\nRange: bytes=0-1\r\nConnection: close\r\n\r\n" + body
    if index % 2:  # only the body, so that the request itself reaches the service
        at = whole.index(b"\r\n\r\n") + 4
        return whole[:at] + mutate(body, [form, batch, options], f"{seed}/request/{index}") if body else whole
    return mutate(whole, [form, batch, options, whole], f"{seed}/request/{index}")


def exchange(url: str, request: bytes) -> str:
    """Send raw bytes and return `HTTP` with the status, or `closed` where no answer came."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=LIMIT_S * 3) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
            if not select.select([connection], [], [], PATIENCE_S)[0]:  # the service waits for more, which never comes
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError, TimeoutError):
            while part := connection.recv(65536):
                received += part
    return received[:12].decode("ascii", "replace").replace("/1.1", "") if received else "closed"


def _end_all_jobs(http: httpx.Client) -> None:
    """Cancel and delete the jobs that mutated requests have made."""
    while jobs := http.get("/jobs").json().get("jobs"):
        for job in jobs:
            http.post(f"/jobs/{job['id']}/cancel")
            http.delete(f"/jobs/{job['id']}")


def _works(url: str) -> bool:
    return all(httpx.get(f"{url}{path}", timeout=20).status_code == 200 for path in ("/healthz", "/readyz"))
