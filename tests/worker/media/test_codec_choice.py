"""The choice of the video codecs, with an ffmpeg in which software plays the GPU; no GPU is needed."""

from __future__ import annotations

import logging

import pytest

from app.core.errors import ErrorCode, InputError
from app.core.settings import Settings
from tests.worker.gpu_ffmpeg import gpu_ffmpeg
from worker.doctor import ALL_CHECKS, examine
from worker.media.codec_choice import choose_decoder, choose_encoder, settle_codecs
from worker.media.video_codecs import VideoCodecs


def settings(ffmpeg: str, decoder: str = "auto", encoder: str = "auto", device: str = "cpu") -> Settings:
    return Settings(ffmpeg=ffmpeg, video_decoder=decoder, video_encoder=encoder, device=device)


@pytest.mark.parametrize(
    ("decoder", "encoder", "chosen"),
    [
        ("works", "refuses", VideoCodecs(0, None)),
        ("breaks", "works", VideoCodecs(None, 0)),
        ("differs", "crashes", VideoCodecs(None, None)),
        ("crashes", "breaks", VideoCodecs(None, None)),
        ("steps-in", "refuses", VideoCodecs(None, None)),
    ],
)
def test_each_codec_of_a_gpu_is_used_if_its_try_succeeds(tmp_path, decoder, encoder, chosen):
    assert VideoCodecs.of(settle_codecs(settings(gpu_ffmpeg(tmp_path, decoder, encoder)))) == chosen


def test_software_is_used_where_nothing_is_asked_for(tmp_path):
    common = settle_codecs(Settings(ffmpeg=gpu_ffmpeg(tmp_path)))
    assert VideoCodecs.of(common) == VideoCodecs(None, None)


def test_the_number_of_the_gpu_is_the_one_of_the_device(tmp_path):
    common = settle_codecs(settings(gpu_ffmpeg(tmp_path), device="cuda:1"))
    assert VideoCodecs.of(common) == VideoCodecs(1, 1)


def test_the_reason_is_what_ffmpeg_says(tmp_path):
    asked = settings(gpu_ffmpeg(tmp_path, "differs", "refuses"))
    assert str(choose_decoder(asked)) == (
        "software, no NVIDIA GPU decodes here (its frames differ from those of software)"
    )
    assert "encodes here (OpenEncodeSessionEx failed: out of memory (10): (no details))" in str(choose_encoder(asked))


@pytest.mark.parametrize(
    ("states", "asked", "named"),
    [(("refuses", "works"), ("nvidia", "auto"), "DECODER"), (("works", "refuses"), ("software", "nvidia"), "ENCODER")],
)
def test_a_gpu_that_is_asked_for_and_fails_is_an_error_of_one_line(tmp_path, states, asked, named, caplog):
    with pytest.raises(InputError, match=f"LIPSYNC_VIDEO_{named}: no NVIDIA GPU") as caught:
        settle_codecs(settings(gpu_ffmpeg(tmp_path, *states), *asked))
    assert caught.value.code == ErrorCode.OPTION_INVALID and caught.value.message.endswith(").")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_doctor_says_what_is_used_and_why(tmp_path):
    works = settings(gpu_ffmpeg(tmp_path, "works", "refuses"))
    (finding,) = examine(works, {"video": ALL_CHECKS["video"]})
    assert finding.good and finding.text.startswith(
        "decoder: nvidia, a try succeeded; encoder: software, no NVIDIA GPU"
    )
    asked = settings(gpu_ffmpeg(tmp_path, "works", "refuses"), encoder="nvidia")
    (finding,) = examine(asked, {"video": ALL_CHECKS["video"]})
    assert not finding.good and finding.text.startswith("LIPSYNC_VIDEO_ENCODER: no NVIDIA GPU encodes here (Open")
