from __future__ import annotations

from pathlib import Path

import av
import pytest

from app.core.errors import ErrorCode, InputError
from app.core.jobs import JobOptions
from tests.fake_synthesizer import FakeSynthesizer
from tests.worker.clips import DETECTORS, RecordingMonitor, sources_of
from worker.pipeline.render import run
from worker.pipeline.run_context import RunContext

# Accepted files in which other things go wrong; the rest of the list is run by `make test-slow`.
TELLING = """
    audio_claims_4gb.wav audio_float_overload.wav audio_8ch.wav audio_silence.wav audio_truncated.mp3
    image_alpha.png image_16bit.png image_animated.webp video_animated.gif video_321x241_odd.mp4 video_bit_errors.mp4
    video_one_frame.mp4 video_rotated_270.mp4 video_nonsquare_pixels.mp4 video_start_8s_both.mp4 video_prores.mov
    video_no_keyframe_at_start.ts video_variable_rate.mp4 video_hevc_main10_hdr_tags.mp4 video_jpeg_named.mp4
    """.split()
OTHERS = """
    audio_11k_8bit.wav audio_192k_24bit.wav audio_adpcm_8k.wav audio_big_endian.aiff audio_dc_offset.wav
    audio_mp3_with_cover.mp3 audio_mp4_named.wav audio_raw.aac audio_ulaw_8k.wav image_cmyk.jpg
    image_exif_mirrored.jpg image_exif_rotated.jpg image_gray.png image_palette.png image_progressive.jpg
    image_still.webp video_12fps.mp4 video_15fps.mp4 video_23_976fps.mp4 video_29_97fps.mp4 video_60fps.mp4
    video_animated.webp video_audio_stream_first.mp4 video_av1.mp4 video_cover_picture.mp4
    video_cut_last_2kb_index_first.mp4 video_duration_claim_40_days.mp4 video_edit_list_cut.mp4
    video_face_gone_middle.mp4 video_fragmented.mp4 video_full_range.mp4 video_good_base.mp4 video_h264_10bit.mp4
    video_header_claims_65535.mp4 video_hevc.mp4 video_interlaced.mp4 video_longer_than_audio.mp4 video_matroska.mkv
    video_mjpeg.avi video_mpeg1.mpg video_mpeg2_ts.ts video_mpeg4_bframes.avi video_no_audio.mp4 video_rgb_h264.mp4
    video_rotated_180.mp4 video_rotated_90.mp4 video_shorter_than_audio.mp4 video_silent_track.mp4
    video_start_8s_both.mkv video_start_8s_video_only.mp4 video_subtitles.mp4 video_two_audio_streams.mp4
    video_two_video_streams.mp4 video_vp8_alpha.webm video_vp9_opus.webm video_yuv444.mp4
    """.split()


def check_accepted(folder: Path, name: str, work_dir: Path) -> None:
    voice, video = folder / "audio_11k_8bit.wav", folder / "video_15fps.mp4"
    is_sound = name.startswith("audio_")
    sources = sources_of(video if is_sound else folder / name, folder / name if is_sound else voice)
    output = work_dir / "out.mp4"
    options = JobOptions(preset="ultrafast", end_s=0.6)
    outcome = run(RunContext(sources, options, FakeSynthesizer(), work_dir, RecordingMonitor(), DETECTORS), output)
    with av.open(str(output)) as container:
        video_stream, audio_stream = container.streams.video[0], container.streams.audio[0]
        assert sum(1 for _ in container.decode(video_stream)) == outcome.result.frames
        assert str(video_stream.average_rate) == outcome.result.fps
        assert video_stream.start_time == audio_stream.start_time == 0
        duration_s = float((audio_stream.duration or 0) * (audio_stream.time_base or 0))
    assert duration_s == pytest.approx(outcome.result.duration_s, abs=0.002)
    assert outcome.report.face_coverage == 1.0
    facts, sound = sources.input.video, sources.input.audio
    assert sound is not None
    expected_s = min(2.0 if not is_sound else sound.duration_s, 0.6)
    if facts.kind == "video":
        assert outcome.result.duration_s == pytest.approx(expected_s, abs=0.06)
    assert (outcome.result.width, outcome.result.height) == (
        facts.width + facts.width % 2,
        facts.height + facts.height % 2,
    )


@pytest.mark.parametrize("name", TELLING)
def test_an_odd_file_becomes_a_valid_video(shared_dir: Path, tmp_path: Path, name: str) -> None:
    check_accepted(shared_dir / "media" / "broken", name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_accepted_file_becomes_a_valid_video(shared_dir: Path, tmp_path: Path, name: str) -> None:
    check_accepted(shared_dir / "media" / "broken", name, tmp_path)


@pytest.mark.parametrize(
    "name", ["image_no_face.png", "video_4000x64_strip.mp4", "video_black.mp4", "video_no_face_bars.mp4"]
)
def test_pictures_without_a_face_fail_with_their_code(shared_dir: Path, tmp_path: Path, name: str) -> None:
    folder = shared_dir / "media" / "broken"
    sources = sources_of(folder / name, folder / "audio_silence.wav")
    options = JobOptions(preset="ultrafast")
    context = RunContext(sources, options, FakeSynthesizer(), tmp_path, RecordingMonitor(), DETECTORS)
    with pytest.raises(InputError) as caught:
        run(context, tmp_path / "out.mp4")
    assert caught.value.code == ErrorCode.NO_FACE_DETECTED
    assert not (tmp_path / "out.mp4").exists()
