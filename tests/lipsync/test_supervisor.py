from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import httpx
import psutil
import pytest
from click.testing import CliRunner

from app.core.errors import InputError, ServiceError
from app.core.private_redis import find_redis_server
from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records, WorkerFacts, pid_of_worker, worker_name
from app.core.settings import Settings
from lipsync.__main__ import main
from lipsync.supervised_process import SupervisedProcess
from lipsync.supervisor import Supervisor, free_port
from tests.conftest import ROOT
from tests.error_line import error_line
from tests.processes import command_of, is_gone
from tests.s3 import BUCKET
from tests.service import running_redis, wait_until
from worker.doctor import ALL_CHECKS, START_CHECKS, examine

AWAY = "unix:///nowhere/redis.sock"


def test_a_redis_server_is_found():
    assert os.access(find_redis_server(), os.X_OK)


def test_a_free_port_can_be_bound():
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port("127.0.0.1")))


def test_a_child_that_dies_is_started_again_more_slowly():
    child = SupervisedProcess("dies", [sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ))
    child.start()
    statuses: list[tuple[int, float]] = []
    started_at = time.monotonic()
    while len(statuses) < 3 and time.monotonic() - started_at < 120:
        status = child.restart_if_dead()
        if status is not None:
            statuses.append((status, time.monotonic()))
        time.sleep(0.01)
    child.end(time.monotonic())
    gaps = [later[1] - earlier[1] for earlier, later in pairwise(statuses)]
    assert [status for status, _ in statuses] == [3, 3, 3] and gaps[0] > 0.4 and gaps[1] > 0.9


def test_a_child_is_ended_with_all_it_started():
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    child = SupervisedProcess("parent", [sys.executable, "-c", code], dict(os.environ))
    child.start()
    assert child.pid is not None
    group = child.pid
    wait_until(lambda: len(members(group)) == 2, 10)
    child.ask_to_end()
    child.end(time.monotonic() + 5)
    wait_until(lambda: members(group) == [], 5)


def members(group):
    """Return the living processes of a process group."""
    found = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            found += [pid] if os.getpgid(pid) == group and not is_gone(pid) else []
    return found


def test_a_tied_process_dies_with_its_parent():
    code = (
        "import subprocess, time; from app.core.parent_death import tied_to_this_process; "
        "print(subprocess.Popen(tied_to_this_process(['sleep', '60'])).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_until(lambda: command_of(psutil.Process(pid))[:1] == ["sleep"], 5)
    parent.send_signal(signal.SIGKILL)
    parent.wait(60)
    parent.stdout.close()
    wait_until(lambda: is_gone(pid), 5)


WRONG_STARTS = [
    (["api"], {}, "LIPSYNC_REDIS_URL is not set"),
    (["worker"], {}, "LIPSYNC_REDIS_URL is not set"),
    (["api"], {"LIPSYNC_PROT": "1"}, "unknown setting LIPSYNC_PROT"),
    (["serve"], {"LIPSYNC_PORT": "x"}, "LIPSYNC_PORT"),
    (["status", "0" * 32], {"LIPSYNC_URL": "http://127.0.0.1:9"}, "No answer"),
    (["serve"], {"LIPSYNC_PORT": "{busy}"}, "another program listens there"),
    pytest.param(
        *(["serve"], {"LIPSYNC_VIDEO_ENCODER": "nvidia"}, "LIPSYNC_VIDEO_ENCODER: no NVIDIA GPU"),
        marks=[pytest.mark.slow, pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="here is a GPU")],
    ),
    pytest.param(
        *(["serve"], {"LIPSYNC_CHECKPOINT": "none"}, "There is no checkpoint named none"),
        marks=pytest.mark.slow,  # loads torch in a process of its own
    ),
]


def clean_environment(folder, **settings):
    clean = {name: text for name, text in os.environ.items() if not name.startswith("LIPSYNC_")}
    return clean | {"PYTHONPATH": str(ROOT), "LIPSYNC_DATA_DIR": str(folder)} | settings


@pytest.fixture
def busy():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.mark.parametrize(("arguments", "environment", "said"), WRONG_STARTS)
def test_a_wrong_start_is_one_line_and_status_2(arguments, environment, said, tmp_path, busy):
    environment = {name: text.format(busy=busy) for name, text in environment.items()}
    done = subprocess.run(
        [sys.executable, "-m", "lipsync", *arguments],
        cwd=tmp_path,
        env=clean_environment(tmp_path, **environment),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in error_line(done.stderr)


REFUSED_BY_ALL = [
    ({"LIPSYNC_REDIS_URL": "localhost:6379"}, "LIPSYNC_REDIS_URL"),
    ({"LIPSYNC_MAX_DURATION_S": "inf"}, "LIPSYNC_MAX_DURATION_S"),
    ({"LIPSYNC_MAX_FPS": "nan"}, "LIPSYNC_MAX_FPS"),
    ({"LIPSYNC_RETENTION_S": "-1"}, "LIPSYNC_RETENTION_S"),
    ({"LIPSYNC_WORKERS": "0"}, "LIPSYNC_WORKERS"),
]
REFUSED = [
    *(([command], {"LIPSYNC_REDIS_URL": ""}, "LIPSYNC_REDIS_URL is not set") for command in ("api", "worker")),
    *(([command], environment, said) for command in ("api", "worker", "serve") for environment, said in REFUSED_BY_ALL),
    *(([command], {"LIPSYNC_DATA_DIR": "/dev/null"}, "is not a folder") for command in ("api", "worker", "serve")),
    *(
        ([command], {"LIPSYNC_FFMPEG": "/bin/true"}, "/bin/true is not ffmpeg")
        for command in ("api", "worker", "serve")
    ),
    (["worker"], {"LIPSYNC_PRECISION": "fp16", "LIPSYNC_DEVICE": "cpu"}, "fp16 needs a GPU"),
    *(([command], {"LIPSYNC_HOST": "0.0.0.0"}, "LIPSYNC_AUTH=keys") for command in ("api", "worker", "serve")),
    (["worker"], {"LIPSYNC_DEVICE": "cuda:99"}, "no device 'cuda:99'"),
    (["api"], {"LIPSYNC_HOST": "203.0.113.7", "LIPSYNC_AUTH": "keys"}, "no network interface"),
]


@pytest.mark.parametrize(("arguments", "environment", "said"), REFUSED)
def test_a_start_that_cannot_succeed_is_refused(arguments, environment, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no .env lies
    defaults = {"LIPSYNC_REDIS_URL": AWAY, "LIPSYNC_DATA_DIR": str(tmp_path), "LIPSYNC_PORT": "0"}
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        ended = CliRunner().invoke(main, arguments, env=defaults | environment)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: option_invalid: ") and said in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "name", "said"),
    [
        ({"LIPSYNC_PORT": "{busy}"}, "address", "another program listens there"),
        ({"LIPSYNC_DATA_DIR": "/dev/null"}, "data folder", "is not a folder"),
        ({"LIPSYNC_FFMPEG": "/bin/true"}, "ffmpeg", "/bin/true is not ffmpeg"),
        ({"LIPSYNC_REDIS_URL": AWAY}, "redis", "does not answer"),
    ],
)
def test_the_doctor_says_the_same(environment, name, said, busy, tmp_path):
    settings = {key.removeprefix("LIPSYNC_").lower(): text.format(busy=busy) for key, text in environment.items()}
    (finding,) = [found for found in examine(Settings(**settings), START_CHECKS) if found.name == name]
    assert not finding.good and said in finding.text


API = """
import http.server, os

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        open("asked", "a").write(".")
        if os.path.exists("missing"):
            os.remove("missing")
            os._exit(2)

http.server.HTTPServer(("127.0.0.1", int(os.environ["LIPSYNC_PORT"])), Ready).serve_forever()
"""
WORKER = """
import os, time
from app.core.records.connection import connect
from app.core.records.records import RecordLimits, Records, WorkerFacts, worker_name
from app.core.settings import Settings

facts = WorkerFacts(
    name=worker_name(os.getpid()), pid=os.getpid(), device="cpu", precision="fp32", checkpoint="c",
    checkpoint_sha256="0", version="1",
)
settings = Settings()
while not os.path.exists("loaded"):
    time.sleep(0.02)
Records(connect(settings.redis_url), RecordLimits.of(settings)).announce(facts)
time.sleep(60)
"""


def test_only_a_worker_of_its_own_makes_a_service_ready(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    announced: list[str] = []
    with running_redis(tmp_path) as url, ThreadPoolExecutor(1) as pool:
        settings = Settings(data_dir=tmp_path / "data", port=0, redis_url=url)
        others = Records(connect(url), RecordLimits.of(settings))

        def announce_others():
            for name in (worker_name(os.getpid()), "another-host-1"):  # workers of another service
                facts = dict.fromkeys(("device", "precision", "checkpoint", "checkpoint_sha256", "version"), "x")
                others.announce(WorkerFacts(name=name, pid=1, **facts))

        announce_others()
        commands = {"api": [sys.executable, "-c", API], "worker": [sys.executable, "-c", WORKER]}
        supervisor = Supervisor(settings, announced.append, commands)
        ended = pool.submit(supervisor.run)
        try:
            asked = tmp_path / "asked"
            wait_until(lambda: asked.exists() and asked.stat().st_size >= 3, 60)
            announce_others()  # also since the start of this service
            so_often = asked.stat().st_size
            wait_until(lambda: asked.stat().st_size >= so_often + 3, 60)
            assert announced == []
            (tmp_path / "loaded").touch()
            wait_until(lambda: announced, 60)
        finally:
            supervisor.stop()
        assert ended.result(60) == 0 and announced[0].startswith("lipsync is ready at http://127.0.0.1:")


@pytest.mark.parametrize(
    ("name", "pid"), [(worker_name(7), 7), ("another-host-7", None), (f"{worker_name(7)}x", None), ("", None)]
)
def test_the_process_of_a_worker(name, pid):
    assert pid_of_worker(name) == pid


def test_a_redis_that_is_away_ends_the_start(tmp_path):
    supervisor = Supervisor(Settings(data_dir=tmp_path, port=0, redis_url=AWAY), print, redis_away_s=0.1)
    with pytest.raises(InputError, match="LIPSYNC_REDIS_URL: Redis does not answer"):
        supervisor.run()


def test_a_child_that_refuses_its_settings_ends_the_service(tmp_path):
    commands = {"api": [sys.executable, "-c", "raise SystemExit(2)"]}
    with pytest.raises(ServiceError, match="'api' refused its settings"):
        Supervisor(Settings(data_dir=tmp_path, port=0), print, commands).run()


def test_a_child_that_refuses_its_settings_later_is_started_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    announced: list[str] = []
    supervisor = Supervisor(
        Settings(data_dir=tmp_path / "data", port=0), announced.append, {"api": [sys.executable, "-c", API]}
    )
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(supervisor.run)
        try:
            wait_until(lambda: announced, 60)
            url, asked = announced[0].split()[-1], tmp_path / "asked"
            (tmp_path / "missing").touch()
            wait_until(lambda: answers(url) and not (tmp_path / "missing").exists(), 60)
            so_often = asked.stat().st_size
            wait_until(lambda: answers(url) and asked.stat().st_size > so_often, 60)
            assert not ended.done()
        finally:
            supervisor.stop()
        assert ended.result(60) == 0


def answers(url):
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("storage", "endpoint", "said"),
    [
        ("/nowhere/at/all", None, "there is no such folder"),
        (f"s3://{BUCKET}-other", "", "there is no such bucket"),
        (f"s3://{BUCKET}", "http://127.0.0.1:9", "Could not connect"),
        (f"s3://{BUCKET}", "", None),
    ],
)
def test_the_doctor_says_why_a_storage_does_not_answer(storage, endpoint, said, s3):
    settings = Settings(storage=storage, s3_endpoint_url=s3.url if endpoint == "" else endpoint)
    (finding,) = examine(settings, {"storage": ALL_CHECKS["storage"]})
    assert finding.good is (said is None) and (said or "answers") in finding.text


def test_a_child_that_never_starts_ends_the_service(tmp_path):
    commands = {"api": [sys.executable, "-c", "raise SystemExit(7)"]}
    supervisor = Supervisor(Settings(data_dir=tmp_path, port=0), print, commands, max_early_deaths=2)
    with pytest.raises(ServiceError, match=r"'api' ended 2 times .* status 7"):
        supervisor.run()
