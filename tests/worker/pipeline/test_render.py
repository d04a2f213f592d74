from __future__ import annotations

import hashlib
import subprocess
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from skimage.data import cat

from app.core.errors import ErrorCode, InputError, LipSyncError, RequestError, ServiceError
from app.core.jobs import JobOptions
from model.arrays import U8
from model.composition import FilmedCrops
from tests.fake_synthesizer import FakeSynthesizer
from tests.worker.clips import DETECTORS, RecordingMonitor, portrait, sources_of, write_clip, write_voice
from worker.media.colour import split_planes
from worker.media.encode import COMMENT
from worker.pipeline.render import run
from worker.pipeline.run_context import FinishedClip, RunContext, Sources

GREEN = (0, 255, 0)


def run_in(
    folder: Path,
    sources: Sources,
    synthesizer: FakeSynthesizer | None = None,
    watcher: RecordingMonitor | None = None,
    ffmpeg: str | None = None,
    **options: object,
) -> tuple[FinishedClip, Path]:
    work_dir = folder / "work"
    work_dir.mkdir(exist_ok=True)
    chosen = JobOptions.model_validate({"preset": "ultrafast"} | options)
    output = folder / "out.mp4"
    network, monitor = synthesizer or FakeSynthesizer(), watcher or RecordingMonitor()
    return run(RunContext(sources, chosen, network, work_dir, monitor, DETECTORS, ffmpeg), output), output


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def planes_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)]


def greenness(picture: np.ndarray) -> int:
    signed = picture.astype(int)
    return int(((signed[..., 1] - signed[..., 0] > 60) & (signed[..., 1] - signed[..., 2] > 60)).sum())


def test_the_output_is_what_the_contract_says(tmp_path: Path, moving_clip: Path, voice: Path) -> None:
    watcher = RecordingMonitor()
    outcome, path = run_in(tmp_path, sources_of(moving_clip, voice), watcher=watcher)
    data = path.read_bytes()
    result = outcome.result
    assert (result.bytes, result.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (result.width, result.height, result.fps, result.frames) == (320, 320, "25", 30)
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.profile, video.pix_fmt) == ("h264", "High", "yuv420p")
        assert video.average_rate == 25
        assert (audio.codec_context.name, audio.codec_context.sample_rate) == ("aac", 48000)
        assert video.start_time == audio.start_time == 0
        assert float((audio.duration or 0) * (audio.time_base or 0)) == pytest.approx(1.2, abs=0.001)
        assert container.metadata["comment"] == COMMENT
        assert container.metadata["synthetic"] == "lip-sync"
        assert len([frame for frame in container.decode(video)]) == 30
    assert watcher.stages == ["sound", "faces", "synthesize", "finish"]
    assert watcher.progress[-1] == (30, 30)
    assert outcome.report.face_coverage == 1.0
    assert outcome.report.face_height_px == pytest.approx(105, abs=8)
    assert outcome.warnings == []
    assert {"decode", "detect", "crop", "synthesize", "blend", "encode"} <= set(outcome.report.stage_seconds)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["out.mp4"]


@pytest.mark.parametrize("height", [320, 720])  # BT.601 and BT.709
def test_only_the_mouth_differs_from_the_source(tmp_path: Path, voice: Path, height: int) -> None:
    clip = write_clip(tmp_path / "clip.mp4", (portrait(320, height, i * 0.4) for i in range(12)))
    _, path = run_in(tmp_path, sources_of(clip, voice), FakeSynthesizer(GREEN), crf=1)
    for index, (before, after) in enumerate(zip(planes_of(clip), planes_of(path), strict=True)):
        difference = np.abs(before.astype(int) - after)
        for plane in split_planes(difference.astype(np.uint8)):
            scale = 320 // plane.shape[1]
            plane[130 // scale : 220 // scale, 100 // scale : 240 // scale] = 0  # wherever the drifting mouth is
            assert plane.max() <= 10, index
            assert plane.mean() < 0.6, index
    for index, after in enumerate(pictures(path)):
        assert greenness(after) > 800, index


@pytest.mark.parametrize(
    ("name", "expected"), [("clips/usgov_stage_cuts.mp4", (1, 1, 1)), ("avatars/newscaster.mp4", (2, 2, 2))]
)
def test_the_tags_of_the_source_are_kept(
    tmp_path: Path, voice: Path, shared_dir: Path, name: str, expected: tuple[int, int, int]
) -> None:
    clip = shared_dir / "media" / name
    _, path = run_in(tmp_path, sources_of(clip, voice), end_s=0.2)
    tags = []
    for file in (clip, path):
        with av.open(str(file)) as container:
            frame = next(container.decode(video=0))
            tags.append((frame.colorspace, frame.color_primaries, frame.color_trc))
    assert tags[0] == tags[1] == expected


@pytest.mark.parametrize(
    ("mode", "frames"), [("cut_off", 20), ("loop", 30), ("bounce", 30), ("silence", 20), ("remap", 30)]
)
def test_sync_modes_with_a_voice_that_is_longer(
    tmp_path: Path, short_clip: Path, voice: Path, mode: str, frames: int
) -> None:
    outcome, path = run_in(tmp_path, sources_of(short_clip, voice), sync_mode=mode)
    shown = pictures(path)
    assert outcome.result.frames == len(shown) == frames
    assert outcome.report.face_coverage == 1.0
    source = pictures(short_clip)
    if mode == "bounce":
        assert np.abs(shown[25].astype(int) - source[13]).mean() < 3
    if mode == "loop":
        assert np.abs(shown[25].astype(int) - source[5]).mean() < 3


@pytest.mark.parametrize(("mode", "frames"), [("cut_off", 30), ("silence", 100), ("remap", 30)])
def test_sync_modes_with_a_voice_that_is_shorter(
    tmp_path: Path, moving_clip: Path, voice: Path, mode: str, frames: int
) -> None:
    outcome, path = run_in(tmp_path, sources_of(moving_clip, voice), sync_mode=mode)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.frames == outcome.result.frames == frames
        assert float((audio.duration or 0) * (audio.time_base or 0)) == pytest.approx(frames / 25, abs=0.001)


@pytest.mark.parametrize("rate", ["12", "24000/1001", "30000/1001", "60"])
def test_the_rate_is_kept_as_a_rational(tmp_path: Path, voice: Path, rate: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", (portrait() for _ in range(15)), rate)
    outcome, path = run_in(tmp_path, sources_of(clip, voice), sync_mode="loop")
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == Fraction(rate)
        assert abs(outcome.result.frames / Fraction(rate) - Fraction(12, 10)) <= 1 / Fraction(rate)


def test_each_frame_gets_the_sound_of_its_own_moment(tmp_path: Path, moving_clip: Path, voice: Path) -> None:
    synthesizer = FakeSynthesizer()
    run_in(tmp_path, sources_of(moving_clip, voice), synthesizer)
    loud = np.array(synthesizer.loudness) > -3.5
    frames = np.flatnonzero(loud)
    assert frames.min() == pytest.approx(0.2 * 25, abs=1)
    assert frames.max() == pytest.approx(0.9 * 25, abs=1)
    assert loud[frames.min() : frames.max() + 1].all()


def test_the_network_gets_silence_when_nobody_speaks(tmp_path: Path, short_clip: Path) -> None:
    hiss = write_voice(tmp_path / "hiss.wav", [(0.0, 0.8)], 0.8)
    quiet = np.frombuffer(hiss.read_bytes()[44:], "<i2") // 400
    hiss.write_bytes(hiss.read_bytes()[:44] + quiet.astype("<i2").tobytes())
    for gate, silent in ((True, True), (False, False)):
        synthesizer = FakeSynthesizer()
        outcome, _ = run_in(tmp_path, sources_of(short_clip, hiss), synthesizer, silence_gate=gate)
        assert (max(synthesizer.loudness) == -4.0) is silent
        assert ("The voice holds no speech, so the lips stay closed." in outcome.warnings) is silent


def test_a_still_picture_speaks_at_25_frames(tmp_path: Path, voice: Path, shared_dir: Path) -> None:
    still = shared_dir / "media" / "clips" / "astronaut.png"
    outcome, path = run_in(tmp_path, sources_of(still, voice), FakeSynthesizer(GREEN))
    assert (outcome.result.fps, outcome.result.frames) == ("25", 30)
    assert all(greenness(picture) > 500 for picture in pictures(path))


class WatchingSynthesizer(FakeSynthesizer):
    """Fake that keeps the crops that it is given."""

    def __init__(self) -> None:
        super().__init__(GREEN, batch_size=1)
        self.seen: list[U8] = []

    def synthesize(self, crops: FilmedCrops, *inputs: Any) -> U8:
        self.seen.extend(crops.pixels)
        return super().synthesize(crops, *inputs)


def test_nothing_is_drawn_into_a_frame_that_is_shown_again(tmp_path: Path, voice: Path, shared_dir: Path) -> None:
    synthesizer = WatchingSynthesizer()
    run_in(tmp_path, sources_of(shared_dir / "media" / "clips" / "astronaut.png", voice), synthesizer)
    assert len(synthesizer.seen) == 30
    for crop in synthesizer.seen:
        np.testing.assert_array_equal(crop, synthesizer.seen[0])


def test_frames_without_the_face_pass_through_and_are_counted(tmp_path: Path, gap_clip: Path, voice: Path) -> None:
    outcome, path = run_in(tmp_path, sources_of(gap_clip, voice), FakeSynthesizer(GREEN), sync_mode="silence")
    green = [greenness(picture) > 300 for picture in pictures(path)]
    assert green == [not 14 <= i < 26 for i in range(40)]
    assert outcome.report.face_coverage == 0.7
    assert "70 %" in outcome.warnings[0]


def test_a_missing_face_can_be_an_error_that_says_when(tmp_path: Path, gap_clip: Path, voice: Path) -> None:
    with pytest.raises(InputError, match=r"0\.56 s") as caught:
        run_in(tmp_path, sources_of(gap_clip, voice), on_missing_face="fail", sync_mode="silence")
    assert caught.value.code == ErrorCode.FACE_NOT_FOUND
    assert not (tmp_path / "out.mp4").exists()


def test_start_and_end_choose_the_picture_and_the_voice_starts_anew(
    tmp_path: Path, moving_clip: Path, voice: Path
) -> None:
    synthesizer = FakeSynthesizer()
    outcome, path = run_in(tmp_path, sources_of(moving_clip, voice), synthesizer, start_s=2.0, end_s=2.8)
    assert outcome.result.frames == 20
    assert np.abs(pictures(path)[0].astype(int) - pictures(moving_clip)[50]).mean() < 3
    assert np.flatnonzero(np.array(synthesizer.loudness) > -3.5).min() == pytest.approx(5, abs=1)


@pytest.mark.parametrize(("height", "width"), [(160, 160), (241, 242), (640, 640)])
def test_the_output_can_be_scaled(tmp_path: Path, short_clip: Path, voice: Path, height: int, width: int) -> None:
    outcome, path = run_in(tmp_path, sources_of(short_clip, voice), output_height=height)
    assert (outcome.result.width, outcome.result.height) == (width, height + height % 2)
    assert pictures(path)[0].shape == (height + height % 2, width, 3)


def test_the_output_can_have_another_sound(tmp_path: Path, short_clip: Path, voice: Path) -> None:
    mix = write_voice(tmp_path / "mix.wav", [(0.5, 0.6)], 0.6, 44_100)
    _, path = run_in(tmp_path, sources_of(short_clip, voice, mix))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    sound = np.concatenate(frames, axis=1)[0]
    first_loud_s = float(np.flatnonzero(np.abs(sound) > 0.02)[0]) / 44_100
    assert first_loud_s == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"crf": 0}, {"padding": 0.5}, {"padding": -0.3}])
def test_extreme_options_work(tmp_path: Path, short_clip: Path, voice: Path, options: dict[str, Any]) -> None:
    outcome, path = run_in(tmp_path, sources_of(short_clip, voice), FakeSynthesizer(GREEN), end_s=0.2, **options)
    assert outcome.result.frames == 5
    assert (greenness(pictures(path)[2]) > 100) is ("strength" not in options)


def test_no_face_in_any_frame_is_an_error(tmp_path: Path, voice: Path) -> None:
    clip = write_clip(tmp_path / "cat.mp4", (cat()[:, :450] for _ in range(6)))
    with pytest.raises(InputError) as caught:
        run_in(tmp_path, sources_of(clip, voice))
    assert caught.value.code == ErrorCode.NO_FACE_DETECTED
    assert not (tmp_path / "out.mp4").exists()


def test_a_sound_that_cannot_be_used_is_told_before_a_missing_face(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "cat.mp4", (cat()[:, :450] for _ in range(6)))
    voice = write_voice(tmp_path / "voice.wav", [(0.2, 0.5)], 0.8)
    sources = sources_of(clip, voice)
    voice.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        run_in(tmp_path, sources, face="index:0")
    assert caught.value.code == ErrorCode.AUDIO_UNREADABLE


def test_a_face_that_is_too_small_is_an_error(tmp_path: Path, voice: Path) -> None:
    clip = write_clip(tmp_path / "tiny.mp4", (portrait(500, 500)[::5, ::5] for _ in range(5)))
    with pytest.raises(InputError) as caught:
        run_in(tmp_path, sources_of(clip, voice))
    assert caught.value.code == ErrorCode.FACE_TOO_SMALL


@pytest.mark.parametrize(
    ("face", "code"), [("index:1", ErrorCode.FACE_NOT_FOUND), ("point:5,310", ErrorCode.FACE_NOT_FOUND)]
)
def test_a_face_nobody_has(tmp_path: Path, short_clip: Path, voice: Path, face: str, code: ErrorCode) -> None:
    with pytest.raises(InputError) as caught:
        run_in(tmp_path, sources_of(short_clip, voice), face=face)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("face", "left", "right"),
    [("all", True, True), ("index:0", True, False), ("index:1", False, True), ("point:700,300", False, True)],
)
def test_whose_lips_move(tmp_path: Path, shared_dir: Path, voice: Path, face: str, left: bool, right: bool) -> None:
    clip = shared_dir / "media" / "avatars" / "two_people_videocall.mp4"
    _, path = run_in(tmp_path, sources_of(clip, voice), FakeSynthesizer(GREEN), face=face, end_s=0.4)
    for picture in pictures(path):
        assert (greenness(picture[:, :480]) > 500) is left
        assert (greenness(picture[:, 480:]) > 500) is right


def test_the_largest_of_two_does_not_change(tmp_path: Path, shared_dir: Path, voice: Path) -> None:
    clip = shared_dir / "media" / "avatars" / "two_people_news.mp4"
    _, path = run_in(tmp_path, sources_of(clip, voice), FakeSynthesizer(GREEN))
    sides = {greenness(picture[:, :480]) > greenness(picture[:, 480:]) for picture in pictures(path)}
    assert len(sides) == 1


def test_a_canceled_run_stops_and_leaves_nothing(tmp_path: Path, moving_clip: Path, voice: Path) -> None:
    stop = RequestError(ErrorCode.CANCELED, "The job was canceled.")
    started = time.monotonic()
    with pytest.raises(LipSyncError) as caught:
        run_in(tmp_path, sources_of(moving_clip, voice), watcher=RecordingMonitor(stop, 16), sync_mode="silence")
    assert caught.value is stop
    assert time.monotonic() - started < 120
    assert not [entry for entry in tmp_path.iterdir() if entry.is_file()]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listed


def test_an_encoder_that_fails_is_an_error_without_its_output(tmp_path: Path, short_clip: Path, voice: Path) -> None:
    missing = tmp_path / "no" / "such" / "folder" / "out.mp4"
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    sources, monitor = sources_of(short_clip, voice), RecordingMonitor()
    context = RunContext(sources, JobOptions(), FakeSynthesizer(), work_dir, monitor, DETECTORS)
    with pytest.raises(ServiceError) as caught:
        run(context, missing)
    assert caught.value.code == ErrorCode.ENCODE_FAILED
    assert "such" not in caught.value.message
