"""Decoding and encoding with an ffmpeg in which software plays the GPU; no GPU is needed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from app.core.checks import never_stop
from app.core.errors import ErrorCode, ServiceError
from app.core.jobs import PRESETS, JobOptions
from app.core.probing.probe import Limits, find_ffmpeg, probe_video
from app.core.program_output import program_output
from app.core.settings import Settings
from tests.worker.gpu_ffmpeg import gpu_ffmpeg
from worker.media.decode import Source, decode, gpu_frames, open_source, range_arguments
from worker.media.encode import Encoder, are_alike
from worker.media.media_process import MediaProcess, ProcessKilledError, uses_gpu
from worker.media.mp4_header import h264_header
from worker.media.video_codecs import (
    LEAST_FRAMES,
    NVENC_PRESETS,
    GpuEncoderError,
    VideoCodecs,
    encoder_options,
    nvdec_knows,
)
from worker.process_share import usable_cores

FRAMES = 80
FILMS = {
    "h264": "-c:v libx264 -preset ultrafast -bf 2 -pix_fmt yuv420p",
    "full range": "-c:v libx264 -preset ultrafast -pix_fmt yuvj420p -color_range pc",
    "interlaced": "-c:v libx264 -preset ultrafast -flags +ildct+ilme -x264-params tff=1 -pix_fmt yuv420p",
    "ten bits": "-c:v libx265 -preset ultrafast -x265-params log-level=error -pix_fmt yuv420p10le",
    "vp9": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuv420p",
}
QUICK = ("h264", "ten bits")  # one for each layout of a GPU's frames
OTHERS = {
    "of another codec": "-c:v mpeg4 -pix_fmt yuv420p",
    "of finer colour": "-c:v libx264 -preset ultrafast -pix_fmt yuv444p",
    "of H.264 with ten bits": "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le",
}


def film(folder: Path, options: str, ffmpeg: str) -> Source:
    """Return a film of FRAMES frames, which GPU 0 decodes if it can."""
    path = folder / "film.mkv"
    moving = ["-f", "lavfi", "-i", f"testsrc2=s=162x92:r=25:d={FRAMES / 25},noise=alls=20:allf=t"]
    subprocess.run([find_ffmpeg(None), "-v", "error", "-y", *moving, *options.split(), str(path)], check=True)
    return open_source(path, probe_video(path, Limits()), ffmpeg, never_stop, codecs=VideoCodecs(decoder_gpu=0))


def equal(ones: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return len(ones) == len(others) and all(map(np.array_equal, ones, others))


def in_software(source: Source) -> list[np.ndarray]:
    return list(decode(replace(source, codecs=VideoCodecs()), 0, FRAMES, never_stop))


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in FILMS]
)
def test_a_gpu_gives_the_frames_of_software(tmp_path, kind):
    source = film(tmp_path, FILMS[kind], gpu_ffmpeg(tmp_path))
    expected = in_software(source)
    assert equal(list(gpu_frames(source, 0, 0, FRAMES, never_stop)), expected)
    assert equal(list(decode(source, 0, FRAMES, never_stop)), expected)
    assert equal(list(gpu_frames(source, 0, 70, FRAMES, never_stop)), expected[70:])


@pytest.mark.parametrize("kind", OTHERS)
def test_a_film_that_no_gpu_decodes_exactly_is_left_to_software(tmp_path, kind, caplog):
    source = film(tmp_path, OTHERS[kind], gpu_ffmpeg(tmp_path, decoder="refuses"))
    assert not nvdec_knows(source.facts, source.picture)
    assert len(list(decode(source, 0, FRAMES, never_stop))) == FRAMES and "GPU" not in caplog.text


def test_a_film_whose_picture_changes_is_transparent_or_large_is_left_to_software(tmp_path):
    source = film(tmp_path, FILMS["h264"], gpu_ffmpeg(tmp_path))
    facts, picture = source.facts, source.picture
    assert nvdec_knows(facts, picture)
    assert not nvdec_knows(facts.model_copy(update={"picture_changes": True}), picture)
    for change in ({"alpha": True}, {"stored_width": 0}, {"stored_height": 4098}):
        assert not nvdec_knows(facts, replace(picture, **change))


@pytest.mark.parametrize(("state", "reached"), [("refuses", 0), ("crashes", 0), ("breaks", 33)])
def test_software_goes_on_where_a_gpu_ends(tmp_path, state, reached, caplog):
    source = film(tmp_path, FILMS["h264"], gpu_ffmpeg(tmp_path, state, after=33 * 162 * 92 * 3 // 2 + 1000))
    assert len(list(gpu_frames(source, 0, 0, FRAMES, never_stop))) == reached
    assert equal(list(decode(source, 0, FRAMES, never_stop)), in_software(source))
    assert f"the GPU decoded only up to frame {reached}, software goes on" in caplog.text


def test_frames_of_another_size_than_the_films_are_not_taken(tmp_path):
    source = film(tmp_path, FILMS["h264"], gpu_ffmpeg(tmp_path))
    wider = replace(source, picture=replace(source.picture, stored_width=164))
    assert not list(gpu_frames(wider, 0, 0, FRAMES, never_stop))
    assert equal(list(decode(wider, 0, FRAMES, never_stop)), in_software(wider))


def test_a_short_range_is_left_to_software(tmp_path, caplog):
    source = film(tmp_path, FILMS["h264"], gpu_ffmpeg(tmp_path, decoder="refuses"))
    assert len(list(decode(source, 5, 4 + LEAST_FRAMES, never_stop))) == LEAST_FRAMES - 1
    assert "GPU" not in caplog.text


def test_nvenc_knows_every_option_and_preset():
    known = program_output(find_ffmpeg(None), "-hide_banner", "-h", "encoder=h264_nvenc")
    words = {line.split()[0] for line in known.splitlines() if line.split()}
    general = {"vcodec", "b:v", "g", "pix_fmt"}
    assert set(NVENC_PRESETS) == set(get_args(PRESETS))
    for preset in get_args(PRESETS):
        options = encoder_options(JobOptions(preset=preset), 0, 1)
        assert {f"-{name.removesuffix(':v')}" for name in options.keys() - general} <= words
        assert {str(options[name]) for name in ("preset", "tune", "rc", "profile:v")} <= words


@pytest.mark.parametrize("crf", [0, 1, 18, 40])
def test_the_quality_of_both_encoders_follows_the_job(crf):
    job = JobOptions(crf=crf)
    software, gpu = encoder_options(job, None, 1), encoder_options(job, 3, 1)
    assert software["crf"] == gpu["cq"] == max(crf, 1)
    assert gpu["gpu"] == 3


@pytest.mark.parametrize(("cores", "decoding", "encoding"), [(1, 1, 1), (2, 1, 2), (5, 2, 5), (64, 16, 16)])
def test_software_takes_as_many_threads_as_its_worker_has_cores(tmp_path, cores, decoding, encoding):
    made = film(tmp_path, "-c:v libx264 -preset ultrafast -pix_fmt yuv420p", find_ffmpeg(None))
    source = replace(made, codecs=VideoCodecs(cores=cores))
    arguments = range_arguments(source, 0, FRAMES)
    assert arguments[arguments.index("-threads") + 1] == str(decoding)
    assert encoder_options(JobOptions(), None, cores)["threads:v"] == encoding


def test_workers_divide_the_cores_that_decode_and_encode():
    cores = usable_cores()
    assert [VideoCodecs.of(Settings(workers=workers)).cores for workers in (1, 10 * cores)] == [cores, 1]


def encoded(source: Source, output: Path, gpu: int | None, frames: int = 10) -> Path:
    picture = np.full((source.height * 3 // 2, source.width), 128, np.uint8)
    with Encoder(output, source, frames, None, JobOptions(), never_stop, gpu) as encoder:
        for _ in range(frames):
            encoder.write(picture)
        encoder.finish()
    return output


@pytest.mark.parametrize("state", ["refuses", "crashes", "breaks"])
def test_a_gpu_that_fails_to_encode_has_an_error_of_its_own_and_leaves_nothing(tmp_path, state):
    source = film(tmp_path, FILMS["h264"], gpu_ffmpeg(tmp_path, encoder=state, after=50_000))
    made = tmp_path / "made"
    made.mkdir()
    with pytest.raises(GpuEncoderError) as caught:
        encoded(source, made / "a.mp4", 0, frames=100)
    assert caught.value.code == ErrorCode.ENCODE_FAILED and not list(made.iterdir())
    assert encoded(source, made / "a.mp4", None).is_file()


def test_a_full_disk_is_not_taken_for_a_fault_of_the_gpu(tmp_path):
    source = film(tmp_path, FILMS["h264"], gpu_ffmpeg(tmp_path, encoder="fills", after=50_000))
    with pytest.raises(ServiceError) as caught:
        encoded(source, tmp_path / "a.mp4", 0, frames=100)
    assert caught.value.code == ErrorCode.STORAGE_FULL


def test_files_of_different_encoders_are_not_alike(tmp_path):
    source = film(tmp_path, FILMS["h264"], gpu_ffmpeg(tmp_path))
    ours = [encoded(source, tmp_path / f"ours{frames}.mp4", None, frames) for frames in (3, 10)]
    theirs = [encoded(source, tmp_path / f"theirs{frames}.mp4", 0, frames) for frames in (3, 10)]
    assert are_alike(ours) and are_alike(theirs) and not are_alike([*ours, *theirs])
    assert h264_header(ours[0])[:2] == b"\x01\x64"  # version 1, profile High
    assert b"\x67\x64" in h264_header(ours[0]) and h264_header(ours[0]) != h264_header(theirs[0])


def test_a_file_without_h264_has_no_header(tmp_path):
    (tmp_path / "sound.mp4").write_bytes(b"\x00\x00\x00\x0cftypisom\x00\x00\x00\x0cmoovabcd")
    with pytest.raises(ValueError, match=r"no H\.264"):
        h264_header(tmp_path / "sound.mp4")
    for content in (b"", bytes(100)):
        (tmp_path / "empty.mp4").write_bytes(content)
        with pytest.raises(ValueError, match="no box"):
            h264_header(tmp_path / "empty.mp4")


def test_only_without_a_gpu_does_the_status_say_that_somebody_ended_ffmpeg():
    command = ["/bin/sh", "-c", "exit 255"]
    with MediaProcess(command, never_stop) as process, pytest.raises(ProcessKilledError):
        process.wait()
    command = [*command, "ffmpeg", "-vcodec", "h264_nvenc"]
    assert uses_gpu(command)
    with MediaProcess(command, never_stop) as process:
        assert process.wait() == 255
        assert isinstance(process.failure(ErrorCode.ENCODE_FAILED, "no"), ServiceError)
