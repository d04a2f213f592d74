"""The fork server: a small Python that has our decoding programs loaded and forks a child for each request.

`python -m app.core.sandbox.fork_server_program SOCKET PARENT` reads requests from a socket that it inherits. It opens
no file of a stranger itself, has a single thread, and knows nothing of the service but its packages: its environment is
that of a confined child. It ends with its parent, and its children end with it.

A request is JSON, `{"module", "arguments", "access", "folder"}`, with four descriptors: standard input, output and
error output of the child, and a link to whoever asked. Over the link go the child's process id and then its exit
status, negative for a signal; or, instead of both, the negative number of the error for which there is no child. If
anything comes back over the link, or its other end is closed, the child is killed. A request without arguments only
loads the module.
"""

from __future__ import annotations

import errno
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from app.core.parent_death import die_with_parent, name_process
from app.core.sandbox.confined import confine_this_thread
from app.core.sandbox.landlock import FileAccess

REQUEST_BYTES: Final = 128 * 1024
NUMBER: Final = struct.Struct("=q")  # a process id, an exit status or an error
DESCRIPTORS: Final = 4


class ForkServer:
    """Server of one parent. `serve` returns when the parent closes its end of the socket."""

    def __init__(self, requests: socket.socket, fork: Callable[[], int] = os.fork) -> None:
        self._requests, self._fork = requests, fork
        self._links: dict[int, socket.socket] = {}  # by process id, of the children that run
        self._selector = selectors.DefaultSelector()
        self._ends, self._end_told = os.pipe()
        for descriptor in (self._ends, self._end_told):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._end_told, warn_on_full_buffer=False)
        self._selector.register(requests, selectors.EVENT_READ)
        self._selector.register(self._ends, selectors.EVENT_READ)

    def serve(self) -> None:
        """Do requests until the parent has gone."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._requests:
                    if not self._take_request():
                        return
                elif key.fileobj == self._ends:
                    os.read(self._ends, REQUEST_BYTES)
                else:  # of a child whose end was reported a moment ago, this is nothing
                    self._kill(key.data)
            self._report_ends()

    def _take_request(self) -> bool:
        """Start a child; return False when there will be no more requests."""
        message, descriptors, _, _ = socket.recv_fds(self._requests, REQUEST_BYTES, DESCRIPTORS)
        if not message:
            return False
        request = json.loads(message)
        with suppress(Exception):  # the child meets the same error, and tells it
            importlib.import_module(request["module"])
        if "arguments" not in request:
            for descriptor in descriptors:
                os.close(descriptor)
            return True
        gc.freeze()  # the collector of a child shall not touch, and so copy, the pages of this process
        *streams, link_fd = descriptors
        number = self._start_child(request, streams)
        for descriptor in streams:
            os.close(descriptor)
        link = socket.socket(fileno=link_fd)
        with suppress(OSError):  # the asker has gone; its end of the link is read next
            link.send(NUMBER.pack(number))
        if number < 0:
            link.close()
            return True
        self._links[number] = link
        self._selector.register(link, selectors.EVENT_READ, number)
        return True

    def _start_child(self, request: dict[str, Any], streams: Sequence[int]) -> int:
        """Return the process id of a new child, or the negative number of an error, which costs no other child."""
        server = os.getpid()
        try:
            pid = self._fork()
        except OSError as error:
            return -(error.errno or errno.EAGAIN)
        if pid == 0:
            _become_child(request, streams, server)
        return pid

    def _kill(self, pid: int) -> None:
        if pid in self._links:
            self._selector.unregister(self._links[pid])  # an end that is closed stays readable
            os.kill(pid, signal.SIGKILL)  # it has this id until it is waited for, which only happens here

    def _report_ends(self) -> None:
        while self._links:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._links.pop(pid) as link:
                with suppress(KeyError):
                    self._selector.unregister(link)
                with suppress(OSError):
                    link.send(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _become_child(request: dict[str, Any], streams: Sequence[int], server: int) -> NoReturn:
    """Be the child of a request: confine this process, run the program and exit."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(server)
        os.setpgid(0, 0)
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        os.closerange(len(streams), os.sysconf("SC_OPEN_MAX"))
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
        os.chdir(request["folder"])
        name_process(".".join(request["module"].split(".")[-2:]))
        sys.argv = [request["module"], *request["arguments"]]
        confine_this_thread(FileAccess(*(tuple(map(Path, paths)) for paths in request["access"])))
        status = _run(request["module"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001  whatever it was, this process must not go on as a server
        with suppress(Exception):
            traceback.print_exc()
        status = status or 1
    finally:
        os._exit(status)


def _run(module: str) -> int:
    """Run `main` of a module and return the exit status."""
    try:
        return int(importlib.import_module(module).main() or 0)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1


def main() -> None:
    """Serve the parent that the command line names."""
    requests, parent = (int(text) for text in sys.argv[1:])
    die_with_parent(parent)
    ForkServer(socket.socket(fileno=requests)).serve()


if __name__ == "__main__":
    main()
