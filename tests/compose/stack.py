"""Stack of containers under a project name of its own; it is removed completely at the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from socket import socket
from types import TracebackType
from typing import Any, Final, Self

from tests.compose.client import BrokenPromiseError

SERVICES: Final = ("api", "worker", "redis")
IMAGES: Final = {"APP_IMAGE": "lipsync-app:check", "WORKER_IMAGE": "lipsync-worker:check"}
COMMAND_TIMEOUT_S: Final = 3600
HEALTHY_TIMEOUT_S: Final = 300


class Stack:
    """Running stack, controlled through Compose; raises BrokenPromiseError if a command fails."""

    def __init__(self, file: Path) -> None:
        if not _succeeds("docker", "info"):
            raise BrokenPromiseError("no Docker Engine answers: `docker info` fails")
        with socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._modern = _succeeds("docker", "compose", "version")
        self._file = file if self._modern else _without_name(file)
        # The Dockerfiles need BuildKit, which Compose 1.29 uses only if these variables ask for it.
        self._environment = {
            **os.environ,
            **IMAGES,
            "API_PORT": str(self._port),
            "API_ADDRESS": "127.0.0.1",
            "DOCKER_BUILDKIT": "1",
            "COMPOSE_DOCKER_CLI_BUILD": "1",
            "LIPSYNC_SEGMENT_S": "3600",  # one piece: a lost segment would not count as an attempt at the job
        }
        self._project = f"lipsync-check-{os.getpid()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                with contextlib.suppress(BrokenPromiseError):  # nothing had started: the first error is the useful one
                    sys.stderr.write(self._compose("logs", "--no-color", "--tail", "60"))
            self._compose("down", "--volumes", "--remove-orphans")
        finally:
            if not self._modern:
                self._file.unlink()

    def _compose(self, *arguments: str) -> str:
        command = ["docker", "compose"] if self._modern else ["docker-compose"]
        return self._run(*command, "--ansi", "never", "-p", self._project, "-f", str(self._file), *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise BrokenPromiseError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
        return done.stdout

    def build(self) -> None:
        """Build both images."""
        self._compose("build", "api", "worker")

    def image_bytes(self) -> dict[str, int]:
        """Return the size of each image."""
        return {
            name: int(self._run("docker", "image", "inspect", "--format", "{{.Size}}", name))
            for name in IMAGES.values()
        }

    def up(self) -> None:
        """Start every container that is not running."""
        self._compose("up", "-d", "--no-build")

    def down(self) -> None:
        """Stop and remove the containers; the volumes stay."""
        self._compose("down")

    def kill_and_start_worker(self) -> None:
        """Kill a worker with SIGKILL and start it again."""
        container = self._containers("worker")[0]
        self._run("docker", "kill", "--signal", "KILL", container)
        self._run("docker", "start", container)

    def restart_worker(self) -> None:
        """Restart the worker as an operator would."""
        self._compose("restart", "worker")

    def scale_workers(self, count: int) -> None:
        """Run that many workers and wait until each is healthy."""
        self._compose("up", "-d", "--no-build", "--no-recreate", "--scale", f"worker={count}")
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        while True:
            states = [self._inspect(container)["State"]["Health"]["Status"] for container in self._containers("worker")]
            if states == ["healthy"] * count:
                return
            if time.monotonic() > deadline:
                raise BrokenPromiseError(f"of {count} workers: {states}")
            time.sleep(1)

    def create_key(self) -> str:
        """Create an API key in the API's container and return its token."""
        [container] = self._containers("api")
        made = self._run("docker", "exec", container, "lipsync", "keys", "create", "--name", "check")
        return made.split()[-1]

    def check_isolation(self) -> None:
        """Check the rights and networks of each container; raises BrokenPromiseError."""
        for service in SERVICES:
            [container] = self._containers(service)
            facts = self._inspect(container)
            host = facts["HostConfig"]
            published = [
                (port["HostIp"], port["HostPort"])
                for ports in facts["NetworkSettings"]["Ports"].values()
                for port in ports or []
            ]
            expected = [("127.0.0.1", str(self._port))] if service == "api" else []
            uid = int(self._run("docker", "exec", container, "id", "-u"))
            networks = [self._inspect(name) for name in facts["NetworkSettings"]["Networks"]]
            checks = {
                f"publishes {published}": published == expected,
                "can reach the outside": service == "api" or all(network["Internal"] for network in networks),
                "runs as root": uid != 0,
                "may write to its root": host["ReadonlyRootfs"],
                "has capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
                "may start any number of processes": (host["PidsLimit"] or 0) > 0,
                "may gain privileges": any(option.startswith("no-new-privileges") for option in host["SecurityOpt"]),
            }
            if broken := [fault for fault, is_fine in checks.items() if not is_fine]:
                raise BrokenPromiseError(f"{service}: {', '.join(broken)}")

    def _containers(self, service: str) -> list[str]:
        return self._compose("ps", "-q", service).split()

    def _inspect(self, thing: str) -> dict[str, Any]:
        [facts] = json.loads(self._run("docker", "inspect", thing))
        return dict(facts)


def _succeeds(*command: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def _without_name(file: Path) -> Path:
    """Copy a stack's file without the top-level `name`, which Compose 1.29 does not know.

    The copy lies beside the file, because `extends` names files relative to it.
    """
    copy = file.with_name(f".{file.stem}-{os.getpid()}.yml")
    copy.write_text(re.sub(r"^name:.*\n", "", file.read_text(), flags=re.MULTILINE))
    return copy
