from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import ErrorCode, InputError, ServiceError
from app.core.listening import listening_sockets
from app.core.probing.probe import find_ffmpeg
from lipsync.bench.figures import Account, BenchPlan, broken_promises
from lipsync.bench.http_load import answers_per_s, form_of, post_form
from lipsync.bench.machine_facts import FLAGS, machine_facts
from lipsync.bench.profile import check_profile
from lipsync.bench.standard_clips import STANDARD_CLIPS, StandardClip, make_clip
from lipsync.bench.table import table
from lipsync.bench.warm_job import last_answer
from lipsync.commands.benchmark import PARTS
from tests.conftest import ROOT

ROW = {
    "name": "short",
    "frames": 25,
    "width": 512,
    "height": 512,
    "wall_s": 1.0,
    "cpu_s": 1.5,
    "threads_busy": 1.5,
    "realtime_factor": 1.0,
    "transcode_s": 0.5,
    "transcode_cpu_s": 0.5,
    "ratio": 2.0,
    "cpu_ratio": 3.0,
    "peak_rss_bytes": 5e8,
    "moved_bytes_per_frame": 2 * 512 * 512 * 1.5,
    "stage_seconds": {"decode": 0.5, "draw": 0.8},
    "stage_cpu_seconds": {"draw": 0.4},
}
SERVICE = {
    "submit_overhead_s": 0.1,
    "polls_per_s": 900.0,
    "polls_per_s_of_one_client": 9.0,
    "poll_cpu_s": 0.0003,
    "upload": {"bytes": 1e8, "received_s": 0.2, "beyond_receiving_s": 0.12, "at_once": 20, "rss_growth_bytes": 12e6},
    "listeners": {"listeners": 1000, "delivered_s": 0.4, "idle_cpu_share": 0.02, "rss_growth_bytes": 5e7},
}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ServiceError(ErrorCode.VIDEO_UNREADABLE, "a.mp4: damaged."), "video_unreadable: a.mp4: damaged."),
        (RuntimeError("the service ended\nwhile starting"), "internal: the service ended while starting"),
        (subprocess.TimeoutExpired(["ffmpeg"], 5), "internal: Command '['ffmpeg']' timed out after 5 seconds"),
        (OSError(28, "No space left on device"), "internal: [Errno 28] No space left on device"),
    ],
)
def test_a_failure_is_noted_and_costs_nothing_else(error: Exception, text: str) -> None:
    def fail() -> dict[str, Any]:
        raise error

    account = Account()
    assert account.measured("bad", fail) is None
    assert account.measured("good", lambda: ROW) == ROW
    assert account.failed == [{"name": "bad", "error": text}]


SECOND = {"phone_20s": {"wall_ratio": 0.8, "cpu_ratio": 0.9}, "portrait_8s": None}


def test_the_table_shows_what_there_is() -> None:
    machine = machine_facts(None)
    figures = {"machine": machine, "clips": [ROW], "second_voice": SECOND, "generator": None, "service": SERVICE}
    shown = table(figures)
    lines = [line.split() for line in shown.splitlines()]
    assert machine["cpu"] in shown and "generator" not in shown
    assert ["ratio", "2.00", "3.00"] in lines and "2.0 frames moved a frame" in shown
    assert lines.index(["draw", "0.80", "0.40", "0.50"]) < lines.index(["decode", "0.50", "0.00", "0.00"])
    assert "submit 100 ms, 900 polls/s" in shown and "120 ms beyond" in shown and "1000 listeners" in shown
    assert "phone_20s: second voice / first 0.80 wall, 0.90 processor" in shown and "portrait_8s:" not in shown
    assert broken_promises(figures) == []


def test_machine_facts_say_what_was_measured() -> None:
    facts = machine_facts(None)
    assert facts["cores"] and facts["memory_bytes"] and facts["versions"]["ffmpeg"] and facts["versions"]["torch"]
    assert set(facts["cpu_flags"]) <= set(FLAGS) and machine_facts("/no/such/ffmpeg")["versions"]["ffmpeg"] is None


def test_the_parts_of_the_command_are_those_of_the_benchmark() -> None:
    assert (*(clip.name for clip in STANDARD_CLIPS), "second_voice", "generator", "service") == PARTS
    assert BenchPlan(only=("service",)).wants("service") and not BenchPlan(only=("service",)).wants("generator")


def test_answers_are_counted_and_a_form_arrives(tmp_path: Path) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        received = 0
        while (message := await receive())["type"] == "http.request":
            received += len(message["body"])
            if not message["more_body"]:
                break
        status = 200 if scope["path"] == "/" else 404
        headers = [(b"content-length", b"2"), (b"x-received", str(received).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    with _served(application) as url:
        assert answers_per_s(url, "/", 3, 0.2) > 0
        with pytest.raises(ConnectionError, match="404"):
            answers_per_s(url, "/none", 1, 5.0)
        kind, body = form_of([("video", b"v" * 300_000)])
        took_s, answer = post_form(url, "/", kind, body)
        assert took_s > 0 and answer.status_code == 200 and int(answer.headers["x-received"]) == len(body)


@contextmanager
def _served(application: ASGIApp) -> Iterator[str]:
    sockets = listening_sockets("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, args=(sockets,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.mark.parametrize("name", ["flames.html", "flames", "flames.svg.gz"])
def test_a_profile_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="--profile"):
        check_profile(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "internal"),
        ("killed in the middle of {", "internal"),
        ('noise\n{"error": {"code": "no_face_detected", "message": "m"}}\n', "no_face_detected"),
    ],
)
def test_a_job_without_figures_has_an_error(text: str, code: str) -> None:
    assert last_answer(text, -9)["error"]["code"] == code


@pytest.mark.slow
def test_one_clip_that_fails_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no film")
    good = make_clip(StandardClip("good", 256, 256, 25, 2), tmp_path, find_ffmpeg(None))
    saved = tmp_path / "figures.json"
    words = ["bench", "--clip", str(tmp_path / "bad.mp4"), "--clip", str(good), "--json", str(saved)]
    command = [sys.executable, "-m", "lipsync", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    assert "error: video_unreadable: bad.mp4" in ended.stderr and "good" in ended.stdout
    figures = json.loads(saved.read_text())
    assert [clip["name"] for clip in figures["clips"]] == ["good"] and figures["generator"]["crops_per_s"] > 0
    assert figures["second_voice"] == {}
    assert [failure["name"] for failure in figures["failed"]] == ["bad"]
