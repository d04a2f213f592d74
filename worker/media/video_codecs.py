"""Video codecs of a GPU: NVIDIA's NVDEC decodes and NVENC encodes, through ffmpeg.

What NVDEC gives for an intact film is what ffmpeg's own decoders give, so who decodes changes no pixel. Its frames are
brought to the memory of the CPU and to the layout of the film before any other filter sees them.

NVENC's pictures differ from those of x264. Its quality scale is the one of quantisers, as x264's CRF is, so a job's
`crf` becomes its constant quality. Groups of pictures are closed and have x264's usual length.

The tests run where no GPU is at hand, with software in its place (`tests/worker/gpu_ffmpeg.py`): nothing here has been
run on a GPU. A worker therefore tries each codec before it takes a job (`worker.media.codec_choice`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from app.core.errors import ErrorCode, ServiceError
from app.core.jobs import JobOptions, VideoFacts
from app.core.probing.probe import PictureFacts
from app.core.settings import Settings
from worker.media.ffmpeg_command import FfmpegOptions, media_threads
from worker.process_share import cores_of, usable_cores

SOFTWARE, NVIDIA = "software", "nvidia"
LEAST_CRF: Final = 1  # 0 would be lossless, which profile High does not have, or a quality of NVENC's own choice
# Pixel formats of each codec that NVDEC knows.
EIGHT_BIT: Final = frozenset({"yuv420p", "yuvj420p"})
TEN_BIT: Final = frozenset({"yuv420p10le"})
NVDEC_FORMATS: Final = {
    "h264": EIGHT_BIT,
    "hevc": EIGHT_BIT | TEN_BIT,
    "vp9": EIGHT_BIT | TEN_BIT,
    "av1": EIGHT_BIT | TEN_BIT,
}
LARGEST_PX: Final = 4096  # side of a picture that every GPU decodes
LEAST_FRAMES: Final = 60  # of a range: for fewer, opening the GPU takes longer than decoding
# Presets of NVENC, p1 (fastest) to p7, for those of x264.
NVENC_PRESETS: Final = {
    "ultrafast": "p1",
    "superfast": "p2",
    "veryfast": "p3",
    "faster": "p4",
    "fast": "p5",
    "medium": "p6",
    "slow": "p7",
}
GROUP_FRAMES: Final = 250  # as x264 has it


class GpuEncoderError(ServiceError):
    """Encoder of a GPU that failed: too many sessions, no memory, a driver that is gone; software can do the work."""

    def __init__(self, said: str) -> None:
        super().__init__(ErrorCode.ENCODE_FAILED, "The video could not be encoded on the GPU.")
        self.said = said  # by ffmpeg


@dataclass(frozen=True)
class VideoCodecs:
    """What decodes and encodes video in one worker process.

    decoder_gpu, encoder_gpu: numbers of GPUs; None: software does. cores: most that software uses at once.
    """

    decoder_gpu: int | None = None
    encoder_gpu: int | None = None
    cores: int = field(default_factory=usable_cores)

    @classmethod
    def of(cls, settings: Settings) -> VideoCodecs:
        """Return the codecs of settings in which `worker.media.codec_choice` has replaced `auto`."""
        gpu = gpu_number(settings.device)
        return cls(
            gpu if settings.video_decoder == NVIDIA else None,
            gpu if settings.video_encoder == NVIDIA else None,
            cores_of(settings),
        )


def gpu_number(device: str) -> int:
    """Return the number of the GPU of a device: `cuda:N`, or the first one."""
    return int(device.partition(":")[2] or 0)


def nvdec_knows(facts: VideoFacts, picture: PictureFacts) -> bool:
    """Return whether NVDEC gives the frames of a film exactly.

    A film whose picture changes its shape is left to software, and so is one whose transparency is wanted.
    """
    if facts.picture_changes or picture.alpha or not picture.stored_width:
        return False
    is_small = max(picture.stored_width, picture.stored_height) <= LARGEST_PX
    return is_small and picture.pixel_format in NVDEC_FORMATS.get(facts.codec, ())


def nvdec_options(gpu: int) -> FfmpegOptions:
    """Return the input options of ffmpeg with which a GPU decodes.

    ffmpeg fetches each frame from the GPU by itself. A filter that does it (hwdownload) would be built anew, and all
    others with it, wherever the decoder starts again, and so forget the times of earlier frames.
    """
    return {"hwaccel": "cuda", "hwaccel_device": gpu, "threads": 1}  # NVDEC has few frames, and each thread keeps some


def nvdec_steps(picture: PictureFacts) -> list[str]:
    """Return the filters that bring fetched frames into the layout in which software gives them.

    Frames of another size than the film's make ffmpeg fail: no filter could tell which part of them is the picture.
    """
    is_whole = f"eq(iw\\,{picture.stored_width})*eq(ih\\,{picture.stored_height})"
    return [f"format={picture.pixel_format.replace('yuvj', 'yuv')}", f"crop=if({is_whole}\\,iw\\,-1):ih:0:0:exact=1"]


def encoder_options(options: JobOptions, gpu: int | None, cores: int) -> FfmpegOptions:
    """Return the options of ffmpeg's encoder for H.264 High; gpu: None encodes in software, on so many cores."""
    crf = max(options.crf, LEAST_CRF)
    chosen: FfmpegOptions
    if gpu is None:
        chosen = {
            "vcodec": "libx264",
            "preset": options.preset,
            "crf": crf,
            "threads:v": media_threads(cores),
            "x264-params": "8x8dct=1",  # without it, the fastest preset would not be profile High
        }
    else:
        chosen = {
            "vcodec": "h264_nvenc",
            "gpu": gpu,
            "preset": NVENC_PRESETS[options.preset],
            "tune": "hq",
            "rc": "vbr",
            "cq": crf,
            "b:v": 0,  # no other bound than the quality
            "g": GROUP_FRAMES,
        }
    return {**chosen, "profile:v": "high", "pix_fmt": "yuv420p"}
