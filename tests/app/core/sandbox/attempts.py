"""A program that attempts one thing: `attempts WHAT OWN OTHER PARENT` prints `done` or the name of the error."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
MODULES = (os, socket, subprocess, sys, threading)  # what an attempt may use


def call(*arguments: object) -> None:
    if libc.syscall(*arguments) == -1:
        raise OSError(ctypes.get_errno(), "refused")


def main() -> None:
    what, own, other, parent = sys.argv[1:]
    try:
        eval(what, globals() | {"own": own, "other": other, "parent": parent})
    except OSError as error:
        print(type(error).__name__)
    else:
        print("done")


if __name__ == "__main__":
    main()
