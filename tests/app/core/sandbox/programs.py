"""Small programs for the tests of forked children; the first argument says which."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path


def main() -> int | None:
    what, *arguments = sys.argv[1:]
    if what == "exit":
        return int(arguments[0])
    if what == "leave":
        sys.exit(int(arguments[0]))
    if what == "raise":
        raise ValueError("out of order")
    if what == "signal":
        os.kill(os.getpid(), int(arguments[0]))
    if what == "sleep":
        print("asleep", flush=True)
        time.sleep(600)
    if what == "write":
        sys.stdout.write("o" * int(arguments[0]))
        sys.stderr.write("e" * int(arguments[0]))
    if what == "read":
        print(Path(arguments[0]).read_text())
    if what == "self":
        descriptors, threads = (len(list(Path("/proc/self", name).iterdir())) for name in ("fd", "task"))
        print(os.getppid(), os.getpgid(0), descriptors, threads)
        print(*sorted(os.environ))
        print(signal.getsignal(signal.SIGCHLD), sys.stdin.read())
    return None
