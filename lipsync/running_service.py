"""A running service for the length of a `with` block, for the demo and the benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from lipsync.supervisor import free_port

START_TIMEOUT_S: Final = 180
STOP_TIMEOUT_S: Final = 30


@contextmanager
def running_service(data_dir: Path) -> Iterator[str]:
    """Run `lipsync serve` with its data in `data_dir`, yield its address once it is ready, and end it in every case.

    Its log is `data_dir`/service.log. Raises RuntimeError if the service is not ready in time.
    """
    port = free_port("127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "LIPSYNC_DATA_DIR": str(data_dir / "data"), "LIPSYNC_PORT": str(port)}
    log_path = data_dir / "service.log"
    with (
        log_path.open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "lipsync", "serve"], env=environment, stdout=log, stderr=log
        ) as service,
    ):
        try:
            _wait_until_ready(url, service, log_path)
            yield url
        finally:
            service.send_signal(signal.SIGTERM)
            try:
                service.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                service.kill()


def _wait_until_ready(url: str, service: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise RuntimeError("the service ended while starting:\n" + log_path.read_text()[-2000:])
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.2)
    raise RuntimeError(f"the service was not ready after {START_TIMEOUT_S} s:\n" + log_path.read_text()[-2000:])
