"""Scripts that behave like an ffmpeg whose NVIDIA GPU works, refuses or breaks; software does the work of the GPU.

Their NVDEC gives frames in the layout of a GPU. Their NVENC is an x264 whose stream headers differ from those of ours.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, Literal

State = Literal["works", "refuses", "breaks", "crashes", "differs"]

SCRIPT: Final = r"""#!/bin/bash
real={real} decoder={decoder} encoder={encoder} after={after}
arguments=() used=none
while (($#)); do
  case "$1 $2" in
    "-hwaccel cuda") used=$decoder ;;
    "-vcodec h264_nvenc") used=$encoder; arguments+=(-vcodec libx264 -preset fast -crf 12 -refs 2) ;;
    "-vf hwdownload,"*)
      steps=${{2#hwdownload,}}
      if [ "$used" = differs ]; then steps=$steps,negate; fi
      arguments+=(-vf "$steps") ;;
    "-hwaccel_"* | "-gpu "* | "-preset p"* | "-tune "* | "-rc "* | "-cq "* | "-b:v "*) ;;
    *) arguments+=("$1"); shift; continue ;;
  esac
  shift 2
done
case $used in
  refuses) echo "[h264_nvenc @ 0x55] OpenEncodeSessionEx failed: out of memory (10): (no details)" >&2; exit 255 ;;
  crashes) kill -SEGV $$ ;;
  breaks)
    if [[ " ${{arguments[*]}} " = *" pipe:1 "* ]]; then "$real" "${{arguments[@]}}" | head -c $after
    else head -c $after >/dev/null; fi
    echo "the driver is gone" >&2; exit 1 ;;
esac
exec "$real" "${{arguments[@]}}"
"""


def gpu_ffmpeg(folder: Path, decoder: State = "works", encoder: State = "works", after: int = 0) -> str:
    """Write a script and return its path; after: bytes of raw frames after which what breaks does so."""
    path = folder / f"ffmpeg-{decoder}-{encoder}-{after}"
    path.write_text(SCRIPT.format(real=shutil.which("ffmpeg"), decoder=decoder, encoder=encoder, after=after))
    path.chmod(0o755)
    return str(path)
