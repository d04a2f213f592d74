"""Scripts that behave like an ffmpeg whose NVIDIA GPU works, refuses or breaks; software does the work of the GPU.

Their NVDEC gives frames in the layout of a GPU. Their NVENC is an x264 whose stream headers differ from those of ours.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, Literal

State = Literal["works", "refuses", "breaks", "crashes", "differs", "steps-in", "fills"]

SCRIPT: Final = r"""#!/bin/bash
real={real} decoder={decoder} encoder={encoder} after={after}
arguments=() used=none
while (($#)); do
  case "$1 $2" in
    "-hwaccel cuda") used=$decoder ;;
    "-vcodec h264_nvenc") used=$encoder; arguments+=(-vcodec libx264 -preset fast -crf 12 -refs 2) ;;
    "-vf format="*",crop=if("*)
      case $2 in format=yuv420p10le,*) steps=format=p010le,$2 ;; *) steps=format=nv12,$2 ;; esac
      if [ "$used" = differs ]; then steps=$steps,negate; fi
      arguments+=(-vf "$steps") ;;
    "-hwaccel_"* | "-gpu "* | "-preset p"* | "-tune "* | "-rc "* | "-cq "* | "-b:v "*) ;;
    *) arguments+=("$1"); shift; continue ;;
  esac
  shift 2
done
case $used in
  steps-in) echo "[h264 @ 0x55] Failed setup for format cuda: hwaccel initialisation returned error." >&2 ;;
  refuses) echo "[h264_nvenc @ 0x55] OpenEncodeSessionEx failed: out of memory (10): (no details)" >&2; exit 255 ;;
  crashes) kill -SEGV $$ ;;
  breaks)
    if [[ " ${{arguments[*]}} " = *" pipe:1 "* ]]; then "$real" "${{arguments[@]}}" | head -c $after
    else head -c $after >/dev/null; fi
    echo "the driver is gone" >&2; exit 1 ;;
  fills) head -c $after >/dev/null; echo "av_interleaved_write_frame(): No space left on device" >&2; exit 1 ;;
esac
exec "$real" "${{arguments[@]}}"
"""


def gpu_ffmpeg(folder: Path, decoder: State = "works", encoder: State = "works", after: int = 0) -> str:
    """Write a script and return its path; after: bytes of raw frames after which what breaks does so.

    fills: the disk is full after so many. steps-in: the GPU knows no such film, and ffmpeg itself decodes in software.
    """
    path = folder / f"ffmpeg-{decoder}-{encoder}-{after}"
    path.write_text(SCRIPT.format(real=shutil.which("ffmpeg"), decoder=decoder, encoder=encoder, after=after))
    path.chmod(0o755)
    return str(path)
