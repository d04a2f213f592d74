from __future__ import annotations

import csv
import os
import resource
import signal
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from app.core.errors import ErrorCode, InputError, LipSyncError, ServiceError
from app.core.jobs import AudioFacts, VideoFacts
from app.core.probing.answer import READY
from app.core.probing.demux import too_long
from app.core.probing.probe import Limits, ProbeBrokenError, facts_of, find_ffmpeg, probe_audio, probe_video
from tests.conftest import ROOT
from tests.processes import children_of, name_of
from tests.service import wait_until

LIMITS = Limits()
# Code of each refused file; files that are not in this table are accepted.
CODES = {
    ErrorCode.VIDEO_UNREADABLE: """
        archive.zip image_text.png image_truncated.jpg image_zero_bytes.png video_cut_1pct_index_last.mp4
        video_cut_50pct_index_first.mp4 video_cut_50pct_index_last.mp4 video_cut_99pct_index_last.mp4
        video_html_error_page.mp4 video_mdat_missing.mp4 video_moov_missing.mp4 video_random_bytes.mp4 video_text.mp4
        video_zero_bytes.mp4 video_zero_frames.mp4 video_zip_named.mp4""",
    ErrorCode.VIDEO_STREAM_MISSING: "video_audio_only.mp4 video_cover_only.mp4 video_wav_named.mp4",
    ErrorCode.AUDIO_UNREADABLE: "audio_nan_float.wav audio_random_bytes.mp3 audio_text.wav audio_zero_bytes.wav",
    ErrorCode.AUDIO_STREAM_MISSING: "audio_no_sound.mp4",
    ErrorCode.AUDIO_TOO_SHORT: "audio_one_sample.wav audio_zero_samples.wav",
    ErrorCode.DURATION_EXCEEDED: "video_timestamp_gap_10h.mp4",
    ErrorCode.RESOLUTION_EXCEEDED: """
        image_header_claims_65535.jpg image_header_claims_65535.png image_png_bomb_30000.png""",
    ErrorCode.NO_FACE_DETECTED: "image_1x1.png video_16x16.mp4 video_1x1.mp4",
    ErrorCode.MEDIA_PLAYLIST_REFUSED: """
        audio_hls_named.mp3 image_svg_named.png image_vector.svg video_dash_manifest.mp4 video_ffconcat.mp4
        video_ffconcat_system_file.mp4 video_hls_local_file.mp4 video_hls_neighbour.mp4 video_hls_playlist.mp4
        video_playlist.m3u video_sdp.mp4""",
}
CODE_OF = {name: code for code, names in CODES.items() for name in names.split()}
# Refused later, by the pipeline, because the refusal needs the decoded frames.
FACELESS = {"image_no_face.png", "video_4000x64_strip.mp4", "video_black.mp4", "video_no_face_bars.mp4"}
# EXPECT.csv allows two outcomes here, and this is the other one: the first frame of an animation counts as a still
# picture, and real frames and decoded sizes count, not the header.
OTHERWISE = {"video_animated.webp", "video_duration_claim_40_days.mp4", "video_header_claims_65535.mp4"}


def probe(path: Path, limits: Limits = LIMITS) -> VideoFacts | AudioFacts:
    return (probe_audio if path.name.startswith("audio_") else probe_video)(path, limits)


def test_the_table_of_refusals_agrees_with_the_list(shared_dir: Path) -> None:
    text = (shared_dir / "media" / "broken" / "EXPECT.csv").read_text()
    refused = {row["file"] for row in csv.DictReader(text.splitlines()) if row["expect"] == "reject"}
    assert set(CODE_OF) == refused - FACELESS - OTHERWISE


@pytest.mark.parametrize("name", sorted(CODE_OF))
def test_a_broken_file_is_refused(shared_dir: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        probe(shared_dir / "media" / "broken" / name)
    assert caught.value.code == CODE_OF[name]
    assert "/" not in caught.value.message


@pytest.mark.parametrize("name", sorted(FACELESS | OTHERWISE))
def test_a_file_without_a_face_passes_the_probe(shared_dir: Path, name: str) -> None:
    facts = probe(shared_dir / "media" / "broken" / name)
    assert facts.bytes == (shared_dir / "media" / "broken" / name).stat().st_size
    assert len(facts.sha256) == 64


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("video_good_base.mp4", {"kind": "video", "format": "mov", "codec": "h264", "fps": "25", "frames": 75}),
        ("video_29_97fps.mp4", {"fps": "30000/1001", "frames": 90}),
        ("video_23_976fps.mp4", {"fps": "24000/1001", "frames": 72}),
        ("video_variable_rate.mp4", {"fps": "25", "variable_frame_rate": True}),
        ("video_rotated_90.mp4", {"width": 400, "height": 592, "rotation": 270}),
        ("video_rotated_180.mp4", {"width": 400, "height": 592, "rotation": 180}),
        ("video_rotated_270.mp4", {"width": 400, "height": 592, "rotation": 90}),
        ("video_nonsquare_pixels.mp4", {"width": 400, "height": 592}),
        ("video_start_8s_both.mkv", {"frames": 75, "duration_s": 3.0, "has_audio": True}),
        ("video_start_8s_video_only.mp4", {"frames": 75}),
        ("video_edit_list_cut.mp4", {"frames": 42}),
        ("video_no_keyframe_at_start.ts", {"frames": 50}),
        ("video_two_video_streams.mp4", {"height": 592}),
        ("video_cover_picture.mp4", {"height": 592, "codec": "h264"}),
        ("video_no_audio.mp4", {"has_audio": False}),
        ("video_one_frame.mp4", {"kind": "image", "frames": 1}),
        ("video_jpeg_named.mp4", {"kind": "image", "format": "jpeg"}),
        ("video_animated.gif", {"fps": "10", "frames": 20}),
        ("image_exif_rotated.jpg", {"width": 392, "height": 420, "rotation": 90, "fps": "25"}),
        ("audio_192k_24bit.wav", {"sample_rate_hz": 192000, "duration_s": 1.0}),
        ("audio_8ch.wav", {"channels": 8}),
        ("audio_mp3_with_cover.mp3", {"format": "mp3", "codec": "mp3"}),
        ("audio_mp4_named.wav", {"format": "mov", "codec": "aac"}),
    ],
)
def test_facts(shared_dir: Path, name: str, expected: dict[str, object]) -> None:
    facts = probe(shared_dir / "media" / "broken" / name).model_dump()
    assert {key: facts[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(max_duration_s=2.9), ErrorCode.DURATION_EXCEEDED),
        (Limits(max_pixels=400 * 591), ErrorCode.RESOLUTION_EXCEEDED),
        (Limits(max_fps=24.0), ErrorCode.FRAME_LIMIT_EXCEEDED),
    ],
)
def test_files_beyond_the_limits_are_refused(shared_dir: Path, limits: Limits, code: ErrorCode) -> None:
    with pytest.raises(InputError) as caught:
        probe_video(shared_dir / "media" / "broken" / "video_good_base.mp4", limits)
    assert caught.value.code == code


def test_sound_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000 * 2 * 3))
    assert probe_audio(path, LIMITS).duration_s == 3.0
    with pytest.raises(InputError) as caught:
        probe_audio(path, Limits(max_duration_s=2.0))
    assert caught.value.code == ErrorCode.DURATION_EXCEEDED
    assert caught.value.message == "The sound lasts longer than 2 s, the most that is allowed."


@pytest.mark.parametrize(
    ("duration_s", "message"),
    [
        (7.5, "The video lasts 8 s; at most 3 s are allowed."),
        (3.02, "The video lasts longer than 3 s, the most that is allowed."),
        (None, "The video lasts longer than 3 s, the most that is allowed."),
    ],
)
def test_what_is_too_long_never_reads_like_what_is_allowed(duration_s: float | None, message: str) -> None:
    assert too_long("video", duration_s, Limits(max_duration_s=3.0)).message == message


def test_a_name_like_a_protocol_or_an_option_is_only_a_name(tmp_path: Path, shared_dir: Path) -> None:
    data = (shared_dir / "media" / "broken" / "video_one_frame.mp4").read_bytes()
    for name in ("-i.mp4", "concat:a|b.mp4", "a b;c.mp4", "%d.png"):
        (tmp_path / name).write_bytes(data)
        assert probe_video(tmp_path / name, LIMITS).frames == 1


def test_a_missing_ffmpeg_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        find_ffmpeg(str(tmp_path / "nothing"))
    assert isinstance(caught.value, LipSyncError)
    assert Path(find_ffmpeg(None)).is_file()


def looks() -> list[psutil.Process]:
    return [child for child in children_of(os.getpid(), recursive=True) if name_of(child).startswith("probing.child")]


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Return a sound that takes seconds to read: hours of silence, of which nothing is on the disk."""
    path = tmp_path / "endless.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(2))
    with path.open("r+b") as sound:
        sound.seek(40)
        sound.write((2**32 - 100).to_bytes(4, "little"))
        sound.truncate(2**32 - 56)
    return path


@pytest.mark.parametrize(
    ("ended_by", "error", "code"),
    [
        (signal.SIGKILL, ProbeBrokenError, ErrorCode.OUT_OF_MEMORY),
        (signal.SIGTERM, ProbeBrokenError, ErrorCode.OUT_OF_MEMORY),
        (signal.SIGXCPU, InputError, ErrorCode.AUDIO_UNREADABLE),
        (signal.SIGSEGV, InputError, ErrorCode.AUDIO_UNREADABLE),
    ],
)
def test_a_probe_killed_from_outside_says_nothing_about_the_file(
    endless: Path, ended_by: signal.Signals, error: type[LipSyncError], code: ErrorCode
) -> None:
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(probe_audio, endless, Limits(max_duration_s=1e9))
        (process,) = wait_until(looks, 10)
        wait_until(lambda: any(file.path == str(endless) for file in process.open_files()), 10, 0.01)
        process.send_signal(ended_by)
        with pytest.raises(error) as caught:
            looking.result(60)
    assert caught.value.code == code


# A process with few means asks for a probe. Its hard limits hold for the child too.
POOR = """
import logging, resource, sys
from pathlib import Path
from app.core.probing.probe import Limits, ProbeBrokenError, probe_video
logging.basicConfig()
resource.setrlimit(int(sys.argv[2]), (int(sys.argv[3]), int(sys.argv[3])))
try:
    probe_video(Path(sys.argv[1]), Limits())
except ProbeBrokenError as error:
    sys.exit(error.retry_after_s)
"""
LACKS = {
    "memory for its libraries": (resource.RLIMIT_AS, 48 * 1024**2),
    "descriptors": (resource.RLIMIT_NOFILE, 4),
    "time, which the child may not grant itself": (resource.RLIMIT_CPU, 20),
}


@pytest.mark.parametrize("lack", LACKS)
def test_a_machine_without_means_is_not_the_fault_of_the_file(tmp_path: Path, lack: str) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "good.png")
    command = [sys.executable, "-c", POOR, str(tmp_path / "good.png"), *(str(int(value)) for value in LACKS[lack])]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert process.returncode == 10 and "probe" in process.stderr, process.stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("folder", "a folder"),
        ("pipe", "a pipe"),
        ("none", "no such file"),
        ("file/deeper", "no such file"),
        ("\0", "can have this name"),
    ],
)
@pytest.mark.parametrize("probe", [probe_video, probe_audio])
def test_what_is_no_file_is_told_as_it_is(tmp_path: Path, name: str, sentence: str, probe: Any) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=sentence):
        probe(tmp_path / name, LIMITS)


def ended(status: int, out: str = "", err: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], status, out, err)


@pytest.mark.parametrize(
    ("process", "error", "sentence"),
    [
        (ended(1, "", "ImportError: libav.so: failed to map segment"), ProbeBrokenError, "memory"),
        (ended(-signal.SIGSEGV), ProbeBrokenError, "memory"),
        (ended(0, READY + '{"broken": "OSError: [Errno 24] Too many open files"}'), ProbeBrokenError, "memory"),
        (ended(-signal.SIGKILL, READY), ProbeBrokenError, "memory"),
        (ended(-signal.SIGSEGV, READY), InputError, "damaged"),
        (ended(-signal.SIGABRT, READY), InputError, "damaged"),
        (ended(-signal.SIGXCPU, READY), InputError, "too long"),
    ],
)
def test_who_is_at_fault(process: Any, error: type[LipSyncError], sentence: str, caplog: Any) -> None:
    with pytest.raises(error, match=sentence):
        facts_of(process, "video", ErrorCode.VIDEO_UNREADABLE)
    assert error is InputError or "probe broken" in caplog.text
