from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import ErrorCode, ServiceError
from app.core.probing.probe import find_ffmpeg
from lipsync.bench.figures import Account, broken_promises, table
from lipsync.bench.standard_clips import StandardClip, make_clip
from lipsync.bench.warm_job import last_answer
from tests.conftest import ROOT

ROW = {
    "name": "short",
    "frames": 25,
    "wall_s": 1.0,
    "realtime_factor": 1.0,
    "transcode_s": 0.5,
    "ratio": 2.0,
    "peak_rss_bytes": 5e8,
    "stage_seconds": {"decode": 0.5},
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


def test_the_table_shows_what_there_is() -> None:
    figures = {"clips": [ROW], "generator": None, "service": {"submit_overhead_s": 0.1, "polls_per_s": 9.0}}
    shown = table(figures)
    assert "short" in shown and "submit 100 ms" in shown and "generator" not in shown
    assert broken_promises(figures) == []


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
    assert [failure["name"] for failure in figures["failed"]] == ["bad"]
