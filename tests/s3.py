"""A real S3 server for tests: one process, a folder of buckets, signatures checked; it can die and come back."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx

from lipsync.supervisor import free_port

BUCKET = "lipsync"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Server:
    """`rclone serve s3` on a free port, with one bucket; use as a context manager."""

    def __init__(self, folder):
        self._folder = folder
        (folder / BUCKET).mkdir(parents=True)
        self._address = f"127.0.0.1:{free_port('127.0.0.1')}"
        self.url = f"http://{self._address}"
        self._process = None

    def settings(self, prefix):
        """Return the settings of a service that keeps its files here."""
        return {"storage": f"s3://{BUCKET}/{prefix}", "s3_endpoint_url": self.url}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        keys = f"{CREDENTIALS['AWS_ACCESS_KEY_ID']},{CREDENTIALS['AWS_SECRET_ACCESS_KEY']}"
        self._process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("rclone")),
                "serve",
                "s3",
                "--config",
                "",
                "--auth-key",
                keys,
                "--addr",
                self._address,
                "--log-file",
                str(self._folder.with_suffix(".log")),
                str(self._folder),
            ]
        )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline and self._process.poll() is None, "the S3 server did not start"
            time.sleep(0.05)

    def _answers(self):
        try:
            return httpx.get(self.url, timeout=10).status_code > 0
        except httpx.TransportError:
            return False

    def kill(self):
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)
