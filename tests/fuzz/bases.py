"""Small healthy files of every format that the service takes; mutated files begin with one of them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.core.probing.probe import find_ffmpeg

SHARED_FOLDERS: Final = ("media/broken", "field_cases")
LARGEST_BYTES: Final = 400_000
PICTURE: Final = "-f lavfi -i testsrc=s=96x64:r=25:d=0.6"
SOUND: Final = "-f lavfi -i sine=f=300:d=0.6:r=16000"
# Output options by file name; pictures and sound are made as small as a codec allows.
VIDEOS: Final = {
    "h264_aac.mp4": "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac",
    "index_first.mp4": "-c:v libx264 -bf 2 -pix_fmt yuv420p -c:a aac -movflags +faststart",
    "fragments.mp4": "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -movflags frag_keyframe+empty_moov",
    "high10.mp4": "-c:v libx264 -preset ultrafast -pix_fmt yuv422p10le -an",
    "mpeg4.mov": "-c:v mpeg4 -c:a pcm_s16le",
    "prores.mov": "-c:v prores_ks -frames:v 4 -an",
    "jpeg.mov": "-c:v mjpeg -pix_fmt yuvj420p -an",
    "h264_flac.mkv": "-c:v libx264 -preset ultrafast -c:a flac",
    "ffv1.mkv": "-c:v ffv1 -frames:v 6 -c:a pcm_f32le",
    "vp8_vorbis.webm": "-c:v libvpx -b:v 60k -c:a libvorbis",
    "vp9_opus.webm": "-c:v libvpx-vp9 -b:v 60k -deadline realtime -cpu-used 8 -c:a libopus",
    "av1.mp4": "-c:v libaom-av1 -cpu-used 8 -usage realtime -frames:v 6 -an",
    "jpeg.avi": "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le",
    "mpeg4_mp3.avi": "-c:v mpeg4 -bf 2 -c:a libmp3lame",
    "h264.ts": "-c:v libx264 -preset ultrafast -c:a aac",
    "mpeg2.ts": "-c:v mpeg2video -c:a mp2",
    "mpeg1.mpg": "-c:v mpeg1video -c:a mp2",
    "mpeg2.m2v": "-c:v mpeg2video -an",
    "flash.flv": "-c:v flv -ar 22050 -c:a libmp3lame",
    "windows.asf": "-c:v wmv2 -c:a wmav2",
    "mpeg2.mxf": "-c:v mpeg2video -ar 48000 -c:a pcm_s16le",
    "theora.ogg": "-c:v libtheora -c:a libvorbis",
    "animated.gif": "-frames:v 5 -an",
    "still.jpg": "-frames:v 1 -c:v mjpeg -update 1",
    "still.png": "-frames:v 1 -c:v png -update 1",
    "still.webp": "-frames:v 1 -c:v libwebp -update 1",
    "still.bmp": "-frames:v 1 -c:v bmp -update 1",
    "still.tiff": "-frames:v 1 -c:v tiff -update 1",
    "still.avif": "-frames:v 1 -c:v libaom-av1 -cpu-used 8 -still-picture 1",
}
VOICES: Final = {
    "pcm.wav": "-c:a pcm_s16le",
    "float.wav": "-c:a pcm_f32le",
    "adpcm.wav": "-c:a adpcm_ima_wav",
    "mulaw.au": "-c:a pcm_mulaw",
    "pcm.aiff": "-c:a pcm_s16be",
    "pcm.caf": "-c:a pcm_s16be",
    "pcm.w64": "-c:a pcm_s16le",
    "voice.mp3": "-c:a libmp3lame",
    "voice.aac": "-c:a aac",
    "voice.m4a": "-c:a aac",
    "alac.m4a": "-c:a alac",
    "voice.flac": "-c:a flac",
    "vorbis.ogg": "-c:a libvorbis",
    "opus.ogg": "-c:a libopus",
    "voice.ac3": "-c:a ac3",
    "voice.wv": "-c:a wavpack",
    "opus.webm": "-c:a libopus",
}


@dataclass(frozen=True)
class Base:
    """Healthy file: its name, its content, and whether it is sent as the voice."""

    name: str
    content: bytes
    is_voice: bool


def make_bases(folder: Path, shared: Path | None) -> list[Base]:
    """Make every file that this ffmpeg can make, and add the small ones of the shared folder, where there is one."""
    bases = []
    for files, is_voice in ((VIDEOS, False), (VOICES, True)):
        for name, options in files.items():
            path = folder / name
            inputs = [] if is_voice else PICTURE.split()
            command = [find_ffmpeg(None), "-v", "quiet", "-nostdin", "-y", *inputs, *SOUND.split(), *options.split()]
            subprocess.run([*command, "-fflags", "+bitexact", "-flags", "+bitexact", str(path)], check=False)
            if path.is_file() and path.stat().st_size > 0:
                bases.append(Base(name, path.read_bytes(), is_voice))
    for place in () if shared is None else [shared / name for name in SHARED_FOLDERS]:
        for path in sorted(place.iterdir()):
            if path.suffix not in (".csv", ".md") and 0 < path.stat().st_size <= LARGEST_BYTES:
                bases.append(Base(path.name, path.read_bytes(), path.name.startswith(("audio_", "voice"))))
    return bases
