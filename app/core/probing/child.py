"""The probing child process: opens one untrusted file under hard limits (`python -m app.core.probing.child`).

It reads a request as JSON from standard input, `{"task", "path", "cpu_s", "limits"}` with a task of TASKS, and writes
 `{"facts": {...}}` or `{"error": {"code", "message"}}` to standard output.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import av.logging

from app.core.errors import InputError
from app.core.probing.audio import probe_audio
from app.core.probing.limits import Limits
from app.core.probing.video import probe_changing_picture, probe_picture, probe_video

MEMORY_BYTES: Final = 3 * 1024**3
TASKS: Final[dict[str, Callable[[Path, Limits], dict[str, Any]]]] = {
    "video": probe_video,
    "audio": probe_audio,
    "picture": probe_picture,
    "changing_picture": probe_changing_picture,
}


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    _confine(int(request["cpu_s"]))
    av.logging.set_level(None)
    probe, path, limits = TASKS[request["task"]], Path(request["path"]), Limits(**request["limits"])
    try:
        answer: dict[str, Any] = {"facts": probe(path, limits)}
    except InputError as error:
        answer = {"error": {"code": str(error.code), "message": error.message}}
    json.dump(answer, sys.stdout)


def _confine(cpu_s: int) -> None:
    """Limit memory and CPU time of this process, and forbid it to write files."""
    limits = {
        resource.RLIMIT_AS: (MEMORY_BYTES, MEMORY_BYTES),
        # At the first limit the kernel sends SIGXCPU, at the second SIGKILL. With equal limits it would send SIGKILL at
        # once, and the parent could not tell this from a kill for lack of memory.
        resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, value in limits.items():
        resource.setrlimit(kind, value)


if __name__ == "__main__":
    main()
