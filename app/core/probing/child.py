"""Look into one file from a stranger; runs as a child process with hard limits: `python -m app.core.probing.child`.

Reads a request as JSON from standard input, `{"task": "video" | "audio" | "picture", "path", "cpu_s", "limits"}`, and
writes `{"facts": {...}}` or `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any, Final

import av.logging

from app.core.errors import InputError
from app.core.probing.audio import probe_audio
from app.core.probing.video import probe_picture, probe_video

MEMORY_BYTES: Final = 3 * 1024**3


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    _confine(int(request["cpu_s"]))
    av.logging.set_level(None)
    tasks = {"video": probe_video, "audio": probe_audio, "picture": probe_picture}
    try:
        answer: dict[str, Any] = {"facts": tasks[request["task"]](Path(request["path"]), request["limits"])}
    except InputError as error:
        answer = {"error": {"code": str(error.code), "message": error.message}}
    json.dump(answer, sys.stdout)


def _confine(cpu_s: int) -> None:
    """Take away what looking at a file does not need: memory without end, time without end, writing files."""
    limits = {
        resource.RLIMIT_AS: (MEMORY_BYTES, MEMORY_BYTES),
        resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),  # apart, or it would end by SIGKILL, as it does for want of memory
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, value in limits.items():
        resource.setrlimit(kind, value)


if __name__ == "__main__":
    main()
