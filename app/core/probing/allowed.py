"""Formats and decoders that files of strangers may use, for probing and decoding alike.

FFmpeg has about 550 decoders, many of them for games and machines of the past that nobody attacks but attackers. What
phones, cameras, editors, screen recorders, browsers and voice recorders write is here; FFmpeg refuses all else by name.
A file can then neither choose a rare decoder nor make its demuxer open another one inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import av

MAX_STREAMS: Final = 64

VIDEO_DECODERS: Final = """
    h264 hevc vvc libvvdec av1 libdav1d libaom-av1 vp8 libvpx vp9 libvpx-vp9 vp6 vp6a vp6f theora flv h263 h263p
    mpeg1video mpeg2video mpegvideo mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 wmv1 wmv2 wmv3 vc1 svq3
    mjpeg png gif jpeg2000 libopenjpeg qtrle dvvideo prores dnxhd cfhd
    rawvideo v210 v308 v408 v410 r210 yuv4 huffyuv ffvhuff ffv1 utvideo magicyuv
    """.split()
SOUND_DECODERS: Final = """
    aac aac_fixed aac_latm mp1 mp1float mp2 mp2float mp3 mp3float opus libopus vorbis libvorbis speex libspeex
    flac alac wavpack ac3 ac3_fixed eac3 dca truehd mlp s302m wmav1 wmav2 wmapro wmalossless wmavoice nellymoser
    amrnb amrwb libopencore_amrnb libopencore_amrwb gsm gsm_ms libgsm libgsm_ms ilbc libilbc g722 g726 g726le
    adpcm_ima_wav adpcm_ima_qt adpcm_ms adpcm_swf adpcm_yamaha
    pcm_alaw pcm_mulaw pcm_s8 pcm_s8_planar pcm_u8 pcm_s16le pcm_s16le_planar pcm_s16be pcm_s16be_planar pcm_u16le
    pcm_u16be pcm_s24le pcm_s24le_planar pcm_s24be pcm_u24le pcm_u24be pcm_s32le pcm_s32le_planar pcm_s32be pcm_u32le
    pcm_u32be pcm_s64le pcm_s64be pcm_f16le pcm_f24le pcm_f32le pcm_f32be pcm_f64le pcm_f64be pcm_bluray pcm_dvd
    """.split()
DECODERS: Final = ",".join(VIDEO_DECODERS + SOUND_DECODERS)


def input_options(format_name: str) -> dict[str, str]:
    """Return FFmpeg's options for opening a file of a recognised format: no other format, decoder or protocol."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": format_name,
        "codec_whitelist": DECODERS,
        "max_streams": str(MAX_STREAMS + 1),  # one more than are accepted, so that their number is found
    }


def guard_decoders(container: av.container.InputContainer) -> None:
    """Make every decoder of an open file refuse to start unless it is in the list."""
    for stream in container.streams:
        if getattr(stream, "codec_context", None) is not None:
            stream.codec_context.options = {"codec_whitelist": DECODERS}
